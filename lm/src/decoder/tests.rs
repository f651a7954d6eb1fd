//! The whole decoder: fused against composed operations, gradients against finite differences.

use super::*;
use crate::batch::Batch;
use crate::config::Family;
use crate::ops::{Composed, Fused};
use dfdx::prelude::{Backward, Cpu, HasShape, NoneTape, OwnedTape, SumTo, TensorFromVec};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Uniform in -1..1.
fn uniform(rng: &mut ChaCha8Rng) -> f32 {
    rng.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0
}

/// A decoder whose sizes are no multiples of anything, with random values for all parameters, and a packed
/// batch of sequences that are shorter and longer than a block of attention.
struct Case {
    config: Config,
    head: Head,
    values: Vec<Vec<f32>>,
    batch: Packed,
    /// The loss is `sum(weights * outputs)`.
    weights: Vec<f32>,
}

impl Case {
    fn new(head: Head, tied: bool, family: Family, seed: u64) -> Case {
        let config = Config {
            family,
            vocab_size: 13,
            hidden_size: 11,
            intermediate_size: 19,
            tie_word_embeddings: tied,
            max_position_embeddings: 80,
            ..Config::small()
        };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let values = slots(&config, head)
            .iter()
            .map(|slot| {
                let (middle, spread) = if slot.rows == 1 { (1.0, 0.5) } else { (0.0, 0.4) };
                (0..slot.len()).map(|_| middle + spread * uniform(&mut rng)).collect()
            })
            .collect();
        let mut batch = Batch::new();
        // Rows from the start, from the middle, all, one, none.
        for (len, rows) in [(5, 0..4), (33, 20..32), (2, 0..1), (70, 0..69), (1, 0..0), (40, 38..39)] {
            let tokens: Vec<u32> = (0..len).map(|_| rng.next_u32() % 13).collect();
            batch.push(&tokens, rows);
        }
        let weights = (0..batch.rows()).map(|_| uniform(&mut rng)).collect();
        let batch = batch.pack(&config, head).unwrap();
        Case { config, head, values, batch, weights }
    }

    fn decoder<O: Ops<Device = Cpu>>(&self, values: &[Vec<f32>]) -> Decoder<O> {
        Decoder::new(self.config.clone(), self.head, &Cpu::default(), values.to_vec())
    }

    /// Outputs, and the gradient of the loss for each parameter.
    fn gradients<O: Ops<Device = Cpu>>(&self) -> (Vec<f32>, Vec<Vec<f32>>) {
        let decoder = self.decoder::<O>(&self.values);
        let outputs = decoder.ready().outputs(&self.batch, OwnedTape::default());
        let values = outputs.as_vec();
        let weights = Cpu::default().tensor_from_vec(self.weights.clone(), *outputs.shape());
        let mut gradients = (outputs * weights).sum().backward();
        let of = |p| gradients.get_or_alloc_mut(p).unwrap().to_vec();
        (values, decoder.parameters.iter().map(of).collect())
    }

    fn loss(&self, values: &[Vec<f32>]) -> f64 {
        let outputs = self.decoder::<Fused>(values).ready().outputs(&self.batch, NoneTape).as_vec();
        outputs.iter().zip(&self.weights).map(|(&y, &w)| f64::from(y) * f64::from(w)).sum()
    }
}

fn cases() -> impl Iterator<Item = Case> {
    [
        (Head::Lm, true, Family::Llama),
        (Head::Lm, false, Family::Llama),
        (Head::Scalar, true, Family::Llama),
        (Head::Lm, true, Family::Gemma),
    ]
    .into_iter()
    .enumerate()
    .map(|(seed, (head, tied, family))| Case::new(head, tied, family, seed as u64))
}

fn norm(x: &[f32]) -> f32 {
    x.iter().map(|x| x * x).sum::<f32>().sqrt()
}

#[test]
fn fused_and_composed_agree() {
    for case in cases() {
        let (fused, fused_gradients) = case.gradients::<Fused>();
        let (composed, composed_gradients) = case.gradients::<Composed<Cpu>>();
        for (row, (a, b)) in fused.iter().zip(&composed).enumerate() {
            assert!((a - b).abs() < 2e-5 * (1.0 + b.abs()), "{:?} row {row}: {a} and {b}", case.head);
        }
        for ((a, b), slot) in
            fused_gradients.iter().zip(&composed_gradients).zip(slots(&case.config, case.head))
        {
            let apart: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
            assert!(norm(b) > 1e-3, "{}: no gradient", slot.name());
            assert!(norm(&apart) < 1e-4 * norm(b), "{:?}: gradient of {}", case.head, slot.name());
        }
    }
}

#[test]
fn gradients_are_slopes() {
    const STEP: f32 = 5e-3;
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for case in cases() {
        let (_, gradients) = case.gradients::<Fused>();
        for ((at, gradient), slot) in gradients.iter().enumerate().zip(slots(&case.config, case.head)) {
            // Along the gradient, where the slope is greatest, and along random directions.
            for direction in 0..4 {
                let mut along: Vec<f32> = match direction {
                    0 => gradient.clone(),
                    _ => gradient.iter().map(|_| uniform(&mut rng)).collect(),
                };
                let length = norm(&along);
                along.iter_mut().for_each(|x| *x /= length);
                let expected: f32 = gradient.iter().zip(&along).map(|(g, d)| g * d).sum();
                let moved = |step: f32| {
                    let mut values = case.values.clone();
                    values[at].iter_mut().zip(&along).for_each(|(x, d)| *x += step * d);
                    case.loss(&values)
                };
                let slope = ((moved(STEP) - moved(-STEP)) / f64::from(2.0 * STEP)) as f32;
                assert!(
                    (slope - expected).abs() < 5e-3 * norm(gradient),
                    "{:?}: {} along direction {direction}: slope {slope}, gradient {expected}",
                    case.head,
                    slot.name(),
                );
            }
        }
    }
}
