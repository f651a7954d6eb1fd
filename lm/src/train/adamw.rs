//! AdamW: Adam with decoupled weight decay (Kingma and Ba, 2015; Loshchilov and Hutter, 2019).

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW {
    /// The learning rate that the schedule scales.
    pub lr: f32,
    pub betas: (f32, f32),
    pub eps: f32,
    /// Each update also pulls weights towards zero by `lr * weight_decay` of their value; not gains and biases.
    pub weight_decay: f32,
    /// The greatest global norm of the gradient; a longer one is scaled down to it.
    pub clip: Option<f32>,
}

impl Default for AdamW {
    fn default() -> AdamW {
        AdamW { lr: 1e-3, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0, clip: Some(1.0) }
    }
}

/// Running means of a parameter's gradient and of its square.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moments {
    pub first: Vec<f32>,
    pub second: Vec<f32>,
}

/// What one update has in common for all parameters.
#[derive(Clone, Copy)]
pub(crate) struct Update {
    /// Its number, from 1.
    pub step: u64,
    pub lr: f32,
    /// What multiplies the gradient.
    pub scale: f32,
}

/// What multiplies what in an update, the same for all elements of a parameter.
#[derive(Clone, Copy)]
pub(crate) struct Factors {
    /// The mean of gradients.
    pub step_size: f32,
    /// The root of the mean of squares.
    pub second_scale: f32,
    /// The parameter itself.
    pub keep: f32,
}

impl AdamW {
    pub fn validate(&self) -> Result<()> {
        let check = |holds: bool, field, found: f32, expected: &str| {
            if holds {
                return Ok(());
            }
            Err(Error::Optimizer { field, found: found.to_string(), expected: expected.to_string() })
        };
        let not_negative = |x: f32| x.is_finite() && x >= 0.0;
        check(not_negative(self.lr), "lr", self.lr, "a number of at least 0")?;
        for beta in [self.betas.0, self.betas.1] {
            check((0.0..1.0).contains(&beta), "betas", beta, "numbers of at least 0 and below 1")?;
        }
        check(self.eps.is_finite() && self.eps > 0.0, "eps", self.eps, "a number above 0")?;
        let decay = self.weight_decay;
        check(not_negative(decay), "weight_decay", decay, "a number of at least 0")?;
        let clip = self.clip.unwrap_or(1.0);
        check(clip.is_finite() && clip > 0.0, "clip", clip, "a number above 0, or nothing")
    }

    /// What multiplies a gradient of this global norm.
    pub(crate) fn clip_factor(&self, norm: f32) -> f32 {
        match self.clip {
            Some(most) if norm > most => most / norm,
            _ => 1.0,
        }
    }

    pub(crate) fn factors(&self, update: Update, decays: bool) -> Factors {
        let Update { step, lr, .. } = update;
        let (b1, b2) = self.betas;
        let correction = |beta: f32| (1.0 - f64::from(beta).powf(step as f64)) as f32;
        Factors {
            step_size: lr / correction(b1),
            second_scale: 1.0 / correction(b2).sqrt(),
            keep: if decays { 1.0 - lr * self.weight_decay } else { 1.0 },
        }
    }

    /// Updates elements of one parameter, whose gradient is `scale` times the given one.
    pub(crate) fn update(
        &self,
        factors: Factors,
        scale: f32,
        parameter: &mut [f32],
        gradient: &[f32],
        (first, second): (&mut [f32], &mut [f32]),
    ) {
        let (b1, b2) = self.betas;
        let Factors { step_size, second_scale, keep } = factors;
        for (((p, g), m), v) in parameter.iter_mut().zip(gradient).zip(first).zip(second) {
            let g = g * scale;
            *m = b1 * *m + (1.0 - b1) * g;
            *v = b2 * *v + (1.0 - b2) * g * g;
            *p = *p * keep - step_size * *m / (v.sqrt() * second_scale + self.eps);
        }
    }
}
