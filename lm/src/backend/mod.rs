//! Where a model lives and runs.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(any(test, feature = "cuda"))]
mod device;
mod host;
#[cfg(test)]
mod tests;
mod transfer;

#[cfg(feature = "cuda")]
pub use cuda::{Cuda, CudaMixed};

use crate::batch::Packed;
use crate::decoder::{Decoder, Ready};
use crate::error::Result;
use crate::ops::{Fused, Matrix, Ops, Vector};
use crate::parameters::Slot;
use crate::sample::{Sampled, Sampling};
use crate::train::{AdamW, Update};
use dfdx::prelude::{Backward, Device, Gradients, HasShape, OwnedTape, Shape, SumTo, Tensor};
use std::borrow::Cow;

/// Where a model lives and runs: [`Cpu`], and with the feature `cuda` an NVIDIA card, `Cuda` or `CudaMixed`.
/// Sealed: there are no others.
pub trait Backend: sealed::Sealed {}

/// A backend that is a handle to a device with memory of its own.
pub trait Accelerator: Backend + sealed::Handle {}

/// The processor, with operations of our own. What a row gives there depends neither on its batch nor on the
/// number of threads, bit by bit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

impl Backend for Cpu {}

impl sealed::Sealed for Cpu {
    type Engine = Fused;
}

pub(crate) mod sealed {
    pub trait Sealed: 'static {
        #[allow(private_bounds, reason = "nobody outside can name `Sealed`")]
        type Engine: super::Engine;
    }

    pub trait Handle: Sealed {
        #[allow(private_interfaces, reason = "as above")]
        fn device(&self) -> &<Self::Engine as super::Ops>::Device;
    }
}

/// The gradients of `sum(outputs * weights)`: with the loss's gradient for weights, those of the loss.
fn backward<D: Device<f32>>(outputs: Vector<D, OwnedTape<f32, D>>, weights: Vec<f32>) -> Gradients<f32, D> {
    let weights = outputs.device().tensor_from_vec(weights, *outputs.shape());
    (outputs * weights).sum().backward()
}

/// The operations of a decoder, and all else that differs from one backend to the next.
pub(crate) trait Engine: Ops + Sized {
    /// Of one parameter.
    type Gradient;
    /// Of one parameter; the default is from before the first update.
    type Moments: Clone + Default;

    /// About as many tokens run at once where no gradient is wanted.
    const PART: usize;

    /// Runs what may fail only on a device, and gives that as an error.
    fn guard<R>(work: impl FnOnce() -> R) -> Result<R>;

    /// The elements of a contiguous tensor, row-major: the one way by which tensors are read.
    fn read<S: Shape, T>(tensor: &Tensor<S, f32, Self::Device, T>) -> Cow<'_, [f32]>;

    /// The results of `work` for each part, in order.
    fn by_part<R: Send>(
        ready: &Ready<Self>,
        parts: &[Packed],
        work: impl Fn(&Ready<Self>, &Packed) -> Vec<R> + Sync + Send,
    ) -> Vec<R>;

    /// Calls `visit(first row, logits [rows, vocabulary])` slice by slice.
    fn logits_by_slice(x: &Matrix<Self::Device>, weight: &Self::Weight, visit: impl FnMut(usize, &mut [f32]));

    /// The loss of a batch, and its gradient with respect to each parameter. `loss` gets the outputs of all rows,
    /// and gives the loss and its gradient with respect to each of them.
    fn gradients(
        decoder: &Decoder<Self>,
        batch: Packed,
        loss: impl FnOnce(&[f32]) -> Result<(f32, Vec<f32>)>,
    ) -> Result<(f32, Vec<Self::Gradient>)>;

    /// `sum += gradients`, parameter by parameter.
    fn add_gradients(sum: &mut [Self::Gradient], gradients: Vec<Self::Gradient>);

    /// The sum of the squares of all elements.
    fn square_sum(gradients: &[Self::Gradient]) -> f64;

    /// Updates all parameters, or none if it fails on the way.
    fn update(
        optimizer: &AdamW,
        update: Update,
        slots: &[Slot],
        parameters: &mut [Matrix<Self::Device>],
        gradients: &[Self::Gradient],
        moments: &mut [Self::Moments],
    );

    /// Continues prompts that were checked.
    fn generate(
        decoder: &Decoder<Self>,
        sampling: &Sampling,
        prompts: &[Vec<u32>],
        seeds: &[u64],
    ) -> Vec<Sampled>;
}
