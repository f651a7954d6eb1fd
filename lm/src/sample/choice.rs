//! How the next token is chosen from a row of logits.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::model::argmax;
use crate::ops::kernels;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    pub max_new_tokens: usize,
    /// Logits are divided by this; 0 takes the likeliest token (the lowest id of several).
    pub temperature: f32,
    /// Keep the `k` likeliest tokens.
    pub top_k: Option<usize>,
    /// Keep the likeliest tokens until they hold this much probability (Holtzman et al., 2020).
    pub top_p: Option<f32>,
    /// The token that ends a sequence.
    pub stop: Option<u32>,
    /// Tokens that are never chosen.
    pub banned: Vec<u32>,
}

impl Default for Sampling {
    fn default() -> Sampling {
        let banned = vec![];
        Sampling { max_new_tokens: 32, temperature: 1.0, top_k: None, top_p: None, stop: None, banned }
    }
}

impl Sampling {
    pub(crate) fn validate(&self, config: &Config) -> Result<()> {
        let check = |holds: bool, field, found: String, expected: String| {
            if holds { Ok(()) } else { Err(Error::Sampling { field, found, expected }) }
        };
        let temperature = self.temperature;
        let fits = temperature.is_finite() && temperature >= 0.0;
        check(fits, "temperature", temperature.to_string(), "a number of at least 0".into())?;
        check(self.top_k != Some(0), "top_k", "0".into(), "at least 1, or nothing".into())?;
        if let Some(p) = self.top_p {
            check(p > 0.0 && p <= 1.0, "top_p", p.to_string(), "above 0 and at most 1, or nothing".into())?;
        }
        let ids = format!("ids below vocab_size = {}", config.vocab_size);
        let within = self.banned.iter().chain(&self.stop).all(|&id| (id as usize) < config.vocab_size);
        check(within, "stop, banned", format!("{:?}, {:?}", self.stop, self.banned), ids)?;
        let mut banned = vec![false; config.vocab_size];
        self.banned.iter().for_each(|&id| banned[id as usize] = true);
        check(banned.contains(&false), "banned", "every token".into(), "at least one token left".into())
    }
}

/// Chooses tokens; holds the memory that it takes.
pub(super) struct Chooser<'a> {
    pub sampling: &'a Sampling,
    probabilities: Vec<f32>,
    order: Vec<u32>,
}

impl<'a> Chooser<'a> {
    pub fn new(sampling: &'a Sampling) -> Self {
        Chooser { sampling, probabilities: vec![], order: vec![] }
    }

    /// A token, and its log-probability under the model itself: at temperature 1, nothing left out.
    pub fn choose(&mut self, logits: &[f32], rng: &mut ChaCha8Rng) -> (u32, f32) {
        let how = self.sampling;
        let plain = how.temperature == 1.0;
        self.probabilities.clear();
        self.probabilities.extend_from_slice(logits);
        let log_sum = kernels::softmax(&mut self.probabilities);
        if !plain {
            self.probabilities.copy_from_slice(logits);
        }
        let token = if how.temperature == 0.0 {
            for &id in &how.banned {
                self.probabilities[id as usize] = f32::NEG_INFINITY;
            }
            argmax(&self.probabilities)
        } else {
            if !plain {
                self.probabilities.iter_mut().for_each(|x| *x /= how.temperature);
                kernels::softmax(&mut self.probabilities);
            }
            for &id in &how.banned {
                self.probabilities[id as usize] = 0.0;
            }
            self.keep_likeliest();
            draw(&self.probabilities, rng)
        };
        (token as u32, logits[token] - log_sum)
    }

    /// Sets to zero what `top_k` and `top_p` leave out.
    fn keep_likeliest(&mut self) {
        if self.sampling.top_k.is_none() && self.sampling.top_p.is_none() {
            return;
        }
        let p = &mut self.probabilities;
        self.order.clear();
        self.order.extend(0..p.len() as u32);
        self.order.sort_by(|&a, &b| p[b as usize].total_cmp(&p[a as usize]).then(a.cmp(&b)));
        let mut kept = self.sampling.top_k.unwrap_or(p.len()).min(p.len());
        if let Some(share) = self.sampling.top_p {
            let total: f32 = self.order[..kept].iter().map(|&id| p[id as usize]).sum();
            let mut held = 0.0;
            let enough = self.order[..kept].iter().position(|&id| {
                held += p[id as usize];
                held >= share * total
            });
            kept = enough.map_or(kept, |last| last + 1);
        }
        for &id in &self.order[kept..] {
            p[id as usize] = 0.0;
        }
    }
}

/// An index with probability in proportion to its weight, from one 32-bit word of the stream.
fn draw(weights: &[f32], rng: &mut ChaCha8Rng) -> usize {
    let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
    let mut left = (f64::from(rng.next_u32()) + 0.5) / (f64::from(u32::MAX) + 1.0) * total;
    let mut last = 0;
    for (index, &weight) in weights.iter().enumerate() {
        if weight > 0.0 {
            left -= f64::from(weight);
            last = index;
            if left < 0.0 {
                break;
            }
        }
    }
    last
}
