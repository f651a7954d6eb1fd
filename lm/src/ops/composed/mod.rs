//! The operations in dfdx's own terms: readable, for any device of dfdx, and what runs on a graphics card.
//!
//! On a card every operation here is a kernel that was compiled with the program: dfdx's `concat_along`, `stack`
//! and reshapes of permuted tensors, which it compiles when the program runs, are avoided. With [`Half`] the
//! conversions are compiled at run time.

pub(crate) mod attention;
mod product;

use super::{Attention, GELU_CUBE, GELU_SLOPE, Gate, Matrix, Norm, Ops, Vector};
use attention::Plan;
use dfdx::prelude::*;
#[cfg(any(test, feature = "cuda"))]
pub(crate) use product::Half;
pub(crate) use product::{Full, Product};
use std::marker::PhantomData;
use std::sync::Arc;

/// `P` says how products with weights are computed.
pub struct Composed<D, P = Full>(PhantomData<(D, P)>);

/// Rows of a matrix, on the device.
pub(crate) type Rows<D> = Tensor<(usize,), usize, D>;

impl<D: Device<f32>, P: Product<D>> Ops for Composed<D, P> {
    type Device = D;
    type Plan = Plan<D>;
    type Weight = Matrix<D>;

    fn weights(matrices: &[&Matrix<D>]) -> Vec<Matrix<D>> {
        matrices.iter().map(|&matrix| matrix.clone()).collect()
    }

    fn embedding<T: Tape<f32, D>>(weight: &Matrix<D>, ids: &[u32], scale: f32, tape: T) -> Matrix<D, T> {
        let rows: Vec<usize> = ids.iter().map(|&id| id as usize).collect();
        Self::gather(weight.clone().put_tape(tape), &rows) * scale
    }

    fn rms_norm<T: Tape<f32, D>>(x: Matrix<D, T>, Norm { gain, eps }: Norm<D>) -> Matrix<D, T> {
        let shape = *x.shape();
        let mean_square = x.retaped::<T>().square().mean::<(usize,), Axis<1>>();
        let scale = (mean_square + eps).sqrt().recip();
        let gain = gain.retaped::<T>().reshape_like(&(shape.1,));
        x * scale.broadcast_like::<_, Axis<1>>(&shape) * gain.broadcast_like::<_, Axis<0>>(&shape)
    }

    fn linear<T: Tape<f32, D>>(
        x: Matrix<D, T>,
        weight: &Matrix<D>,
        residual: Option<Matrix<D, T>>,
    ) -> Matrix<D, T> {
        let y = P::product(x, weight);
        match residual {
            Some(residual) => y + residual,
            None => y,
        }
    }

    fn plan(device: &D, how: &Arc<Attention>) -> Plan<D> {
        Plan::new(device, how)
    }

    fn attend<T: Tape<f32, D>>(
        x: Matrix<D, T>,
        norm: Norm<D>,
        qkv: &Matrix<D>,
        plan: &Plan<D>,
    ) -> Matrix<D, T> {
        attention::attend(P::product(Self::rms_norm(x, norm), qkv), plan)
    }

    fn feed_forward<T: Tape<f32, D>>(
        x: Matrix<D, T>,
        norm: Norm<D>,
        gate_up: &Matrix<D>,
        gate: Gate,
        down: &Matrix<D>,
    ) -> Matrix<D, T> {
        let h = P::product(Self::rms_norm(x.retaped::<T>(), norm), gate_up);
        P::product(gated(h, gate), down) + x
    }

    fn gather<T: Tape<f32, D>>(x: Matrix<D, T>, rows: &[usize]) -> Matrix<D, T> {
        let rows = x.device().tensor_from_vec(rows.to_vec(), (rows.len(),));
        GatherTo::gather(x, rows)
    }

    fn linear_log_prob<T: Tape<f32, D>>(
        x: Matrix<D, T>,
        weight: &Matrix<D>,
        targets: &[u32],
    ) -> Vector<D, T> {
        let targets: Vec<usize> = targets.iter().map(|&t| t as usize).collect();
        let index = x.device().tensor_from_vec(targets.clone(), (targets.len(),));
        P::product(x, weight).log_softmax::<Axis<1>>().select(index)
    }

    fn scalar_head<T: Tape<f32, D>>(x: Matrix<D, T>, weight: &Matrix<D>, bias: &Matrix<D>) -> Vector<D, T> {
        let rows = x.shape().0;
        let bias = bias.retaped::<T>().reshape_like(&(1,)).broadcast_like::<_, Axis<0>>(&(rows, 1));
        // One column: nothing is won by half precision.
        (Full::product(x, weight) + bias).reshape_like(&(rows,))
    }
}

/// `f(gate) * up` for rows of `[gate | up]`.
fn gated<D: Device<f32>, T: Tape<f32, D>>(x: Matrix<D, T>, gate: Gate) -> Matrix<D, T> {
    let half = x.shape().1 / 2;
    let y = x.retaped::<T>().slice((.., ..half));
    let up = x.slice((.., half..));
    let k = match gate {
        Gate::Silu => y.retaped::<T>(),
        Gate::Gelu => {
            let cube = y.retaped::<T>().square() * y.retaped::<T>();
            (cube * GELU_CUBE + y.retaped::<T>()) * GELU_SLOPE
        }
    };
    k.sigmoid() * y * up
}
