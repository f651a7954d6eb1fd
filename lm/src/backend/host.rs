//! The processor: tensors are read in place, parts of a batch run side by side.

use super::Engine;
use crate::batch::Packed;
use crate::decoder::Decoder;
use crate::error::Result;
use crate::ops::view::{view, view_mut};
use crate::ops::{Fused, Matrix, log_prob};
use crate::parameters::Slot;
use crate::sample::{Sampled, Sampling, generate};
use crate::train::{AdamW, Moments, Update};
use dfdx::prelude::{Cpu, Gradients, Shape, Tensor};
use rayon::prelude::*;
use std::borrow::Cow;

impl Engine for Fused {
    type Gradient = Vec<f32>;
    type Moments = Moments;

    /// The activations of a part then stay in the processor's cache.
    const PART: usize = 1024;

    fn guard<R>(work: impl FnOnce() -> R) -> Result<R> {
        Ok(work())
    }

    fn read<S: Shape, T>(tensor: &Tensor<S, f32, Cpu, T>) -> Cow<'_, [f32]> {
        Cow::Borrowed(view(tensor))
    }

    fn by_part<R: Send>(
        decoder: &Decoder<Fused>,
        parts: &[Packed],
        work: impl Fn(&Decoder<Fused>, &Packed) -> Vec<R> + Sync + Send,
    ) -> Vec<R> {
        let work = |part: &Packed| work(decoder, part);
        if rayon::current_num_threads() == 1 {
            return parts.iter().flat_map(work).collect();
        }
        let parts: Vec<Vec<R>> = parts.par_iter().map(work).collect();
        parts.into_iter().flatten().collect()
    }

    fn logits_by_slice(x: &Matrix<Cpu>, weight: &Matrix<Cpu>, visit: impl FnMut(usize, &mut [f32])) {
        log_prob::logits_by_slice(x, weight, visit);
    }

    fn take_gradient(gradients: &mut Gradients<f32, Cpu>, parameter: &Matrix<Cpu>) -> Vec<f32> {
        let gradient = gradients.get_or_alloc_mut(parameter).expect("the CPU device allocates or aborts");
        std::mem::take(&mut **gradient)
    }

    fn add_gradient(sum: &mut Vec<f32>, gradient: Vec<f32>) {
        sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
    }

    fn square_sum(gradients: &[Vec<f32>]) -> f64 {
        let square = |g: &Vec<f32>| g.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
        gradients.iter().map(square).sum()
    }

    fn update(
        optimizer: &AdamW,
        update: Update,
        slots: &[Slot],
        parameters: &mut [Matrix<Cpu>],
        gradients: &[Vec<f32>],
        moments: &mut [Moments],
    ) {
        for (((parameter, slot), gradient), moments) in
            parameters.iter_mut().zip(slots).zip(gradients).zip(moments)
        {
            optimizer.update(update, slot.decays(), view_mut(parameter), gradient, moments);
        }
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
