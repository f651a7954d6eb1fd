//! Early stopping: training ends when the loss on examples that it does not see no longer falls (Prechelt, 1998).

use std::{fs, path::Path};

use lm::{AdamW, Head, Model, Schedule, Trainer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    check::in_range,
    contract::{ParamError, StageError},
    training::{Task, Training},
};

/// When to stop before all steps are done.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EarlyStop {
    /// Steps from one look at the held-out loss to the next.
    pub every: usize,
    /// Looks without a new lowest loss, after which training stops.
    pub patience: usize,
    /// Training examples, the last ones, that are held out for it.
    pub held_out: usize,
}

impl Default for EarlyStop {
    fn default() -> Self {
        Self { every: 50, patience: 3, held_out: 256 }
    }
}

impl EarlyStop {
    pub fn check(&self) -> Result<(), ParamError> {
        let at = |field: &str| format!("training.early_stop.{field}");
        in_range(at("every"), self.every, 1, 10_000_000)?;
        in_range(at("patience"), self.patience, 1, 1_000_000)?;
        in_range(at("held_out"), self.held_out, 1, 1_000_000)
    }
}

/// Looks at the held-out loss, and keeps the model of the lowest one.
pub struct Watch<'a> {
    how: &'a EarlyStop,
    held_out: Vec<usize>,
    pub seen: Seen,
}

/// The held-out loss so far: a part of every checkpoint.
#[derive(Default)]
pub struct Seen {
    lowest: Option<(f32, Model)>,
    /// Looks since then.
    waited: usize,
}

impl<'a> Watch<'a> {
    /// Keeps the last examples of a task out of training, and leaves some to train on.
    pub fn new(how: &'a EarlyStop, examples: usize) -> Result<Self, StageError> {
        if examples <= how.held_out {
            let held_out = how.held_out;
            let message = format!("{examples} examples leave none to train on after {held_out} are held out");
            return Err(
                StageError::new(message).hint("lower `training.early_stop.held_out`, or make more data")
            );
        }
        let held_out = (examples - how.held_out..examples).collect();
        Ok(Self { how, held_out, seen: Seen::default() })
    }

    /// After a step: the held-out loss where one is due, and whether to stop.
    pub fn look(
        &mut self,
        trainer: &Trainer,
        training: &Training,
        task: &impl Task,
    ) -> Result<Option<(f32, bool)>, StageError> {
        let step = trainer.steps() as usize;
        if !step.is_multiple_of(self.how.every) && step != training.steps {
            return Ok(None);
        }
        let loss = mean_loss(trainer.model(), training.batch, task, &self.held_out)?;
        if !loss.is_finite() {
            let message = format!("the held-out loss at step {step} is {loss}");
            return Err(StageError::new(message).hint("lower `training.lr`"));
        }
        if self.seen.lowest.as_ref().is_none_or(|(lowest, _)| loss < *lowest) {
            self.seen = Seen { lowest: Some((loss, trainer.model().clone())), waited: 0 };
        } else {
            self.seen.waited += 1;
        }
        Ok(Some((loss, self.seen.waited >= self.how.patience)))
    }

    /// The model whose held-out loss was the lowest; the last one where there was no look.
    pub fn into_best(self, last: Trainer) -> Model {
        self.seen.lowest.map_or_else(|| last.into_model(), |(_, model)| model)
    }
}

const LOSS: &str = "held_out.json";
const BEST: &str = "best";

impl Seen {
    /// Writes it into the folder of a checkpoint. The model goes in as a trainer's, which keeps every bit.
    pub fn write(&self, folder: &Path) -> Result<(), StageError> {
        let loss = self.lowest.as_ref().map(|(loss, _)| *loss);
        let text = serde_json::to_vec(&(loss, self.waited)).map_err(|e| StageError::new(e.to_string()))?;
        fs::write(folder.join(LOSS), text)
            .map_err(|e| StageError::because("a checkpoint could not be written", e))?;
        let Some((_, model)) = &self.lowest else { return Ok(()) };
        Ok(Trainer::new(model.clone(), AdamW::default(), Schedule::default())?.save(folder.join(BEST))?)
    }

    /// Reads what was written.
    pub fn read(folder: &Path) -> Result<Self, StageError> {
        let text =
            fs::read(folder.join(LOSS)).map_err(|e| StageError::because("it lacks the held-out loss", e))?;
        let (loss, waited): (Option<f32>, _) =
            serde_json::from_slice(&text).map_err(|e| StageError::new(e.to_string()))?;
        let lowest = match loss {
            Some(loss) => {
                let model = Trainer::resume(folder.join(BEST), AdamW::default(), Schedule::default())?;
                Some((loss, model.into_model()))
            }
            None => None,
        };
        Ok(Self { lowest, waited })
    }
}

/// The mean of the batches' losses, each by its number of examples.
fn mean_loss(model: &Model, batch: usize, task: &impl Task, examples: &[usize]) -> Result<f32, StageError> {
    let mut sum = 0.0;
    for examples in examples.chunks(batch) {
        let batch = task.batch(examples);
        let outputs = match model.head() {
            Head::Lm => model.log_probs(&batch)?,
            Head::Scalar => model.scalars(&batch)?,
        };
        sum += task.loss(examples, &outputs).0 * examples.len() as f32;
    }
    Ok(sum / examples.len() as f32)
}
