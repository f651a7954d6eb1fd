//! A matrix product with weights, and the residual stream added on the way.

use super::matmul::{Mat, Old, Size, matmul};
use super::view::view;
use super::{CHUNK, Cpu, Matrix, Tape, add, parallel::each, record, take, tensor};
use dfdx::prelude::{HasShape, PutTape, SplitTape};

pub(super) fn linear<T: Tape<f32, Cpu>>(
    x: Matrix<Cpu, T>,
    weight: &Matrix<Cpu>,
    residual: Option<Matrix<Cpu, T>>,
) -> Matrix<Cpu, T> {
    let (x, mut tape) = x.split_tape();
    let ((rows, k), width) = (*x.shape(), weight.shape().0);
    let (mut y, old, residual) = match residual {
        Some(residual) => {
            let (residual, past) = residual.split_tape();
            tape = tape.merge(past);
            (view(&residual).to_vec(), Old::Add, Some(residual.ghost()))
        }
        None => (vec![0.0; rows * width], Old::Overwrite, None),
    };
    let size = Size { m: rows, n: width, k };
    matmul(&mut y, size, Mat::rows(view(&x), k), Mat::rows(view(weight), k).transposed(), old);
    let y = tensor(&x, y, (rows, width));
    let (out, weight) = (y.ghost(), weight.clone());
    record(&mut tape, move |gradients| {
        let dy = take(gradients.get_or_alloc_mut(&out)?);
        let size = Size { m: rows, n: k, k: width };
        let dx = gradients.get_or_alloc_mut(&x)?;
        matmul(dx, size, Mat::rows(&dy, width), Mat::rows(view(&weight), k), Old::Add);
        let size = Size { m: width, n: k, k: rows };
        let dw = gradients.get_or_alloc_mut(&weight)?;
        matmul(dw, size, Mat::rows(&dy, width).transposed(), Mat::rows(view(&x), k), Old::Add);
        if let Some(residual) = residual {
            let dr = gradients.get_or_alloc_mut(&residual)?;
            each(dr.chunks_mut(CHUNK).zip(dy.chunks(CHUNK)), |(dr, dy)| add(dr, dy));
        }
        Ok(())
    });
    y.put_tape(tape)
}
