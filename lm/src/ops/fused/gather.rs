//! The rows of a matrix that are wanted further on.

use super::handover::{Input, Output, give_back};
use super::view::view;
use super::{Cpu, Matrix, Tape, add, record, tensor};
use dfdx::prelude::{HasShape, PutTape, SplitTape};

pub(super) fn gather<T: Tape<f32, Cpu>>(x: Matrix<Cpu, T>, rows: &[usize]) -> Matrix<Cpu, T> {
    let (x, mut tape) = x.split_tape();
    let width = x.shape().1;
    let values = view(&x);
    let mut y = Vec::with_capacity(rows.len() * width);
    for &row in rows {
        y.extend_from_slice(&values[row * width..][..width]);
    }
    let y = tensor(&x, y, (rows.len(), width));
    let (out, x, rows) = (Output::new::<T>(&y), Input::new(&x), rows.to_vec());
    record(&mut tape, move |gradients| {
        let dy = out.take(gradients)?;
        x.add(gradients, |dx| {
            for (dy, &row) in dy.chunks_exact(width).zip(&rows) {
                add(&mut dx[row * width..][..width], dy);
            }
        })?;
        give_back(dy);
        Ok(())
    });
    y.put_tape(tape)
}
