//! The processor: tensors are read in place, parts of a batch run side by side.

use super::{Engine, backward};
use crate::batch::Packed;
use crate::decoder::{Decoder, Ready};
use crate::error::Result;
use crate::ops::handover::{self, address};
use crate::ops::parallel::{each, map, map_alike};
use crate::ops::view::{view, view_mut};
use crate::ops::{CHUNK, Fused, Matrix, Vector, Weight, add, log_prob};
use crate::parameters::Slot;
use crate::sample::{Sampled, Sampling, generate};
use crate::train::{AdamW, Moments, Update};
use dfdx::prelude::{Cpu, HasShape, OwnedTape, Shape, Tensor};
use std::borrow::Cow;
use std::collections::HashMap;

/// How many of so many tokens make a part in training: a power of two of parts, so that they share out evenly; each of
/// some 256 tokens or more, for adding up a part's gradients must not cost much beside them; at most 8 parts, for each
/// holds gradients of its own. The number of threads does not count: sums would depend on it.
fn trained_part(tokens: usize) -> usize {
    let most = (tokens / 256).clamp(1, 8);
    tokens.div_ceil(1 << most.ilog2())
}

/// Outputs of a part with what it takes to go back.
struct Recorded {
    outputs: Vector<Cpu, OwnedTape<f32, Cpu>>,
    /// With gradients of this part alone.
    weights: Vec<Weight>,
}

// SAFETY: `OwnedTape` is not `Send` for it holds boxed closures of any kind. Those of a decoder on `Fused` come from
// `record` alone, which asks for `Send`; some own a `Weight`, so that this is `Send` as well.
unsafe impl Send for Recorded {}

impl Recorded {
    fn new(ready: &Ready<Fused>, part: &Packed) -> Recorded {
        // An embedding that is the head as well gets gradients from both: dfdx gathers those.
        let shared = address(ready.decoder.embedding());
        let apart = |weight: &Weight| {
            if address(&weight.matrix) == shared { weight.clone() } else { weight.apart() }
        };
        let weights = ready.weights.iter().map(apart).collect();
        let apart = Ready { decoder: ready.decoder, weights };
        Recorded { outputs: apart.outputs(part, OwnedTape::default()), weights: apart.weights }
    }

    /// The gradient of each parameter, given that of each output.
    fn back(self, decoder: &Decoder<Fused>, outputs: &[f32]) -> Vec<Vec<f32>> {
        let mut gradients = backward(self.outputs, outputs.to_vec());
        handover::clear();
        let apart: HashMap<_, _> =
            self.weights.iter().map(|weight| (address(&weight.matrix), weight)).collect();
        let gradient = |parameter: &Matrix<Cpu>| {
            let weight = apart.get(&address(parameter));
            weight.and_then(|weight| weight.take_gradient()).unwrap_or_else(|| {
                let gradient = gradients.get_or_alloc_mut(parameter);
                std::mem::take(&mut **gradient.expect("the CPU device allocates or aborts"))
            })
        };
        decoder.parameters.iter().map(gradient).collect()
    }
}

/// Adds the gradients of all others, in their order.
fn add_all(sum: &mut [Vec<f32>], others: &[Vec<Vec<f32>>]) {
    let tasks = sum.iter_mut().enumerate().flat_map(|(parameter, sum)| {
        sum.chunks_mut(CHUNK).enumerate().map(move |(chunk, sum)| (parameter, chunk * CHUNK, sum))
    });
    each(tasks, |(parameter, start, sum)| {
        for other in others {
            add(sum, &other[parameter][start..][..sum.len()]);
        }
    });
}

impl Engine for Fused {
    type Gradient = Vec<f32>;
    type Moments = Moments;

    /// The activations of a part then stay in the processor's cache.
    const PART: usize = 256;

    fn guard<R>(work: impl FnOnce() -> R) -> Result<R> {
        Ok(work())
    }

