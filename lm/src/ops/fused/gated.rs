//! The gate of the feed-forward network.

use super::handover::{Input, Output, give_back};
use super::view::view;
use super::{Cpu, Gate, Matrix, ROWS, Tape, kernels, parallel::each, record, tensor};
use dfdx::prelude::{HasShape, PutTape, SplitTape};

pub(super) fn gated<T: Tape<f32, Cpu>>(x: Matrix<Cpu, T>, gate: Gate) -> Matrix<Cpu, T> {
    let (x, mut tape) = x.split_tape();
    let (rows, width) = (x.shape().0, x.shape().1 / 2);
    let (wide, narrow) = (2 * width, width);
    let mut y = vec![0.0; rows * narrow];
    each(y.chunks_mut(ROWS * narrow).zip(view(&x).chunks(ROWS * wide)), |(y, x)| {
        for (y, x) in y.chunks_exact_mut(narrow).zip(x.chunks_exact(wide)) {
            kernels::gated(gate, x, y);
        }
    });
    let y = tensor(&x, y, (rows, narrow));
    let (out, input) = (Output::new::<T>(&y), Input::new(&x));
    record(&mut tape, move |gradients| {
        let dy = out.take(gradients)?;
        input.add(gradients, |dx, old| {
            let inputs = view(&x).chunks(ROWS * wide).zip(dy.chunks(ROWS * narrow));
            each(dx.chunks_mut(ROWS * wide).zip(inputs), |(dx, (x, dy))| {
                let rows = dx.chunks_exact_mut(wide).zip(x.chunks_exact(wide)).zip(dy.chunks_exact(narrow));
                for ((dx, x), dy) in rows {
                    kernels::gated_gradient(gate, x, dy, dx, old);
                }
            });
        })?;
        give_back(dy);
        Ok(())
    });
    y.put_tape(tape)
}
