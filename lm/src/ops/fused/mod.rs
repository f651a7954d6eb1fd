//! The operations on the CPU: each computes on plain slices and records one closure for its gradient.
//!
//! Work is split over sequences or weights in chunks of fixed size, or over rows that do not depend on each other, so
//! that results are bit-identical for any number of threads. What a row gives depends on no other row of a batch, except
//! through attention within its sequence: log-probabilities of a minibatch equal those of the whole batch, bit by bit.

mod attention;
mod embedding;
mod feed_forward;
mod gather;
pub(crate) mod handover;
pub(crate) mod kernels;
mod linear;
pub(crate) mod log_prob;
pub(crate) mod matmul;
mod normed;
pub(crate) mod panels;
pub(crate) mod parallel;
mod rms_norm;
mod scalar_head;
mod tiles;
mod transpose;
pub(crate) mod view;
mod weight;

use super::{Attention, Gate, Matrix, Norm, Ops, Vector};
use dfdx::prelude::{Cpu, CpuError, Gradients, Shape, Storage, Tape, Tensor, TensorFromVec};
use std::mem::MaybeUninit;
use std::sync::Arc;
pub(crate) use weight::Weight;

/// The operations of a decoder on the CPU.
pub struct Fused;

/// Rows that one task takes: a multiple of what any kernel of a product takes.
const ROWS: usize = 96;

/// Rows whose share of the gradient of a gain is summed by itself.
const SHARE: usize = 128;

/// Values that one task takes where rows do not matter.
pub(crate) const CHUNK: usize = 1 << 14;

/// Notes an operation's way back. All closures of a tape must be `Send`: see `backend/host.rs`.
fn record<T: Tape<f32, Cpu>>(
    tape: &mut T,
    back: impl FnOnce(&mut Gradients<f32, Cpu>) -> Result<(), CpuError> + Send + 'static,
) {
    tape.add_backward_op(back);
}

/// Takes a finished gradient out, so that its memory is freed early.
fn take(gradient: &mut <Cpu as Storage<f32>>::Vec) -> Vec<f32> {
    std::mem::take(&mut **gradient)
}

/// The first `len` values of a buffer that grows when needed; what they are does not matter.
pub(crate) fn room(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

/// Room for so many values, which are to be written.
fn unwritten(buffer: &mut Vec<f32>, len: usize) -> &mut [MaybeUninit<f32>] {
    buffer.clear();
    if cfg!(test) {
        // What nobody writes is to be seen.
        buffer.resize(len, f32::NAN);
        buffer.clear();
    }
    buffer.reserve(len);
    &mut buffer.spare_capacity_mut()[..len]
}

/// So many values that `write` writes.
///
/// # Safety
/// It leaves none out.
unsafe fn written(len: usize, write: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut values = vec![];
    write(unwritten(&mut values, len));
    // SAFETY: as the caller promises.
    unsafe { values.set_len(len) };
    values
}

/// Values that were written.
///
/// # Safety
/// All of them were.
unsafe fn as_written(values: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), values.len()) }
}

/// Values that are there, for what writes values whether they are or not.
///
/// # Safety
/// Only values are written, nothing uninitialized.
unsafe fn as_unwritten(values: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), values.len()) }
}

/// `a += b`
pub(crate) fn add(a: &mut [f32], b: &[f32]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += b;
    }
}

/// A new tensor that owns `values`, without a copy.
fn tensor<S: Shape>(
    like: &Tensor<impl Shape, f32, Cpu, impl Sized>,
    values: Vec<f32>,
    shape: S,
) -> Tensor<S, f32, Cpu> {
    like.device().tensor_from_vec(values, shape)
}

impl Ops for Fused {
    type Device = Cpu;
    type Plan = Arc<attention::Plan>;
    type Weight = Weight;

    fn weights(matrices: &[&Matrix<Cpu>]) -> Vec<Weight> {
        Weight::all(matrices)
    }

    fn embedding<T: Tape<f32, Cpu>>(
        weight: &Matrix<Cpu>,
        ids: &[u32],
        scale: f32,
        tape: T,
    ) -> Matrix<Cpu, T> {
        embedding::embedding(weight, ids, scale, tape)
    }

    fn rms_norm<T: Tape<f32, Cpu>>(x: Matrix<Cpu, T>, norm: Norm<Cpu>) -> Matrix<Cpu, T> {
        rms_norm::rms_norm(x, norm)
    }

    fn linear<T: Tape<f32, Cpu>>(
        x: Matrix<Cpu, T>,
        weight: &Weight,
        residual: Option<Matrix<Cpu, T>>,
    ) -> Matrix<Cpu, T> {
        linear::linear(x, weight, residual)
    }

    fn plan(_: &Cpu, how: &Arc<Attention>) -> Arc<attention::Plan> {
        Arc::new(attention::Plan::new(how))
    }

    fn attend<T: Tape<f32, Cpu>>(
        x: Matrix<Cpu, T>,
        norm: Norm<Cpu>,
        qkv: &Weight,
        plan: &Arc<attention::Plan>,
    ) -> Matrix<Cpu, T> {
        attention::attend(x, norm, qkv, plan)
    }

    fn feed_forward<T: Tape<f32, Cpu>>(
        x: Matrix<Cpu, T>,
        norm: Norm<Cpu>,
        gate_up: &Weight,
        gate: Gate,
        down: &Weight,
    ) -> Matrix<Cpu, T> {
        feed_forward::feed_forward(x, norm, gate_up, gate, down)
    }

    fn gather<T: Tape<f32, Cpu>>(x: Matrix<Cpu, T>, rows: &[usize]) -> Matrix<Cpu, T> {
        gather::gather(x, rows)
    }

    fn linear_log_prob<T: Tape<f32, Cpu>>(
        x: Matrix<Cpu, T>,
        weight: &Weight,
        targets: &[u32],
    ) -> Vector<Cpu, T> {
        log_prob::linear_log_prob(x, weight, targets)
    }

    fn scalar_head<T: Tape<f32, Cpu>>(
        x: Matrix<Cpu, T>,
        weight: &Matrix<Cpu>,
        bias: &Matrix<Cpu>,
    ) -> Vector<Cpu, T> {
        scalar_head::scalar_head(x, weight, bias)
    }
}