    fn read<S: Shape, T>(tensor: &Tensor<S, f32, Cpu, T>) -> Cow<'_, [f32]> {
        Cow::Borrowed(view(tensor))
    }

    fn by_part<R: Send>(
        ready: &Ready<Fused>,
        parts: &[Packed],
        work: impl Fn(&Ready<Fused>, &Packed) -> Vec<R> + Sync + Send,
    ) -> Vec<R> {
        map_alike(parts, |part| part.tokens.len(), |part| work(ready, part)).into_iter().flatten().collect()
    }

    fn logits_by_slice(x: &Matrix<Cpu>, weight: &Weight, mut visit: impl FnMut(usize, &mut [f32])) {
        log_prob::logits_by_slice(x, weight, |rows, logits| visit(rows.start, logits));
    }

    /// Parts of the batch go forward side by side, and then back; their gradients are added in order.
    fn gradients(
        decoder: &Decoder<Fused>,
        batch: Packed,
        loss: impl FnOnce(&[f32]) -> Result<(f32, Vec<f32>)>,
    ) -> Result<(f32, Vec<Vec<f32>>)> {
        let parts = batch.split(trained_part(batch.tokens.len()));
        let ready = decoder.ready();
        let recorded = map_alike(&parts, |part| part.tokens.len(), |part| Recorded::new(&ready, part));
        let outputs: Vec<&[f32]> = recorded.iter().map(|part| view(&part.outputs)).collect();
        let (loss, gradient) = loss(&outputs.concat())?;
        // All at once here, for parts that go back side by side would wait for each other's.
        map(&ready.weights, |weight| {
            weight.back();
        });
        let mut rest = &gradient[..];
        let ways_back = recorded.into_iter().map(|part| {
            let (gradient, after) = rest.split_at(part.outputs.shape().0);
            rest = after;
            (part, gradient)
        });
        let rows = |(_, gradient): &(Recorded, &[f32])| gradient.len();
        let mut gradients = map_alike(ways_back, rows, |(part, gradient)| part.back(decoder, gradient));
        let others = gradients.split_off(1);
        let mut sum = gradients.remove(0);
        add_all(&mut sum, &others);
        Ok((loss, sum))
    }

    fn add_gradients(sum: &mut [Vec<f32>], gradients: Vec<Vec<f32>>) {
        add_all(sum, &[gradients]);
    }

    fn square_sum(gradients: &[Vec<f32>]) -> f64 {
        let squares = |part: &[f32]| part.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
        map(gradients.iter().flat_map(|gradient| gradient.chunks(CHUNK)), squares).into_iter().sum()
    }

    fn update(
        optimizer: &AdamW,
        update: Update,
        slots: &[Slot],
        parameters: &mut [Matrix<Cpu>],
        gradients: &[Vec<f32>],
        moments: &mut [Moments],
    ) {
        let all = parameters.iter_mut().zip(slots).zip(gradients).zip(moments);
        let tasks = all.flat_map(|(((parameter, slot), gradient), Moments { first, second })| {
            first.resize(gradient.len(), 0.0);
            second.resize(gradient.len(), 0.0);
            let factors = optimizer.factors(update, slot.decays());
            let moments = first.chunks_mut(CHUNK).zip(second.chunks_mut(CHUNK));
            let values = view_mut(parameter).chunks_mut(CHUNK).zip(gradient.chunks(CHUNK));
            values.zip(moments).map(move |task| (factors, task))
        });
        each(tasks, |(factors, ((parameter, gradient), moments))| {
            optimizer.update(factors, update.scale, parameter, gradient, moments);
        });
    }

    fn generate(
        decoder: &Decoder<Fused>,
        sampling: &Sampling,
        prompts: &[Vec<u32>],
        seeds: &[u64],
    ) -> Vec<Sampled> {
        generate::generate(decoder, sampling, prompts, seeds)
    }
}
