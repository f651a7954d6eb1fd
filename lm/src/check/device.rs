//! Differences between a device and the CPU, for the program `device_check`.

use crate::backend::{Accelerator, Cpu};
use crate::error::Result;
use crate::model::Model;
use crate::ops::check::{
    Attend, Embedding, FeedForward, Function, Gather, Linear, LogProb, Residual, RmsNorm, ScalarHead,
    evaluate,
};
use crate::ops::{Attention, Fused, Gate, Rope};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::sync::Arc;

/// How far numbers are from what they should be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Difference {
    pub absolute: f32,
    /// Of the greatest absolute difference to the greatest expected value.
    pub relative: f32,
}

impl Difference {
    /// Infinite where a number is not finite or one is missing.
    pub fn of(found: &[f32], expected: &[f32]) -> Difference {
        let bad = found.len() != expected.len() || found.iter().any(|x| !x.is_finite());
        let greatest = |all: &mut dyn Iterator<Item = f32>| all.fold(0.0, f32::max);
        let absolute = match bad {
            true => f32::INFINITY,
            false => greatest(&mut found.iter().zip(expected).map(|(a, b)| (a - b).abs())),
        };
        let scale = greatest(&mut expected.iter().map(|x| x.abs()));
        Difference { absolute, relative: absolute / scale.max(f32::MIN_POSITIVE) }
    }
}

/// One operation on a device.
#[derive(Clone, Debug)]
pub struct Operation {
    pub name: &'static str,
    /// What it ran on, in words.
    pub shape: String,
    pub values: Difference,
    /// The greatest over its inputs.
    pub gradients: Difference,
}

struct Checker<'a, B: Accelerator> {
    device: &'a B,
    rng: ChaCha8Rng,
    visit: &'a mut dyn FnMut(Result<Operation>),
}

/// Holds each operation of the device against the CPU's, values and gradients, on small odd shapes and on larger
/// ones. `visit` gets each result as soon as it is there.
pub fn operations<B: Accelerator>(device: &B, visit: &mut dyn FnMut(Result<Operation>)) {
    let mut checker = Checker { device, rng: ChaCha8Rng::seed_from_u64(1), visit };
    // Rows, width, output width, and the lengths of sequences.
    checker.all(37, 11, 13, &[5, 1, 20, 11], 2, 3, 3);
    checker.all(300, 96, 130, &[100, 37, 163], 4, 4, 24);
    checker.all(1024, 256, 2048, &[128; 8], 8, 8, 32);
}

impl<B: Accelerator> Checker<'_, B> {
    #[allow(clippy::too_many_arguments, reason = "one list of sizes")]
    fn all(
        &mut self,
        rows: usize,
        width: usize,
        out: usize,
        lens: &[usize],
        groups: usize,
        heads: usize,
        half_dim: usize,
    ) {
        let heads = heads.next_multiple_of(groups);
        let picks: Vec<usize> = (0..2 * rows).map(|_| self.rng.next_u32() as usize % rows).collect();
        let ids = picks.iter().map(|&p| p as u32).collect();
        self.one("embedding", &[(rows, width)], &Embedding { ids, scale: 1.5 });
        self.one("gather", &[(rows, width)], &Gather { rows: picks });
        self.one("rms_norm", &[(rows, width), (1, width)], &RmsNorm {});
        self.one("linear", &[(rows, width), (out, width)], &Linear {});
        self.one("residual", &[(rows, width), (out, width), (rows, out)], &Residual {});
        let feed_forward = [(rows, width), (1, width), (2 * out, width), (width, out)];
        self.one("swiglu", &feed_forward, &FeedForward { gate: Gate::Silu });
        self.one("geglu", &feed_forward, &FeedForward { gate: Gate::Gelu });
        let targets = (0..rows).map(|_| self.rng.next_u32() % out as u32).collect();
        self.one("log_prob", &[(rows, width), (out, width)], &LogProb { targets });
        self.one("scalar_head", &[(rows, width), (1, width), (1, 1)], &ScalarHead {});
        let mut starts = vec![0];
        lens.iter().for_each(|len| starts.push(starts[starts.len() - 1] + len));
        let tokens = starts[starts.len() - 1];
        let longest = lens.iter().copied().max().unwrap_or(0);
        let rope = Arc::new(Rope::new(longest, 2 * half_dim, 10_000.0, None));
        let how = Attention { heads, key_value_heads: groups, head_dim: 2 * half_dim, rope, starts };
        let columns = (heads + 2 * groups) * 2 * half_dim;
        self.one(
            "attention",
            &[(tokens, width), (1, width), (columns, width)],
            &Attend { how: Arc::new(how) },
        );
    }

    fn one(&mut self, name: &'static str, shapes: &[(usize, usize)], f: &impl Function) {
        let mut uniform = |n: usize| -> Vec<f32> {
            (0..n).map(|_| self.rng.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0).collect()
        };
        let inputs: Vec<Vec<f32>> = shapes.iter().map(|(r, c)| uniform(r * c)).collect();
        let weights = uniform(1 << 22);
        let host = dfdx::prelude::Cpu::default();
        let expected = evaluate::<Fused>(&host, f, shapes, &inputs, &weights);
        let run = || evaluate::<B::Engine>(self.device.device(), f, shapes, &inputs, &weights);
        let shape = shapes.iter().map(|(r, c)| format!("{r}x{c}")).collect::<Vec<_>>().join(", ");
        let found = <B::Engine as crate::backend::Engine>::guard(run).map(|found| {
            let gradients = found.1.iter().zip(&expected.1).map(|(a, b)| Difference::of(a, b));
            let worst = |a: Difference, b: Difference| Difference {
                absolute: a.absolute.max(b.absolute),
                relative: a.relative.max(b.relative),
            };
            Operation {
                name,
                shape,
                values: Difference::of(&found.0, &expected.0),
                gradients: gradients.fold(Difference::default(), worst),
            }
        });
        (self.visit)(found);
    }
}

/// How far the parameters of two models are apart, as a share of how far `expected` is from where both started
/// (root mean squares).
pub fn share_of_update(found: &Model<Cpu>, expected: &Model<Cpu>, start: &Model<Cpu>) -> f32 {
    let apart = |a: &Model<Cpu>| -> f64 {
        let pairs = a.values().concat().into_iter().zip(expected.values().concat());
        pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum()
    };
    (apart(found) / apart(start)).sqrt() as f32
}
