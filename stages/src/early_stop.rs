//! Early stopping: training ends when the loss on examples that it does not see no longer falls (Prechelt, 1998).

use std::{fs, path::PathBuf};

use lm::{Head, Model, Trainer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    check::in_range,
    contract::{Context, ParamError, StageError},
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

/// The held-out loss so far. The model of the lowest one lies in a file, as a trainer's checkpoint, which keeps every bit:
/// a run that is killed and goes on from an earlier checkpoint comes by that loss again and writes the same file again.
pub struct Watch<'a> {
    how: &'a EarlyStop,
    held_out: Vec<usize>,
    folder: PathBuf,
    seen: Seen,
}

#[derive(Default, Serialize, Deserialize)]
struct Seen {
    lowest: Option<f32>,
    /// Looks since then.
    waited: usize,
}

impl<'a> Watch<'a> {
    /// Keeps the last examples of a task out of training, and leaves some to train on.
    pub fn new(ctx: &Context, how: &'a EarlyStop, examples: usize) -> Result<Self, StageError> {
        if examples <= how.held_out {
            let held_out = how.held_out;
            let message = format!("{examples} examples leave none to train on after {held_out} are held out");
            return Err(
                StageError::new(message).hint("lower `training.early_stop.held_out`, or make more data")
            );
        }
        let held_out = (examples - how.held_out..examples).collect();
        Ok(Self { how, held_out, folder: ctx.checkpoints.clone(), seen: Seen::default() })
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
        if self.seen.lowest.is_none_or(|lowest| loss < lowest) {
            self.seen = Seen { lowest: Some(loss), waited: 0 };
            trainer.save(self.best())?;
        } else {
            self.seen.waited += 1;
        }
        Ok(Some((loss, self.seen.waited >= self.how.patience)))
    }

    /// The model whose held-out loss was the lowest.
    pub fn into_best(self, last: Trainer, training: &Training) -> Result<Model, StageError> {
        if self.seen.waited == 0 { Ok(last.into_model()) } else { self.load_best(training) }
    }

    /// Writes what was seen, beside the checkpoint of a step.
    pub fn save(&self, step: usize) -> Result<(), StageError> {
        let text = serde_json::to_string(&self.seen).map_err(|e| StageError::new(e.to_string()))?;
        let path = self.path(step);
        fs::write(&path, text).map_err(|e| StageError::new(format!("cannot write {}: {e}", path.display())))
    }

    /// Goes on from what was seen up to a step, if all of it can be read.
    pub fn resume(&mut self, step: usize, training: &Training) -> Result<(), StageError> {
        let path = self.path(step);
        let unreadable = |e: String| StageError::new(format!("cannot read {}: {e}", path.display()));
        let text = fs::read_to_string(&path).map_err(|e| unreadable(e.to_string()))?;
        let seen: Seen = serde_json::from_str(&text).map_err(|e| unreadable(e.to_string()))?;
        if seen.lowest.is_some() {
            self.load_best(training)?;
        }
        self.seen = seen;
        Ok(())
    }

    fn load_best(&self, training: &Training) -> Result<Model, StageError> {
        let (adam, schedule) = training.optimizer();
        Ok(Trainer::resume(self.best(), adam, schedule)?.into_model())
    }

    fn path(&self, step: usize) -> PathBuf {
        self.folder.join(format!("held-out-{step}"))
    }

    fn best(&self) -> PathBuf {
        self.folder.join("best")
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
