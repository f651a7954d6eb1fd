//! The training loop's body: forward, the caller's loss, backward, update.

use super::adamw::{AdamW, Update};
use super::schedule::Schedule;
use crate::backend::{Backend, Cpu, Engine};
use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::model::Model;

/// A model in training. The loss is the caller's: it sees one output for each row of the batch and gives a
/// number and that number's gradient, so that any objective over log-probabilities or values fits.
pub struct Trainer<B: Backend = Cpu> {
    pub(crate) model: Model<B>,
    optimizer: AdamW,
    schedule: Schedule,
    pub(crate) steps: u64,
    pub(crate) moments: Vec<<B::Engine as Engine>::Moments>,
    pending: Option<Pending<<B::Engine as Engine>::Gradient>>,
}

/// What was accumulated since the last update.
struct Pending<G> {
    loss: f32,
    gradients: Vec<G>,
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

impl<B: Backend> Trainer<B> {
    pub fn new(model: Model<B>, optimizer: AdamW, schedule: Schedule) -> Result<Trainer<B>> {
        optimizer.validate()?;
        let moments = vec![Default::default(); model.decoder.slots.len()];
        Ok(Trainer { model, optimizer, schedule, steps: 0, moments, pending: None })
    }

    pub fn model(&self) -> &Model<B> {
        &self.model
    }

    pub fn into_model(self) -> Model<B> {
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
        let (loss, gradients) = B::Engine::gradients(&self.model.decoder, packed, |outputs| {
            let (loss, gradient) = loss(outputs);
            check_loss(step, outputs.len(), loss, &gradient)?;
            Ok((loss, gradient))
        })?;
        self.pending = Some(match self.pending.take() {
            None => Pending { loss, gradients },
            Some(mut pending) => {
                pending.loss += loss;
                B::Engine::guard(|| B::Engine::add_gradients(&mut pending.gradients, gradients))?;
                pending
            }
        });
        Ok(loss)
    }

    /// Updates the model with the gradient accumulated so far.
    pub fn apply(&mut self) -> Result<StepReport> {
        let step = self.steps + 1;
        let Some(Pending { loss, gradients }) = self.pending.take() else {
            let (found, expected) = ("no gradient was accumulated", "`accumulate` before `apply`");
            return Err(Error::Accumulation { step, found, expected });
        };
        let grad_norm = B::Engine::guard(|| B::Engine::square_sum(&gradients))?.sqrt() as f32;
        if !grad_norm.is_finite() {
            return Err(Error::NonFinite { step, what: "gradient norm", value: grad_norm });
        }
        let scale = self.optimizer.clip_factor(grad_norm);
        let lr = self.optimizer.lr * self.schedule.at(self.steps as usize);
        let update = Update { step, lr, scale };
        let (decoder, moments) = (&mut self.model.decoder, &mut self.moments);
        B::Engine::guard(|| {
            let (slots, parameters) = (&decoder.slots, &mut decoder.parameters);
            B::Engine::update(&self.optimizer, update, slots, parameters, &gradients, moments);
        })?;
        self.steps = step;
        Ok(StepReport { step, loss, grad_norm, lr })
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }
}

/// A loss and a gradient that an update can use.
fn check_loss(step: u64, rows: usize, loss: f32, gradient: &[f32]) -> Result<()> {
    if gradient.len() != rows {
        return Err(Error::LossGradient { step, expected: rows, found: gradient.len() });
    }
    if !loss.is_finite() {
        return Err(Error::NonFinite { step, what: "loss", value: loss });
    }
    match gradient.iter().find(|g| !g.is_finite()) {
        Some(&value) => Err(Error::NonFinite { step, what: "loss gradient", value }),
        None => Ok(()),
    }
}

impl Trainer {
    /// What was accumulated and not applied yet: the gradient of each tensor, as files name and shape them; empty
    /// before [`Trainer::accumulate`]. For looking at.
    pub fn gradients(&self) -> Vec<(String, Vec<f32>)> {
        let gradients = self.pending.iter().flat_map(|pending| &pending.gradients);
        let mut named = vec![];
        for (slot, gradient) in self.model.decoder.slots.iter().zip(gradients) {
            let mut rest = &gradient[..];
            for (name, rows) in &slot.parts {
                let (part, after) = rest.split_at(rows * slot.columns);
                named.push((name.clone(), part.to_vec()));
                rest = after;
            }
        }
        named
    }
}
