//! Log-probabilities of tokens, without ever holding the logits of a whole batch.

use super::matmul::{Mat, Old, Size, matmul};
use super::view::view;
use super::{Cpu, Matrix, Tape, Vector, kernels, parallel::each, record, take, tensor};
use dfdx::prelude::{HasShape, PutTape, SplitTape};

/// Rows of a part whose logits are held at a time. A multiple of what one task of [`matmul`] takes.
const SLICE: usize = 512;
/// Rows that one task takes in between.
const ROWS: usize = 64;

/// Calls `visit(first row, logits [rows, vocabulary])` slice by slice.
pub(crate) fn logits_by_slice(
    x: &Matrix<Cpu>,
    weight: &Matrix<Cpu>,
    mut visit: impl FnMut(usize, &mut [f32]),
) {
    let ((rows, width), vocabulary) = (*x.shape(), weight.shape().0);
    let (xs, ws) = (view(x), view(weight));
    let mut logits = vec![0.0; SLICE.min(rows) * vocabulary];
    for start in (0..rows).step_by(SLICE) {
        let m = SLICE.min(rows - start);
        let logits = &mut logits[..m * vocabulary];
        let x = Mat::rows(&xs[start * width..], width);
        let size = Size { m, n: vocabulary, k: width };
        matmul(logits, size, x, Mat::rows(ws, width).transposed(), Old::Overwrite);
        visit(start, logits);
    }
}

/// The gradient needs the probabilities again: they are computed anew, which costs one product more of this one
/// layer and saves `[rows, vocabulary]` of memory.
pub(super) fn linear_log_prob<T: Tape<f32, Cpu>>(
    x: Matrix<Cpu, T>,
    weight: &Matrix<Cpu>,
    targets: &[u32],
) -> Vector<Cpu, T> {
    let (x, mut tape) = x.split_tape();
    let ((rows, width), vocabulary) = (*x.shape(), weight.shape().0);
    let mut y = vec![0.0; rows];
    logits_by_slice(&x, weight, |start, logits| {
        let y = y[start..].chunks_mut(ROWS).zip(targets[start..].chunks(ROWS));
        each(logits.chunks_mut(ROWS * vocabulary).zip(y), |(logits, (y, targets))| {
            for ((logits, y), &target) in logits.chunks_exact_mut(vocabulary).zip(y).zip(targets) {
                let logit = logits[target as usize];
                *y = logit - kernels::softmax(logits);
            }
        });
    });
    let y = tensor(&x, y, (rows,));
    let (out, weight, targets) = (y.ghost(), weight.clone(), targets.to_vec());
    record(&mut tape, move |gradients| {
        let dy = take(gradients.get_or_alloc_mut(&out)?);
        let mut dx = take(gradients.get_or_alloc_mut(&x)?);
        let mut dw = take(gradients.get_or_alloc_mut(&weight)?);
        logits_by_slice(&x, &weight, |start, logits| {
            let per_row = dy[start..].chunks(ROWS).zip(targets[start..].chunks(ROWS));
            each(logits.chunks_mut(ROWS * vocabulary).zip(per_row), |(logits, (dy, targets))| {
                for ((logits, &dy), &target) in logits.chunks_exact_mut(vocabulary).zip(dy).zip(targets) {
                    // d log p(target) / d logits = one_hot(target) - p
                    kernels::softmax(logits);
                    for p in &mut *logits {
                        *p *= -dy;
                    }
                    logits[target as usize] += dy;
                }
            });
            let m = logits.len() / vocabulary;
            let dlogits = Mat::rows(logits, vocabulary);
            let (dx, xs) = (&mut dx[start * width..][..m * width], &view(&x)[start * width..]);
            let size = Size { m, n: width, k: vocabulary };
            matmul(dx, size, dlogits, Mat::rows(view(&weight), width), Old::Add);
            let size = Size { m: vocabulary, n: width, k: m };
            matmul(&mut dw, size, dlogits.transposed(), Mat::rows(xs, width), Old::Add);
        });
        **gradients.get_or_alloc_mut(&x)? = dx;
        **gradients.get_or_alloc_mut(&weight)? = dw;
        Ok(())
    });
    y.put_tape(tape)
}
