//! Rows of a table, picked by token.

use super::view::view;
use super::{Cpu, Matrix, Tape, add, take, tensor};
use dfdx::prelude::{HasShape, PutTape};

pub(super) fn embedding<T: Tape<f32, Cpu>>(weight: &Matrix<Cpu>, ids: &[u32], mut tape: T) -> Matrix<Cpu, T> {
    let width = weight.shape().1;
    let table = view(weight);
    let mut y = Vec::with_capacity(ids.len() * width);
    for &id in ids {
        y.extend_from_slice(&table[id as usize * width..][..width]);
    }
    let y = tensor(weight, y, (ids.len(), width));
    let (out, weight, ids) = (y.ghost(), weight.ghost(), ids.to_vec());
    tape.add_backward_op(move |gradients| {
        let dy = take(gradients.get_or_alloc_mut(&out)?);
        let dw = gradients.get_or_alloc_mut(&weight)?;
        for (dy, &id) in dy.chunks_exact(width).zip(&ids) {
            add(&mut dw[id as usize * width..][..width], dy);
        }
        Ok(())
    });
    y.put_tape(tape)
}
