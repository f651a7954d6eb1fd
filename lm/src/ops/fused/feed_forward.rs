//! The feed-forward network: a norm, a gated product, and the product that goes back to the residual stream, a chunk of rows
//! after the other.

use super::handover::{Input, Output, give_back, memory};
use super::normed::Normed;
use super::parallel::each_with;
use super::view::{view, view_mut};
use super::{Cpu, Gate, Matrix, Norm, ROWS, Tape, Weight, kernels, record, room, tensor, unwritten, written};
use dfdx::prelude::{HasShape, PutTape, SplitTape};
use std::mem::MaybeUninit;

/// Memory of one task.
#[derive(Default)]
struct Scratch {
    normed: Vec<f32>,
    gate_up: Vec<f32>,
    gated: Vec<f32>,
}

pub(super) fn feed_forward<T: Tape<f32, Cpu>>(
    x: Matrix<Cpu, T>,
    norm: Norm<Cpu>,
    gate_up: &Weight,
    gate: Gate,
    down: &Weight,
) -> Matrix<Cpu, T> {
    let (mut x, mut tape) = x.split_tape();
    let (normed, down) = (Normed::new(norm, gate_up), down.clone());
    let (rows, (width, inner)) = (x.shape().0, *down.matrix.shape());
    let wide = 2 * inner;
    assert!(x.shape().1 == width && normed.width() == wide, "weights of another width");
    // Adds to `y`, which begins as `x`. What goes to the gate is kept where there is room for it.
    let run = |y: &mut [f32], kept: &mut [MaybeUninit<f32>]| {
        let mut kept = kept.chunks_mut(ROWS * wide);
        let tasks = y.chunks_mut(ROWS * width).map(|y| (y, kept.next()));
        each_with(tasks, Scratch::default, |scratch, (y, kept)| {
            let rows = y.len() / width;
            let gate_up = kept.unwrap_or_else(|| unwritten(&mut scratch.gate_up, rows * wide));
            let gate_up = normed.product(y, &mut scratch.normed, gate_up);
            let gated = room(&mut scratch.gated, rows * inner);
            for (y, x) in gated.chunks_exact_mut(inner).zip(gate_up.chunks_exact(wide)) {
                kernels::gated(gate, x, y);
            }
            down.forward.add_product_here(gated, y);
        });
    };
    if !T::OWNS_TAPE {
        // Nobody asks for a gradient, so that the sum may take the place of `x`.
        run(view_mut(&mut x), &mut []);
        return x.put_tape(tape);
    }
    let mut y = view(&x).to_vec();
    // SAFETY: products overwrite all: there is a chunk of `y` for each of `kept`.
    let gate_up = unsafe { written(rows * wide, |kept| run(&mut y, kept)) };
    let y = tensor(&x, y, (rows, width));
    let (out, input) = (Output::new::<T>(&y), Input::new(&x));
    record(&mut tape, move |gradients| {
        let dy = out.take(gradients)?;
        let mut gated = memory(rows * inner);
        let (handed, out) = (&dy, &mut gated);
        // The gradient is written over what went to the gate.
        normed.back(
            &input,
            gradients,
            gate_up,
            Some(&dy),
            move |rows| handed.chunks(rows * width).zip(out.chunks_mut(rows * inner)),
            |task, rows, dgated, gate_up| {
                let (dy, gated) = task;
                let dgated = unwritten(dgated, rows.len() * inner);
                let dgated = down.back().new_product_here(&dy[rows.start * width..rows.end * width], dgated);
                let gated = gated[rows.start * inner..].chunks_exact_mut(inner);
                for ((x, dy), y) in gate_up.chunks_exact_mut(wide).zip(dgated.chunks_exact(inner)).zip(gated)
                {
                    kernels::gated_gradient(gate, x, dy, y);
                }
            },
        )?;
        down.hand_back(gradients, &dy, &gated)?;
        give_back(gated);
        give_back(dy);
        Ok(())
    });
    y.put_tape(tape)
}
