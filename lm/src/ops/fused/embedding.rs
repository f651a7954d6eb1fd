//! Rows of a table, picked by token.

use super::handover::{Output, give_back};
use super::view::view;
use super::{Cpu, Matrix, Tape, record, tensor};
use dfdx::prelude::{HasShape, PutTape};

pub(super) fn embedding<T: Tape<f32, Cpu>>(
    weight: &Matrix<Cpu>,
    ids: &[u32],
    scale: f32,
    mut tape: T,
) -> Matrix<Cpu, T> {
    let width = weight.shape().1;
    let table = view(weight);
    let mut y = Vec::with_capacity(ids.len() * width);
    for &id in ids {
        y.extend(table[id as usize * width..][..width].iter().map(|x| x * scale));
    }
    let y = tensor(weight, y, (ids.len(), width));
    let (out, weight, ids) = (Output::new::<T>(&y), weight.ghost(), ids.to_vec());
    record(&mut tape, move |gradients| {
        let dy = out.take(gradients)?;
        let dw = gradients.get_or_alloc_mut(&weight)?;
        for (dy, &id) in dy.chunks_exact(width).zip(&ids) {
            for (dw, dy) in dw[id as usize * width..][..width].iter_mut().zip(dy) {
                *dw += dy * scale;
            }
        }
        give_back(dy);
        Ok(())
    });
    y.put_tape(tape)
}
