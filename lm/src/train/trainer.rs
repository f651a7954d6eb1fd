//! The training loop's body: forward, the caller's loss, backward, update.

use super::adamw::{AdamW, Moments, Update};
use super::schedule::Schedule;
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::ops::view::{view, view_mut};
use dfdx::prelude::{Backward, OwnedTape, SumTo, TensorFromVec};

/// A model in training. The loss is the caller's: it sees one output for each row of the batch and gives a
/// number and that number's gradient, so that any objective over log-probabilities or values fits.
pub struct Trainer {
    pub(crate) model: Model,
    optimizer: AdamW,
    schedule: Schedule,
    pub(crate) steps: u64,
    pub(crate) moments: Vec<Moments>,
    pending: Option<Pending>,
}

/// What was accumulated since the last update.
struct Pending {
    loss: f32,
    gradients: Vec<Vec<f32>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Updates so far, this one included.
    pub step: u64,
    pub loss: f32,
    /// Global norm of the gradient, before clipping.
    pub grad_norm: f32,
    pub lr: f32,
}

impl Trainer {
    pub fn new(model: Model, optimizer: AdamW, schedule: Schedule) -> Result<Trainer> {
        optimizer.validate()?;
        let moments = vec![Moments::default(); model.decoder.slots.len()];
        Ok(Trainer { model, optimizer, schedule, steps: 0, moments, pending: None })
    }

    pub fn model(&self) -> &Model {
        &self.model
    }

    pub fn into_model(self) -> Model {
        self.model
    }

    /// Updates so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// One update from one batch.
    ///
    /// `loss` gets the model's output for each row (a log-probability or a value) and gives the loss and its
    /// gradient with respect to each output. A loss or gradient that is not finite is an error, and changes
    /// nothing.
    pub fn step(
        &mut self,
        batch: &Batch,
        loss: impl FnOnce(&[f32]) -> (f32, Vec<f32>),
    ) -> Result<StepReport> {
        self.accumulate(batch, loss)?;
        self.apply()
    }

    /// Adds the gradient of one batch to what the next [`Trainer::apply`] uses, and gives the loss. The batches'
    /// losses are summed: with means over rows, the caller divides by the rows of all batches.
    pub fn accumulate(&mut self, batch: &Batch, loss: impl FnOnce(&[f32]) -> (f32, Vec<f32>)) -> Result<f32> {
        let step = self.steps + 1;
        let packed = batch.pack(self.model.config(), self.model.head())?;
        if packed.rows.is_empty() {
            return Err(Error::NoRows { step, sequences: batch.sequences() });
        }
        let outputs = self.model.decoder.outputs(&packed, OwnedTape::default());
        let (loss, gradient) = loss(view(&outputs));
        let rows = packed.rows.len();
        if gradient.len() != rows {
            return Err(Error::LossGradient { step, expected: rows, found: gradient.len() });
        }
        let unfit = gradient.iter().find(|g| !g.is_finite());
        if let Some((what, &value)) =
            [("loss", (!loss.is_finite()).then_some(&loss)), ("loss gradient", unfit)]
                .into_iter()
                .find_map(|(what, value)| value.map(|v| (what, v)))
        {
            return Err(Error::NonFinite { step, what, value });
        }
        // The gradient of `sum(outputs * gradient)` is that of the loss: no operation of its own is needed.
        let gradient = outputs.device().tensor_from_vec(gradient, (rows,));
        let mut gradients = (outputs * gradient).sum().backward();
        let taken = self.model.decoder.parameters.iter().map(|p| {
            let gradient = gradients.get_or_alloc_mut(p).expect("the CPU device allocates or aborts");
            std::mem::take(&mut **gradient)
        });
        match &mut self.pending {
            None => self.pending = Some(Pending { loss, gradients: taken.collect() }),
            Some(pending) => {
                pending.loss += loss;
                for (sum, gradient) in pending.gradients.iter_mut().zip(taken) {
                    sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
                }
            }
        }
        Ok(loss)
    }

    /// Updates the model with the gradient accumulated so far.
    pub fn apply(&mut self) -> Result<StepReport> {
        let step = self.steps + 1;
        let Some(Pending { loss, gradients }) = self.pending.take() else {
            let (found, expected) = ("no gradient was accumulated", "`accumulate` before `apply`");
            return Err(Error::Accumulation { step, found, expected });
        };
        let square = |g: &Vec<f32>| g.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
        let grad_norm = gradients.iter().map(square).sum::<f64>().sqrt() as f32;
        if !grad_norm.is_finite() {
            return Err(Error::NonFinite { step, what: "gradient norm", value: grad_norm });
        }
        let scale = self.optimizer.clip_factor(grad_norm);
        let lr = self.optimizer.lr * self.schedule.at(self.steps as usize);
        let update = Update { step, lr, scale };
        let decoder = &mut self.model.decoder;
        let parameters = decoder.parameters.iter_mut().zip(decoder.slots.iter());
        for (((parameter, slot), gradient), moments) in parameters.zip(&gradients).zip(&mut self.moments) {
            let values = view_mut(parameter);
            self.optimizer.update(update, slot.decays(), values, gradient, moments);
        }
        self.steps = step;
        Ok(StepReport { step, loss, grad_norm, lr })
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }
}
