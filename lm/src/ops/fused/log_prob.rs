//! Log-probabilities of tokens, without ever holding the logits of a whole batch.

use super::handover::Input;
use super::matmul::{Mat, Old, Size, matmul, new_matmul};
use super::view::view;
use super::weight::Weight;
use super::{Cpu, Matrix, ROWS, Tape, Vector, kernels, parallel::each, record, room, take, tensor};
use dfdx::prelude::{HasShape, PutTape, SplitTape};
use std::ops::Range;

/// Rows whose logits are held at a time.
const SLICE: usize = 512;
/// Probabilities that may stay from the way there to the way back: 8 MiB of each part of a batch.
const KEPT: usize = 1 << 21;

fn slices(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(SLICE).map(move |start| start..rows.min(start + SLICE))
}

/// The logits of some rows of `x`.
fn logits<'a>(
    x: &Matrix<Cpu>,
    weight: &Weight,
    rows: Range<usize>,
    buffer: &'a mut Vec<f32>,
) -> &'a mut [f32] {
    let (width, vocabulary) = (x.shape().1, weight.matrix.shape().0);
    let logits = room(buffer, rows.len() * vocabulary);
    weight.forward.product(&view(x)[rows.start * width..rows.end * width], logits, Old::Overwrite);
    logits
}

/// Calls `visit(rows, logits [rows, vocabulary])` slice by slice, and gives the memory of the last one.
pub(crate) fn logits_by_slice(
    x: &Matrix<Cpu>,
    weight: &Weight,
    mut visit: impl FnMut(Range<usize>, &mut [f32]),
) -> Vec<f32> {
    let mut buffer = vec![];
    for rows in slices(x.shape().0) {
        visit(rows.clone(), logits(x, weight, rows, &mut buffer));
    }
    buffer
}

/// Calls `work(logits, target, value)` for each row.
fn each_row(
    logits: &mut [f32],
    targets: &[u32],
    values: &mut [f32],
    work: impl Fn(&mut [f32], usize, &mut f32) + Sync + Send,
) {
    let vocabulary = logits.len() / targets.len();
    let tasks = logits.chunks_mut(ROWS * vocabulary).zip(targets.chunks(ROWS)).zip(values.chunks_mut(ROWS));
    each(tasks, |((logits, targets), values)| {
        for ((logits, &target), value) in logits.chunks_exact_mut(vocabulary).zip(targets).zip(values) {
            work(logits, target as usize, value);
        }
    });
}

/// The gradient needs the probabilities again. If they are few they stay; else they are computed anew, which costs one
/// product more of this one layer and saves `[rows, vocabulary]` of memory.
pub(super) fn linear_log_prob<T: Tape<f32, Cpu>>(
    x: Matrix<Cpu, T>,
    weight: &Weight,
    targets: &[u32],
) -> Vector<Cpu, T> {
    let (x, mut tape) = x.split_tape();
    let ((rows, width), vocabulary) = (*x.shape(), weight.matrix.shape().0);
    let mut y = vec![0.0; rows];
    let buffer = logits_by_slice(&x, weight, |slice, logits| {
        each_row(logits, &targets[slice.clone()], &mut y[slice], |logits, target, y| {
            let logit = logits[target];
            *y = logit - kernels::softmax(logits);
        });
    });
    let kept = (rows <= SLICE && buffer.len() <= KEPT).then_some(buffer);
    let y = tensor(&x, y, (rows,));
    let (out, weight, targets, input) = (y.ghost(), weight.clone(), targets.to_vec(), Input::new(&x));
    record(&mut tape, move |gradients| {
        let mut dy = take(gradients.get_or_alloc_mut(&out)?);
        let mut dw = weight.input().take(gradients)?;
        input.write(gradients, |dx, old| {
            let known = kept.is_some();
            let mut buffer = kept.unwrap_or_default();
            for slice in slices(rows) {
                let values =
                    if known { &mut buffer[..] } else { logits(&x, &weight, slice.clone(), &mut buffer) };
                each_row(values, &targets[slice.clone()], &mut dy[slice.clone()], |values, target, dy| {
                    if !known {
                        kernels::softmax(values);
                    }
                    // d log p(target) / d logits = one_hot(target) - p
                    for p in &mut *values {
                        *p *= -*dy;
                    }
                    values[target] += *dy;
                });
                let columns = slice.start * width..slice.end * width;
                weight.back().product(values, &mut dx[columns.clone()], old);
                let size = Size { m: vocabulary, n: width, k: slice.len() };
                let dlogits = Mat::rows(values, vocabulary).transposed();
                let x = Mat::rows(&view(&x)[columns], width);
                if dw.is_empty() {
                    dw = new_matmul(size, dlogits, x);
                } else {
                    matmul(&mut dw, size, dlogits, x, Old::Add);
                }
            }
        })?;
        weight.input().put(gradients, dw)
    });
    y.put_tape(tape)
}
