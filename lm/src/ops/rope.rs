//! Rotary position embeddings (Su et al., 2021), in Llama's layout: the halves of a head are the pairs.

use super::Old;
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

    /// Writes `scale * rotate(x)` to `y`.
    #[inline]
    pub fn turn(&self, position: usize, x: &[f32], y: &mut [f32], scale: f32) {
        self.rotate(position, (x, y), (scale, scale), |_, turned| turned);
    }

    /// Writes or adds to `y` what `turn` sends back, given the gradient of its result.
    #[inline]
    pub fn turn_back(&self, position: usize, x: &[f32], y: &mut [f32], scale: f32, old: Old) {
        match old {
            Old::Overwrite => self.rotate(position, (x, y), (scale, -scale), |_, turned| turned),
            Old::Add => self.rotate(position, (x, y), (scale, -scale), |old, turned| old + turned),
        }
    }

    /// The scales are those of cosines and of sines.
    #[inline(always)]
    fn rotate(
        &self,
        position: usize,
        (x, y): (&[f32], &mut [f32]),
        (scale, sign): (f32, f32),
        sum: impl Fn(f32, f32) -> f32,
    ) {
        let half = self.half;
        let (cos, sin) = self.at(position);
        let ((a, b), (ya, yb)) = (x.split_at(half), y.split_at_mut(half));
        for ((((a, b), (ya, yb)), cos), sin) in a.iter().zip(b).zip(ya.iter_mut().zip(yb)).zip(cos).zip(sin) {
            *ya = sum(*ya, a * cos * scale - b * sin * sign);
            *yb = sum(*yb, b * cos * scale + a * sin * sign);
        }
    }
}
