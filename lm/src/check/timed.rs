//! Operations as a training step runs them, forward and back, for a benchmark.

use crate::ops::check::{
    Attend, Embedding, FeedForward, Function, Gather, Linear, LogProb, Residual, RmsNorm, ScalarHead,
};
use crate::ops::{Attention, Composed, Fused, Gate, Matrix, Ops, Rope};
use dfdx::prelude::{Axes2, Backward, Cpu, SumTo, TensorFromVec};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::rc::Rc;
use std::sync::Arc;

/// One operation, forward and back, in both ways.
pub struct Timed {
    /// With what it runs on, in words.
    pub name: String,
    pub fused: Box<dyn Fn()>,
    pub composed: Box<dyn Fn()>,
}

// Shape S of `benches/peers/shapes.json`, of which a training step does parts of a fourth side by side.
const SEQUENCES: usize = 8;
const LENGTH: usize = 64;
const WIDTH: usize = 128;
const INNER: usize = 352;
const VOCABULARY: usize = 512;
const HEADS: usize = 4;

/// The operations of a decoder on the shapes of a part of a training step.
pub fn timed() -> Vec<Timed> {
    let rows = SEQUENCES * LENGTH;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let ids: Vec<u32> = (0..rows).map(|_| rng.next_u32() % VOCABULARY as u32).collect();
    let how = Arc::new(Attention {
        heads: HEADS,
        key_value_heads: HEADS,
        head_dim: WIDTH / HEADS,
        rope: Arc::new(Rope::new(LENGTH, WIDTH / HEADS, 10_000.0, None)),
        starts: (0..=SEQUENCES).map(|i| i * LENGTH).collect(),
    });
    let x = (rows, WIDTH);
    let feed_forward = [x, (1, WIDTH), (2 * INNER, WIDTH), (WIDTH, INNER)];
    vec![
        one("embedding", &[(VOCABULARY, WIDTH)], Embedding { ids: ids.clone(), scale: 1.0 }),
        one("gather", &[x], Gather { rows: (0..rows).step_by(2).collect() }),
        one("rms_norm", &[x, (1, WIDTH)], RmsNorm {}),
        one("linear", &[x, (2 * INNER, WIDTH)], Linear {}),
        one("linear + residual", &[(rows, INNER), (WIDTH, INNER), x], Residual {}),
        one("swiglu", &feed_forward, FeedForward { gate: Gate::Silu }),
        one("geglu", &feed_forward, FeedForward { gate: Gate::Gelu }),
        one("attention", &[x, (1, WIDTH), (3 * WIDTH, WIDTH)], Attend { how }),
        one("linear + log-probability", &[x, (VOCABULARY, WIDTH)], LogProb { targets: ids }),
        one("scalar head", &[x, (1, WIDTH), (1, 1)], ScalarHead {}),
    ]
}

fn one(name: &str, shapes: &[(usize, usize)], f: impl Function + 'static) -> Timed {
    let device = Cpu::default();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut values =
        |n: usize| (0..n).map(|_| rng.next_u32() as f32 / u32::MAX as f32 - 0.5).collect::<Vec<_>>();
    let inputs: Vec<Matrix<Cpu>> =
        shapes.iter().map(|&shape| device.tensor_from_vec(values(shape.0 * shape.1), shape)).collect();
    let inputs = Rc::new(inputs);
    let f = Rc::new(f);
    let words =
        shapes.iter().map(|(rows, columns)| format!("{rows}x{columns}")).collect::<Vec<_>>().join(", ");
    Timed {
        name: format!("{name}: {words}"),
        fused: run::<Fused>(f.clone(), inputs.clone()),
        composed: run::<Composed<Cpu>>(f, inputs),
    }
}

fn run<O: Ops<Device = Cpu>>(f: Rc<impl Function + 'static>, inputs: Rc<Vec<Matrix<Cpu>>>) -> Box<dyn Fn()> {
    Box::new(move || {
        let y = f.run::<O>(&inputs);
        let gradients = y.sum::<(), Axes2<0, 1>>().backward();
        std::hint::black_box(gradients);
    })
}
