//! Learning rate over time.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    #[default]
    Constant,
    Linear,
    Cosine,
}

/// A linear warm-up, then a decay from 1 to `floor` that ends at step `total`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Steps over which the factor rises.
    pub warmup: usize,
    /// Steps over which it has fallen to `floor`, the warm-up included. Unused if the decay is constant.
    pub total: usize,
    pub decay: Decay,
    /// The factor from step `total` on.
    pub floor: f32,
}

impl Schedule {
    /// What multiplies the learning rate at a step, counted from 0. The first step of a warm-up is `1 / warmup`.
    pub fn at(&self, step: usize) -> f32 {
        if step < self.warmup {
            return (step + 1) as f32 / self.warmup as f32;
        }
        let left = match self.total.saturating_sub(self.warmup) {
            0 => 0.0,
            span => 1.0 - ((step - self.warmup) as f32 / span as f32).min(1.0),
        };
        let share = match self.decay {
            Decay::Constant => return 1.0,
            Decay::Linear => left,
            Decay::Cosine => 0.5 * (1.0 - (std::f32::consts::PI * left).cos()),
        };
        self.floor + (1.0 - self.floor) * share
    }
}
