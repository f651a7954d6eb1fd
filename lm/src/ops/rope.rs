//! Rotary position embeddings (Su et al., 2021), in Llama's layout: the halves of a head are the pairs.

use crate::config::{Config, RopeScaling};
use std::f64::consts::TAU;

impl RopeScaling {
    /// Positions by which a pair turns one radian, given what these are without scaling.
    fn stretched(self, period: f64) -> f64 {
        match self {
            RopeScaling::Linear { factor } => period * f64::from(factor),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let (low, high) = (f64::from(low_freq_factor), f64::from(high_freq_factor));
                let waves = original_max_position_embeddings as f64 / (TAU * period);
                let kept = ((waves - low) / (high - low)).clamp(0.0, 1.0);
                period / ((1.0 - kept) / f64::from(factor) + kept)
            }
        }
    }
}

/// Cosines and sines for each position and pair.
pub(crate) struct Rope {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// Whether to turn values to their position, or their gradients back.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Turn {
    To,
    Back,
}

impl Rope {
    /// The table of a model.
    pub fn of(config: &Config) -> Rope {
        Rope::new(config.max_position_embeddings, config.head_dim, config.rope_theta, config.rope_scaling)
    }

    pub fn new(positions: usize, head_dim: usize, theta: f32, scaling: Option<RopeScaling>) -> Rope {
        let half = head_dim / 2;
        let periods = (0..half).map(|pair| {
            let period = f64::from(theta).powf(pair as f64 / half as f64);
            scaling.map_or(period, |scaling| scaling.stretched(period))
        });
        let periods: Vec<f64> = periods.collect();
        let angle = |i: usize| (i / half) as f64 / periods[i % half];
        let table = |f: fn(f64) -> f64| (0..positions * half).map(|i| f(angle(i)) as f32).collect();
        Rope { half, cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// Cosines and sines of one position, `head_dim / 2` each.
    #[inline]
    pub fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let range = position * self.half..(position + 1) * self.half;
        (&self.cos[range.clone()], &self.sin[range])
    }

    /// Turns the queries and keys of a row of `[queries | keys | values]`. Queries are scaled by `1 / sqrt(head_dim)` too:
    /// so their products with keys are scores.
    pub fn turn(
        &self,
        turn: Turn,
        position: usize,
        row: &mut [f32],
        (heads, key_value_heads): (usize, usize),
    ) {
        let (cos, sin) = self.at(position);
        let head_dim = 2 * self.half;
        for (head, vector) in row.chunks_exact_mut(head_dim).take(heads + key_value_heads).enumerate() {
            let scale = if head < heads { 1.0 / (head_dim as f32).sqrt() } else { 1.0 };
            let scale_sin = if turn == Turn::To { scale } else { -scale };
            let (a, b) = vector.split_at_mut(self.half);
            for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                (*a, *b) = (*a * cos * scale - *b * sin * scale_sin, *b * cos * scale + *a * sin * scale_sin);
            }
        }
    }
}
