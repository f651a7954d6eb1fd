//! The supervised training loop that SFT and both kinds of reward model share.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use lm::{AdamW, Batch, Decay, Model, Schedule, Trainer};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    check::in_range,
    checkpoint::Checkpoints,
    contract::{Context, ParamError, StageError, derive_seed},
    dataset::{self, CurvePoint},
    early_stop::{EarlyStop, Seen, Watch},
    pace::Pace,
};

/// How long and how fast to train.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Training {
    /// Optimizer steps.
    pub steps: usize,
    /// Examples in a step.
    pub batch: usize,
    /// Peak learning rate of AdamW.
    pub lr: f32,
    /// Steps of linear warm-up.
    pub warmup: usize,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Largest global norm of the gradient.
    pub clip: f32,
    /// Stop when the loss on held-out examples no longer falls, and take the model with the lowest; never, if not
    /// given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stop: Option<EarlyStop>,
}

impl Default for Training {
    fn default() -> Self {
        Self { steps: 1000, batch: 64, lr: 2e-3, warmup: 50, weight_decay: 0.01, clip: 1.0, early_stop: None }
    }
}

impl Training {
    pub fn check(&self) -> Result<(), ParamError> {
        let at = |field: &str| format!("training.{field}");
        in_range(at("steps"), self.steps, 1, 10_000_000)?;
        in_range(at("batch"), self.batch, 1, 65_536)?;
        in_range(at("lr"), self.lr, f32::MIN_POSITIVE, 1.0)?;
        in_range(at("weight_decay"), self.weight_decay, 0.0, 1.0)?;
        in_range(at("clip"), self.clip, f32::MIN_POSITIVE, 1e6)?;
        self.early_stop.as_ref().map_or(Ok(()), EarlyStop::check)
    }

    pub fn optimizer(&self) -> (AdamW, Schedule) {
        let adam = AdamW {
            lr: self.lr,
            betas: (0.9, 0.98),
            eps: 1e-8,
            weight_decay: self.weight_decay,
            clip: Some(self.clip),
        };
        let schedule = Schedule { warmup: self.warmup, total: self.steps, decay: Decay::Cosine, floor: 0.05 };
        (adam, schedule)
    }
}

/// A loss and its gradient with respect to the model's outputs, one for each row of the batch.
pub type Loss = (f32, Vec<f32>);

/// What is to be learnt.
pub trait Task {
    /// Number of training examples.
    fn examples(&self) -> usize;
    /// Packs the examples into a batch.
    fn batch(&self, examples: &[usize]) -> Batch;
    /// The loss of the same examples, given the model's outputs on the batch.
    fn loss(&self, examples: &[usize], outputs: &[f32]) -> Loss;
}

