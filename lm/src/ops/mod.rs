//! The operations that a decoder is made of, once readable and once fast.
//!
//! [`composed::Composed`] is built from dfdx's own operations and runs on any dfdx device: the reference. [`Fused`] runs
//! the same functions on the CPU, each recorded on dfdx's tape as one operation. Tests hold the second against
//! the first, values and gradients.

#[cfg(any(test, feature = "check"))]
pub(crate) mod check;
#[cfg(any(test, feature = "check"))]
pub(crate) mod composed;
mod fused;
mod rope;
#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "check"))]
pub(crate) use composed::Composed;
pub(crate) use fused::matmul::{DEPTH, Old};
pub(crate) use fused::{CHUNK, Fused, Weight, add, handover, kernels, log_prob, parallel, room, view};
pub(crate) use rope::{Rope, Turn};

use dfdx::prelude::{Device, NoneTape, Storage, Tape, Tensor};
use std::sync::Arc;

pub(crate) type Matrix<D, T = NoneTape> = Tensor<(usize, usize), f32, D, T>;
pub(crate) type Vector<D, T = NoneTape> = Tensor<(usize,), f32, D, T>;

/// RMSNorm, `x / sqrt(mean(x^2) + eps) * gain` for each row (Zhang and Sennrich, 2019).
pub(crate) struct Norm<'a, D: Storage<f32>> {
    /// `[1, width]`
    pub gain: &'a Matrix<D>,
    pub eps: f32,
}

/// How attention reads rows of `[queries | keys | values]`, sequences laid end to end.
pub(crate) struct Attention {
    pub heads: usize,
    pub key_value_heads: usize,
    pub head_dim: usize,
    pub rope: Arc<Rope>,
    /// Where each sequence starts, and at last the end of the last one.
    pub starts: Vec<usize>,
}

/// What a gate of the feed-forward network does to its input: `x sigmoid(k(x))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// `k(x) = x`: SwiGLU.
    Silu,
    /// `k(x) = sqrt(8 / pi) (x + 0.044715 x^3)`: GeGLU, with GELU by its tangent (Hendrycks and Gimpel, 2016), for
    /// `(1 + tanh(u)) / 2 = sigmoid(2 u)`.
    Gelu,
}

/// The factors of [`Gate::Gelu`].
pub(crate) const GELU_SLOPE: f32 = 1.595_769_2;
pub(crate) const GELU_CUBE: f32 = 0.044_715;

/// The differentiable functions of a decoder. Parameters come without a tape; their gradients are found by their identity,
/// or where a prepared [`Ops::Weight`] gathers them. What one operation gave is used by others of these alone, or by none
/// of them: between them `Fused` keeps gradients that dfdx does not see. All matrices are row-major; weights are
/// `[out, in]`.
pub(crate) trait Ops: 'static {
    type Device: Device<f32>;

    /// What attention prepares once for a batch.
    type Plan;

    /// A matrix `[out, in]` as products with it want it.
    type Weight;

    /// Prepares products with matrices.
    fn weights(matrices: &[&Matrix<Self::Device>]) -> Vec<Self::Weight>;

    /// Rows of `weight` picked by `ids`, times `scale`: `[ids, width]`.
    fn embedding<T: Tape<f32, Self::Device>>(
        weight: &Matrix<Self::Device>,
        ids: &[u32],
        scale: f32,
        tape: T,
    ) -> Matrix<Self::Device, T>;

    fn rms_norm<T: Tape<f32, Self::Device>>(
        x: Matrix<Self::Device, T>,
        norm: Norm<Self::Device>,
    ) -> Matrix<Self::Device, T>;

    /// `x weight^T`, plus `residual` if given.
    fn linear<T: Tape<f32, Self::Device>>(
        x: Matrix<Self::Device, T>,
        weight: &Self::Weight,
        residual: Option<Matrix<Self::Device, T>>,
    ) -> Matrix<Self::Device, T>;

    /// Prepares [`Ops::attend`].
    fn plan(device: &Self::Device, how: &Arc<Attention>) -> Self::Plan;

    /// Causal attention with rotary positions (Su et al., 2021) and grouped queries (Ainslie et al., 2023), within each
    /// sequence. Queries, keys and values are `norm(x) qkv^T`. Gives `[tokens, heads * head_dim]`.
    fn attend<T: Tape<f32, Self::Device>>(
        x: Matrix<Self::Device, T>,
        norm: Norm<Self::Device>,
        qkv: &Self::Weight,
        plan: &Self::Plan,
    ) -> Matrix<Self::Device, T>;

    /// `x + (f(gate) * up) down^T` with `[gate | up] = norm(x) gate_up^T` (Shazeer, 2020).
    fn feed_forward<T: Tape<f32, Self::Device>>(
        x: Matrix<Self::Device, T>,
        norm: Norm<Self::Device>,
        gate_up: &Self::Weight,
        gate: Gate,
        down: &Self::Weight,
    ) -> Matrix<Self::Device, T>;

    /// The rows of `x` named by `rows`, in that order.
    fn gather<T: Tape<f32, Self::Device>>(
        x: Matrix<Self::Device, T>,
        rows: &[usize],
    ) -> Matrix<Self::Device, T>;

    /// `log softmax(x weight^T)[target]` for each row.
    fn linear_log_prob<T: Tape<f32, Self::Device>>(
        x: Matrix<Self::Device, T>,
        weight: &Self::Weight,
        targets: &[u32],
    ) -> Vector<Self::Device, T>;

    /// `x . weight + bias` for each row; `weight` is `[1, width]`, `bias` is `[1, 1]`.
    fn scalar_head<T: Tape<f32, Self::Device>>(
        x: Matrix<Self::Device, T>,
        weight: &Matrix<Self::Device>,
        bias: &Matrix<Self::Device>,
    ) -> Vector<Self::Device, T>;
}
