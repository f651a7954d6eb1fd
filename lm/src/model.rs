//! A language model, or the same body with a scalar head.

use crate::backend::{Backend, Cpu, Engine};
use crate::batch::{Batch, Packed};
use crate::config::{Config, Head};
use crate::decoder::{Decoder, Ready};
use crate::error::{Error, Result};
use crate::ops::{
    kernels,
    view::{view, view_mut},
};
use crate::parameters::{Init, slots};
use dfdx::prelude::NoneTape;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A decoder with its parameters. Cloning is cheap: parameters are shared until one of the clones is trained.
///
/// Models are made, changed and saved on the CPU; elsewhere they are scored, trained and sampled from.
pub struct Model<B: Backend = Cpu> {
    pub(crate) decoder: Decoder<B::Engine>,
}

impl<B: Backend> Clone for Model<B> {
    fn clone(&self) -> Self {
        Model { decoder: self.decoder.clone() }
    }
}

/// What a language model says about one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenStats {
    /// Of the token that follows, in nats.
    pub log_prob: f32,
    /// Of the whole distribution, in nats.
    pub entropy: f32,
    /// The likeliest token; the lowest id where several are equally likely.
    pub argmax: u32,
    pub argmax_prob: f32,
}

impl Model {
    /// A model with random parameters; a scalar head starts at zero. Normal with a standard deviation of
    /// `0.02 sqrt(768 / hidden_size)`, for projections into the residual stream divided by `sqrt(2 layers)`.
    pub fn new(config: Config, head: Head, seed: u64) -> Result<Model> {
        config.validate()?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let values = slots(&config, head)
            .iter()
            .map(|slot| match slot.init {
                Init::Normal(std) => (0..slot.len()).map(|_| normal(&mut rng) * std).collect(),
                Init::One => vec![1.0; slot.len()],
                Init::Zero | Init::Bias => vec![0.0; slot.len()],
            })
            .collect();
        Ok(Model::from_values(config, head, values))
    }

    pub(crate) fn from_values(config: Config, head: Head, values: Vec<Vec<f32>>) -> Model {
        Model { decoder: Decoder::new(config, head, &dfdx::prelude::Cpu::default(), values) }
    }

    /// The same body with another head. A new scalar head is zero; a new language-model head is the embedding,
    /// or starts as a copy of it where the two are not tied. Asking for the head that is there changes nothing.
    pub fn with_head(&self, head: Head) -> Model {
        if head == self.head() {
            return self.clone();
        }
        let slots = slots(self.config(), head);
        let body = self.values().into_iter().map(<[f32]>::to_vec);
        let body_len = crate::parameters::body_len(self.config());
        let mut values: Vec<Vec<f32>> = body.take(body_len).collect();
        for slot in &slots[body_len..] {
            values.push(match slot.init {
                Init::Normal(_) => values[0].clone(),
                _ => vec![0.0; slot.len()],
            });
        }
        Model::from_values(self.config().clone(), head, values)
    }

    /// Sets what the scalar head adds to every value.
    pub fn set_scalar_bias(&mut self, bias: f32) -> Result<()> {
        self.need(Head::Scalar, "set_scalar_bias")?;
        if let Some(parameter) = self.decoder.parameters.last_mut() {
            view_mut(parameter)[0] = bias;
        }
        Ok(())
    }

    /// What the scalar head adds to every value.
    pub fn scalar_bias(&self) -> Result<f32> {
        self.need(Head::Scalar, "scalar_bias")?;
        Ok(self.decoder.parameters.last().map_or(0.0, |p| view(p)[0]))
    }

    /// The parameters' values, in the order of their slots.
    pub(crate) fn values(&self) -> Vec<&[f32]> {
        self.decoder.parameters.iter().map(view).collect()
    }
}

impl<B: Backend> Model<B> {
    pub fn config(&self) -> &Config {
        &self.decoder.config
    }

    pub fn head(&self) -> Head {
        self.decoder.head
    }

    pub fn parameter_count(&self) -> usize {
        self.config().parameter_count(self.head())
    }

