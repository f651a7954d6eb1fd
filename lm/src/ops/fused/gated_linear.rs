//! The gate of the feed-forward network and the product after it. What lies between them never goes to memory: a chunk of
//! rows stays in the processor's cache, and the way back computes it again.

use super::handover::{Input, Output, give_back, memory};
use super::matmul::{Mat, Old, Size, new_matmul};
use super::parallel::each_with;
use super::view::{view, view_mut};
use super::{Cpu, Gate, Matrix, Tape, Weight, kernels, record, room, tensor};
use dfdx::prelude::{HasShape, PutTape, SplitTape};

/// Rows of a chunk.
const CHUNK: usize = 48;

pub(super) fn gated_linear<T: Tape<f32, Cpu>>(
    x: Matrix<Cpu, T>,
    gate: Gate,
    weight: &Weight,
    residual: Matrix<Cpu, T>,
) -> Matrix<Cpu, T> {
    let ((x, tape), (mut residual, past)) = (x.split_tape(), residual.split_tape());
    let mut tape = tape.merge(past);
    let (rows, wide) = *x.shape();
    let (width, narrow) = *weight.matrix.shape();
    let add_to = |y: &mut [f32]| {
        let chunks = view(&x).chunks(CHUNK * wide).zip(y.chunks_mut(CHUNK * width));
        each_with(chunks, Vec::new, |between, (x, y)| {
            let between = room(between, x.len() / 2);
            for (y, x) in between.chunks_exact_mut(narrow).zip(x.chunks_exact(wide)) {
                kernels::gated(gate, x, y);
            }
            weight.forward.product_here(between, y, Old::Add);
        });
    };
    if !T::OWNS_TAPE {
        // Nobody asks for a gradient, so that the sum may take its place.
        add_to(view_mut(&mut residual));
        return residual.put_tape(tape);
    }
    let mut y = view(&residual).to_vec();
    add_to(&mut y);
    let y = tensor(&x, y, (rows, width));
    let (out, weight) = (Output::new::<T>(&y), weight.clone());
    let (input, residual) = (Input::new(&x), Input::new(&residual));
    record(&mut tape, move |gradients| {
        let dy = out.take(gradients)?;
        let mut between = memory(rows * narrow);
        input.write(gradients, |dx, old| {
            let inputs = view(&x).chunks(CHUNK * wide).zip(dy.chunks(CHUNK * width));
            let outputs = dx.chunks_mut(CHUNK * wide).zip(between.chunks_mut(CHUNK * narrow));
            each_with(inputs.zip(outputs), Vec::new, |dbetween, ((x, dy), (dx, between))| {
                let dbetween = room(dbetween, between.len());
                weight.back().product_here(dy, dbetween, Old::Overwrite);
                let inputs = x.chunks_exact(wide).zip(dbetween.chunks_exact(narrow));
                let outputs = dx.chunks_exact_mut(wide).zip(between.chunks_exact_mut(narrow));
                for ((x, dy), (dx, y)) in inputs.zip(outputs) {
                    kernels::gated_gradient(gate, x, dy, dx, old, y);
                }
            });
        })?;
        let size = Size { m: width, n: narrow, k: rows };
        let dw = new_matmul(size, Mat::rows(&dy, width).transposed(), Mat::rows(&between, narrow));
        give_back(between);
        weight.input().put(gradients, dw)?;
        residual.put(gradients, dy)
    });
    y.put_tape(tape)
}
