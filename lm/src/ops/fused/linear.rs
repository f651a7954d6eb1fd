//! A matrix product with weights, and the residual stream added on the way.

use super::handover::{Input, Output, give_back};
use super::matmul::Old;
use super::view::{view, view_mut};
use super::weight::Weight;
use super::{Cpu, Matrix, Tape, record, tensor};
use dfdx::prelude::{HasShape, PutTape, SplitTape};

pub(super) fn linear<T: Tape<f32, Cpu>>(
    x: Matrix<Cpu, T>,
    weight: &Weight,
    residual: Option<Matrix<Cpu, T>>,
) -> Matrix<Cpu, T> {
    let (x, mut tape) = x.split_tape();
    let (rows, width) = (x.shape().0, weight.matrix.shape().0);
    let (y, residual) = match residual {
        Some(residual) => {
            let (mut residual, past) = residual.split_tape();
            tape = tape.merge(past);
            if !T::OWNS_TAPE {
                // Nobody asks for a gradient, so that the sum may take its place.
                weight.forward.product(view(&x), view_mut(&mut residual), Old::Add);
                return residual.put_tape(tape);
            }
            let mut y = view(&residual).to_vec();
            weight.forward.product(view(&x), &mut y, Old::Add);
            (y, Some(Input::new(&residual)))
        }
        None => (weight.forward.new_product(view(&x)), None),
    };
    let y = tensor(&x, y, (rows, width));
    let (out, weight, input) = (Output::new::<T>(&y), weight.clone(), Input::new(&x));
    record(&mut tape, move |gradients| {
        let dy = out.take(gradients)?;
        input.write(gradients, |dx, old| weight.back().product(&dy, dx, old))?;
        weight.hand_back(gradients, &dy, input.values())?;
        match residual {
            Some(residual) => residual.put(gradients, dy)?,
            None => give_back(dy),
        }
        Ok(())
    });
    y.put_tape(tape)
}