    /// For each row the log-probability of the token that follows, in nats. On the CPU what a row gets does
    /// not depend on the rest of the batch, and equals what [`crate::Trainer`] hands to the loss, bit by bit.
    pub fn log_probs(&self, batch: &Batch) -> Result<Vec<f32>> {
        self.need(Head::Lm, "log_probs")?;
        self.by_part(batch, |ready, part| B::Engine::read(&ready.outputs(part, NoneTape)).into_owned())
    }

    /// The scalar head's value at each row.
    pub fn scalars(&self, batch: &Batch) -> Result<Vec<f32>> {
        self.need(Head::Scalar, "scalars")?;
        self.by_part(batch, |ready, part| B::Engine::read(&ready.outputs(part, NoneTape)).into_owned())
    }

    /// For each row the log-probability of the token that follows, and the shape of the distribution.
    pub fn token_stats(&self, batch: &Batch) -> Result<Vec<TokenStats>> {
        self.need(Head::Lm, "token_stats")?;
        self.by_part(batch, |ready, part| {
            let mut stats = Vec::with_capacity(part.rows.len());
            each_row_of_logits(ready, part, |row, logits| stats.push(token_stats(logits, part.targets[row])));
            stats
        })
    }

    /// The whole distribution of each row as log-probabilities: `[rows, vocab_size]`, flat.
    pub fn log_softmax(&self, batch: &Batch) -> Result<Vec<f32>> {
        self.need(Head::Lm, "log_softmax")?;
        self.by_part(batch, |ready, part| {
            let mut all = Vec::with_capacity(part.rows.len() * ready.decoder.config.vocab_size);
            each_row_of_logits(ready, part, |_, logits| {
                let log_sum = kernels::softmax(&mut logits.to_vec());
                all.extend(logits.iter().map(|logit| logit - log_sum));
            });
            all
        })
    }

    pub(crate) fn need(&self, head: Head, operation: &'static str) -> Result<()> {
        if self.head() == head {
            return Ok(());
        }
        Err(Error::Head { operation, needed: head.name(), found: self.head().name() })
    }

    /// Runs `work` on parts of the batch, each as large as suits the backend.
    fn by_part<T: Send>(
        &self,
        batch: &Batch,
        work: impl Fn(&Ready<B::Engine>, &Packed) -> Vec<T> + Sync + Send,
    ) -> Result<Vec<T>> {
        let parts = batch.pack(self.config(), self.head())?.split(B::Engine::PART);
        B::Engine::guard(|| B::Engine::by_part(&self.decoder.ready(), &parts, work))
    }
}

fn each_row_of_logits<E: Engine>(ready: &Ready<E>, part: &Packed, mut visit: impl FnMut(usize, &mut [f32])) {
    let hidden = ready.hidden(part, NoneTape);
    let vocabulary = ready.decoder.config.vocab_size;
    E::logits_by_slice(&hidden, ready.unembedding(), |start, logits| {
        for (i, logits) in logits.chunks_exact_mut(vocabulary).enumerate() {
            visit(start + i, logits);
        }
    });
}

fn token_stats(logits: &mut [f32], target: u32) -> TokenStats {
    let logit = logits[target as usize];
    let argmax = argmax(logits);
    let mut probabilities = logits.to_vec();
    let log_sum = kernels::softmax(&mut probabilities);
    // H = log Z - sum of p * logit
    TokenStats {
        log_prob: logit - log_sum,
        entropy: (log_sum - kernels::dot(&probabilities, logits)).max(0.0),
        argmax: argmax as u32,
        argmax_prob: probabilities[argmax],
    }
}

/// The first of the greatest.
pub(crate) fn argmax(row: &[f32]) -> usize {
    let most = kernels::max(row);
    row.iter().position(|&x| x == most).unwrap_or(0)
}

/// A draw from the standard normal distribution (Box and Muller, 1958).
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let mut uniform = || (f64::from(rng.next_u32()) + 0.5) / f64::from(u32::MAX);
    let (a, b) = (uniform().min(1.0), uniform());
    ((-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()) as f32
}
