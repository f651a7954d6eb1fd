//! RMSNorm and the product after it. What lies between them never goes to memory: a chunk of rows stays in the processor's
//! cache, and the way back computes it again.

use super::handover::{Input, Output, give_back, memory};
use super::matmul::{Mat, Old, Size, new_matmul};
use super::parallel::each_with;
use super::view::view;
use super::{Cpu, Matrix, ROWS, Tape, Weight, add, kernels, record, room, tensor, written};
use dfdx::prelude::{HasShape, PutTape, SplitTape};
use std::mem::MaybeUninit;

pub(super) fn normed_linear<T: Tape<f32, Cpu>>(
    x: Matrix<Cpu, T>,
    gain: &Matrix<Cpu>,
    eps: f32,
    weight: &Weight,
) -> Matrix<Cpu, T> {
    let (x, mut tape) = x.split_tape();
    let ((rows, width), outputs) = (*x.shape(), weight.matrix.shape().0);
    let write = |y: &mut [MaybeUninit<f32>]| {
        let gains = view(gain);
        let chunks = view(&x).chunks(ROWS * width).zip(y.chunks_mut(ROWS * outputs));
        each_with(chunks, Vec::new, |normed, (x, y)| {
            let normed = room(normed, x.len());
            for (y, x) in normed.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                kernels::rms_norm(x, gains, eps, y);
            }
            weight.forward.write_rows(normed, y, Old::Overwrite);
        });
    };
    // SAFETY: products overwrite all.
    let y = tensor(&x, unsafe { written(rows * outputs, write) }, (rows, outputs));
    let (out, input, gain, weight) = (Output::new::<T>(&y), Input::new(&x), gain.clone(), weight.clone());
    record(&mut tape, move |gradients| {
        let dy = out.take(gradients)?;
        let mut normed = memory(rows * width);
        // Each task sums its rows' share of the gain's gradient; the shares are added in order.
        let mut shares = vec![0.0; rows.div_ceil(ROWS) * width];
        input.write(gradients, |dx, old| {
            let gains = view(&gain);
            let inputs = view(&x).chunks(ROWS * width).zip(dy.chunks(ROWS * outputs));
            let outputs = dx.chunks_mut(ROWS * width).zip(normed.chunks_mut(ROWS * width));
            let tasks = inputs.zip(outputs).zip(shares.chunks_mut(width));
            each_with(tasks, Default::default, |(dnormed, scaled), (((x, dy), (dx, normed)), share)| {
                let (dnormed, scaled) = (room(dnormed, x.len()), room(scaled, width));
                weight.back().product_here(dy, dnormed, Old::Overwrite);
                let inputs = x.chunks_exact(width).zip(dnormed.chunks_exact(width));
                let outputs = dx.chunks_exact_mut(width).zip(normed.chunks_exact_mut(width));
                for ((x, dy), (dx, y)) in inputs.zip(outputs) {
                    let scale = kernels::rms_norm(x, gains, eps, y);
                    kernels::rms_norm_gradient((x, dy, scale), gains, dx, old, share, scaled);
                }
            });
        })?;
        let size = Size { m: outputs, n: width, k: rows };
        let dw = new_matmul(size, Mat::rows(&dy, outputs).transposed(), Mat::rows(&normed, width));
        give_back(normed);
        give_back(dy);
        weight.input().put(gradients, dw)?;
        let dgain = gradients.get_or_alloc_mut(&gain)?;
        shares.chunks_exact(width).for_each(|share| add(dgain, share));
        Ok(())
    });
    y.put_tape(tape)
}
