//! The operations in dfdx's own terms: slow, readable, for any device of dfdx.

use super::{Attention, Matrix, Ops, Vector};
use dfdx::prelude::*;
use std::marker::PhantomData;
use std::sync::Arc;

pub(crate) struct Composed<D>(PhantomData<D>);

/// Far below any score, and still finite: `-inf - -inf` would be NaN in a gradient.
const MASKED: f32 = -1e10;

impl<D: Device<f32>> Ops for Composed<D> {
    type Device = D;

    fn embedding<T: Tape<f32, D>>(weight: &Matrix<D>, ids: &[u32], tape: T) -> Matrix<D, T> {
        let rows: Vec<usize> = ids.iter().map(|&id| id as usize).collect();
        Self::gather(weight.clone().put_tape(tape), &rows)
    }

    fn rms_norm<T: Tape<f32, D>>(x: Matrix<D, T>, gain: &Matrix<D>, eps: f32) -> Matrix<D, T> {
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
        let y = x.matmul(weight.retaped::<T>().permute::<_, Axes2<1, 0>>());
        match residual {
            Some(residual) => y + residual,
            None => y,
        }
    }

    fn swiglu<T: Tape<f32, D>>(x: Matrix<D, T>) -> Matrix<D, T> {
        let half = x.shape().1 / 2;
        let gate = x.retaped::<T>().slice((.., ..half));
        let up = x.slice((.., half..));
        gate.retaped::<T>().sigmoid() * gate * up
    }

    fn attention<T: Tape<f32, D>>(qkv: Matrix<D, T>, how: &Arc<Attention>) -> Matrix<D, T> {
        let (qkv, mut tape) = qkv.split_tape();
        let (heads, groups, dim) = (how.heads, how.key_value_heads, how.head_dim);
        let sharing = heads / groups;
        let scale = 1.0 / (dim as f32).sqrt();
        let mut sequences: Option<Matrix<D, T>> = None;
        for bounds in how.starts.windows(2) {
            let len = bounds[1] - bounds[0];
            let column = |at: usize| {
                let from = at * dim;
                qkv.retaped::<T>().slice((bounds[0]..bounds[1], from..from + dim))
            };
            let mask: Matrix<D> = qkv.device().upper_tri_like(&(len, len), MASKED, 1);
            let mut outputs: Option<Matrix<D, T>> = None;
            for group in 0..groups {
                // Sliced once and then shared by the heads: the gradient of dfdx's slice replaces what is there,
                // so that of two slices of the same elements one would be lost.
                let key = rotate(column(heads + group), how).permute::<_, Axes2<1, 0>>();
                let (key, past) = key.split_tape();
                tape = tape.merge(past);
                let (value, past) = column(heads + groups + group).split_tape();
                tape = tape.merge(past);
                for head in group * sharing..(group + 1) * sharing {
                    let query = rotate(column(head), how);
                    let scores = query.matmul(key.retaped::<T>()) * scale + mask.clone();
                    let output = scores.softmax::<Axis<1>>().matmul(value.retaped::<T>());
                    outputs = Some(match outputs {
                        Some(before) => (before, output).concat_along(Axis::<1>),
                        None => output,
                    });
                }
            }
            let outputs = outputs.expect("a model has at least one head");
            sequences = Some(match sequences {
                Some(before) => (before, outputs).concat_along(Axis::<0>),
                None => outputs,
            });
        }
        let y = sequences.expect("a batch has at least one sequence");
        let (y, recorded) = y.split_tape();
        y.put_tape(tape.merge(recorded))
    }

    fn gather<T: Tape<f32, D>>(x: Matrix<D, T>, rows: &[usize]) -> Matrix<D, T> {
        let index = x.device().tensor_from_vec(rows.to_vec(), (rows.len(),));
        dfdx::prelude::GatherTo::gather(x, index)
    }

    fn linear_log_prob<T: Tape<f32, D>>(
        x: Matrix<D, T>,
        weight: &Matrix<D>,
        targets: &[u32],
    ) -> Vector<D, T> {
        let targets: Vec<usize> = targets.iter().map(|&t| t as usize).collect();
        let index = x.device().tensor_from_vec(targets.clone(), (targets.len(),));
        Self::linear(x, weight, None).log_softmax::<Axis<1>>().select(index)
    }

    fn scalar_head<T: Tape<f32, D>>(x: Matrix<D, T>, weight: &Matrix<D>, bias: &Matrix<D>) -> Vector<D, T> {
        let rows = x.shape().0;
        let bias = bias.retaped::<T>().reshape_like(&(1,)).broadcast_like::<_, Axis<0>>(&(rows, 1));
        (Self::linear(x, weight, None) + bias).reshape_like(&(rows,))
    }
}

/// Turns each row `[head_dim]` to its position in the sequence.
fn rotate<D: Device<f32>, T: Tape<f32, D>>(x: Matrix<D, T>, how: &Attention) -> Matrix<D, T> {
    let (len, half) = (x.shape().0, x.shape().1 / 2);
    let table = |values: Vec<f32>| -> Matrix<D> { x.device().tensor_from_vec(values, (len, half)) };
    let cos = table((0..len).flat_map(|t| how.rope.at(t).0).copied().collect());
    let sin = table((0..len).flat_map(|t| how.rope.at(t).1).copied().collect());
    let a = x.retaped::<T>().slice((.., ..half));
    let b = x.retaped::<T>().slice((.., half..));
    let first = a.retaped::<T>() * cos.clone() - b.retaped::<T>() * sin.clone();
    let second = b * cos + a * sin;
    let (second, tape) = second.split_tape();
    // `x` owns the record of its own past; both halves' records are merged in by the operations above.
    let (_, past) = x.split_tape();
    (first, second.put_tape(tape.merge(past))).concat_along(Axis::<1>)
}
