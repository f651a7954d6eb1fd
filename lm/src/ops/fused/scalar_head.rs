//! One number for each row.

use super::handover::Input;
use super::view::view;
use super::{Cpu, Matrix, Tape, Vector, kernels, record, take, tensor};
use dfdx::prelude::{HasShape, PutTape, SplitTape};

pub(super) fn scalar_head<T: Tape<f32, Cpu>>(
    x: Matrix<Cpu, T>,
    weight: &Matrix<Cpu>,
    bias: &Matrix<Cpu>,
) -> Vector<Cpu, T> {
    let (x, mut tape) = x.split_tape();
    let (rows, width) = *x.shape();
    let (w, b) = (view(weight), view(bias)[0]);
    let y = view(&x).chunks_exact(width).map(|x| kernels::dot(x, w) + b).collect();
    let y = tensor(&x, y, (rows,));
    let (out, weight, bias, input) = (y.ghost(), weight.clone(), bias.ghost(), Input::new(&x));
    record(&mut tape, move |gradients| {
        let dy = take(gradients.get_or_alloc_mut(&out)?);
        input.add(gradients, |dx| {
            for (dx, dy) in dx.chunks_exact_mut(width).zip(&dy) {
                for (dx, w) in dx.iter_mut().zip(view(&weight)) {
                    *dx += dy * w;
                }
            }
        })?;
        let dw = gradients.get_or_alloc_mut(&weight)?;
        for (x, dy) in view(&x).chunks_exact(width).zip(&dy) {
            for (dw, x) in dw.iter_mut().zip(x) {
                *dw += dy * x;
            }
        }
        gradients.get_or_alloc_mut(&bias)?[0] += dy.iter().sum::<f32>();
        Ok(())
    });
    y.put_tape(tape)
}