/// Trains a model and gives the curve of its loss, named after `arm`; with early stopping also that of the held-out
/// loss, and the model from where that was lowest.
///
/// The order of examples is a function of the seed and the step alone, so that a killed run that goes on
/// from its last checkpoint ends at the very same bytes.
pub fn train(
    ctx: &Context,
    arm: &str,
    start: Model,
    training: &Training,
    task: &impl Task,
) -> Result<(Model, Vec<CurvePoint>), StageError> {
    if task.examples() == 0 {
        return Err(StageError::new("there are no examples to train on"));
    }
    let mut watch = training.early_stop.as_ref().map(|how| Watch::new(how, task.examples())).transpose()?;
    let examples = task.examples() - training.early_stop.as_ref().map_or(0, |how| how.held_out);
    let (adam, schedule) = training.optimizer();
    let checkpoints = Checkpoints::of(ctx);
    let resumed = checkpoints.latest(|folder, _| {
        let trainer = Trainer::resume(folder.join("trainer"), adam.clone(), schedule.clone())?;
        let seen = watch.as_ref().map(|_| Seen::read(folder)).transpose()?;
        Ok((trainer, dataset::read(&folder.join("curve"))?, Losses::read(folder)?, seen))
    })?;
    let (mut trainer, mut curve, mut losses) = match resumed {
        Some((trainer, curve, losses, seen)) => {
            watch.iter_mut().zip(seen).for_each(|(watch, seen)| watch.seen = seen);
            (trainer, curve, losses)
        }
        None => (Trainer::new(start, adam, schedule)?, vec![], Losses::default()),
    };
    let mut order = Order::new(ctx.seed("order"), examples);
    let point = (training.steps / 50).max(1);
    let (mut pace, mut told) = (Pace::start(), Instant::now());
    for step in trainer.steps() as usize..training.steps {
        let examples = order.batch(step, training.batch);
        let batch = task.batch(&examples);
        let report = trainer.step(&batch, |outputs| task.loss(&examples, outputs))?;
        pace.add(batch.tokens());
        losses.0.push(report.loss);
        let done = step + 1;
        let mut note = |metric: &str, value| {
            curve.push(CurvePoint { arm: arm.into(), step: done as u32, metric: metric.into(), value });
        };
        let mut stop = false;
        if let Some(watch) = &mut watch
            && let Some((held_out, enough)) = watch.look(&trainer, training, task)?
        {
            note("held_out_loss", held_out);
            stop = enough;
        }
        let is_point = done % point == 0 || done == training.steps || stop;
        if is_point || told.elapsed() >= TELL {
            let figures = [("loss", losses.mean()), ("lr", report.lr), pace.figure()];
            ctx.progress(done, training.steps, "steps", &figures);
            told = Instant::now();
        }
        if is_point {
            note("loss", losses.mean());
            losses.0.clear();
        }
        if stop {
            tracing::info!(step = done, "stops: the held-out loss no longer falls");
            break;
        }
        if (done % (10 * point) == 0 || checkpoints.are_old()) && done < training.steps {
            checkpoints.save(done, |folder| {
                trainer.save(folder.join("trainer"))?;
                losses.write(folder)?;
                dataset::write(&folder.join("curve"), &curve)?;
                watch.as_ref().map_or(Ok(()), |watch| watch.seen.write(folder))
            })?;
        }
    }
    let model = match watch {
        Some(watch) => watch.into_best(trainer),
        None => trainer.into_model(),
    };
    Ok((model, curve))
}

/// How far a stage is is told no less often than that.
const TELL: Duration = Duration::from_secs(5);

/// The losses since the last point of the curve.
#[derive(Default)]
struct Losses(Vec<f32>);

impl Losses {
    fn mean(&self) -> f32 {
        self.0.iter().sum::<f32>() / self.0.len() as f32
    }

    fn write(&self, folder: &Path) -> Result<(), StageError> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|loss| loss.to_le_bytes()).collect();
        fs::write(folder.join("losses"), bytes)
            .map_err(|e| StageError::because("a checkpoint could not be written", e))
    }

    fn read(folder: &Path) -> Result<Self, StageError> {
        let bytes = fs::read(folder.join("losses"))
            .map_err(|e| StageError::because("a checkpoint could not be read", e))?;
        Ok(Self(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
    }
}

/// Which examples each step takes: every epoch is a fresh permutation.
pub struct Order {
    seed: u64,
    epoch: Option<usize>,
    permutation: Vec<usize>,
}

impl Order {
    /// Of `examples` examples, at least one.
    pub fn new(seed: u64, examples: usize) -> Self {
        Self { seed, epoch: None, permutation: (0..examples).collect() }
    }

    /// The examples of one step; a batch may run over the end of an epoch.
    pub fn batch(&mut self, step: usize, size: usize) -> Vec<usize> {
        (step * size..(step + 1) * size).map(|position| self.at(position)).collect()
    }

    fn at(&mut self, position: usize) -> usize {
        let examples = self.permutation.len();
        let epoch = position / examples;
        if self.epoch != Some(epoch) {
            self.permutation = (0..examples).collect();
            let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(self.seed, &format!("epoch {epoch}")));
            self.permutation.shuffle(&mut rng);
            self.epoch = Some(epoch);
        }
        self.permutation[position % examples]
    }
}

/// The mean negative log-likelihood over all rows (nats), and its gradient.
pub fn mean_nll(log_probs: &[f32]) -> Loss {
    let n = log_probs.len() as f32;
    (-log_probs.iter().sum::<f32>() / n, vec![-1.0 / n; log_probs.len()])
}
