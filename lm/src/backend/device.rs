//! A device of dfdx, with the composed operations. What is read is copied; parameters, gradients, the optimizer's
//! state and the cache of keys and values stay there.

use super::{Engine, backward};
use crate::batch::Packed;
use crate::decoder::{Decoder, Ready};
use crate::error::{Error, Result};
use crate::ops::composed::Product;
use crate::ops::{Composed, Matrix, Ops};
use crate::parameters::Slot;
use crate::sample::{Sampled, Sampling, device};
use crate::train::{AdamW, Update};
use dfdx::prelude::*;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

impl<D: Device<f32>, P: Product<D>> Engine for Composed<D, P> {
    type Gradient = Matrix<D>;
    type Moments = Option<DeviceMoments<D>>;

    /// Many, for a wide device; and few enough that the logits of a part fit.
    const PART: usize = 1 << 13;

    /// dfdx's operations panic where a device fails. Nothing that they work on is left half changed: tensors are
    /// values, and ours are replaced only when all is done.
    fn guard<R>(work: impl FnOnce() -> R) -> Result<R> {
        catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Error::Device { found: text.unwrap_or_else(|| "the device failed".into()) }
        })
    }

    fn read<S: Shape, T>(tensor: &Tensor<S, f32, D, T>) -> Cow<'_, [f32]> {
        Cow::Owned(tensor.as_vec())
    }

    fn by_part<R: Send>(
        ready: &Ready<Self>,
        parts: &[Packed],
        work: impl Fn(&Ready<Self>, &Packed) -> Vec<R> + Sync + Send,
    ) -> Vec<R> {
        // A kernel over nothing cannot be launched.
        parts.iter().filter(|part| !part.rows.is_empty()).flat_map(|part| work(ready, part)).collect()
    }

    fn logits_by_slice(x: &Matrix<D>, weight: &Matrix<D>, mut visit: impl FnMut(usize, &mut [f32])) {
        visit(0, &mut Self::linear(x.clone(), weight, None).as_vec());
    }

    fn gradients(
        decoder: &Decoder<Self>,
        batch: Packed,
        loss: impl FnOnce(&[f32]) -> Result<(f32, Vec<f32>)>,
    ) -> Result<(f32, Vec<Matrix<D>>)> {
        let (outputs, seen) = Self::guard(|| {
            let outputs = decoder.ready().outputs(&batch, OwnedTape::default());
            let seen = outputs.as_vec();
            (outputs, seen)
        })?;
        let (loss, gradient) = loss(&seen)?;
        let gradients = Self::guard(|| {
            let mut gradients = backward(outputs, gradient);
            let taken = decoder.parameters.iter().map(|parameter| {
                gradients
                    .try_alloc_for(parameter)
                    .unwrap_or_else(|e| panic!("no memory for a gradient: {e:?}"));
                gradients.get(parameter)
            });
            taken.collect()
        })?;
        Ok((loss, gradients))
    }

    fn add_gradients(sum: &mut [Matrix<D>], gradients: Vec<Matrix<D>>) {
        for (sum, gradient) in sum.iter_mut().zip(gradients) {
            *sum = sum.clone() + gradient;
        }
    }

    fn square_sum(gradients: &[Matrix<D>]) -> f64 {
        let sums = gradients.iter().map(|g| g.clone().square().sum::<(), Axes2<0, 1>>());
        // Summed there, so that one number is read.
        let sum = sums.reduce(|a, b| a + b);
        sum.map_or(0.0, |sum| f64::from(Self::read(&sum)[0]))
    }

    fn update(
        optimizer: &AdamW,
        update: Update,
        slots: &[Slot],
        parameters: &mut [Matrix<D>],
        gradients: &[Matrix<D>],
        moments: &mut [Self::Moments],
    ) {
        let all = parameters.iter().zip(gradients).zip(slots).zip(&*moments);
        let updated: Vec<_> = all
            .map(|(((parameter, gradient), slot), moments)| {
                let decays = slot.decays();
                optimizer.update_tensor(update, decays, parameter.clone(), gradient.clone(), moments.clone())
            })
            .collect();
        for ((parameter, moments), (p, m)) in parameters.iter_mut().zip(moments).zip(updated) {
            (*parameter, *moments) = (p, Some(m));
        }
    }

    fn generate(
        decoder: &Decoder<Self>,
        sampling: &Sampling,
        prompts: &[Vec<u32>],
        seeds: &[u64],
    ) -> Vec<Sampled> {
        device::generate(decoder, sampling, prompts, seeds)
    }
}

/// Running means of a parameter's gradient and of its square.
pub(crate) struct DeviceMoments<D: Storage<f32>> {
    first: Matrix<D>,
    second: Matrix<D>,
}

impl<D: Storage<f32>> Clone for DeviceMoments<D> {
    fn clone(&self) -> Self {
        DeviceMoments { first: self.first.clone(), second: self.second.clone() }
    }
}

impl AdamW {
    /// `AdamW::update` in dfdx's operations.
    fn update_tensor<D: Device<f32>>(
        &self,
        update: Update,
        decays: bool,
        parameter: Matrix<D>,
        gradient: Matrix<D>,
        moments: Option<DeviceMoments<D>>,
    ) -> (Matrix<D>, DeviceMoments<D>) {
        let (b1, b2) = self.betas;
        let factors = self.factors(update, decays);
        let g = gradient * update.scale;
        let (first, second) = (g.clone() * (1.0 - b1), g.square() * (1.0 - b2));
        let (first, second) = match moments {
            Some(old) => (old.first * b1 + first, old.second * b2 + second),
            None => (first, second),
        };
        let root = second.clone().sqrt() * factors.second_scale + self.eps;
        let parameter = parameter * factors.keep - first.clone() * factors.step_size / root;
        (parameter, DeviceMoments { first, second })
    }
}
