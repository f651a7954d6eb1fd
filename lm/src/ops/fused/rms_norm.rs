//! RMSNorm: each row divided by its root mean square.

use super::handover::{Input, Output, give_back};
use super::view::view;
use super::{Cpu, Matrix, Norm, SHARE, Tape, add, kernels, parallel::each, record, tensor};
use dfdx::prelude::{HasShape, PutTape, SplitTape};

pub(super) fn rms_norm<T: Tape<f32, Cpu>>(
    x: Matrix<Cpu, T>,
    Norm { gain, eps }: Norm<Cpu>,
) -> Matrix<Cpu, T> {
    let (x, mut tape) = x.split_tape();
    let (rows, width) = *x.shape();
    let chunk = SHARE * width;
    let (mut y, mut scales) = (vec![0.0; rows * width], vec![0.0; rows]);
    let gains = view(gain);
    each(
        y.chunks_mut(chunk).zip(view(&x).chunks(chunk)).zip(scales.chunks_mut(SHARE)),
        |((y, x), scales)| {
            for ((y, x), scale) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(scales) {
                *scale = kernels::rms_norm(x, gains, eps, y);
            }
        },
    );
    let y = tensor(&x, y, (rows, width));
    let (out, gain, input) = (Output::new::<T>(&y), gain.clone(), Input::new(&x));
    record(&mut tape, move |gradients| {
        let dy = out.take(gradients)?;
        // Each task sums its rows' share of the gain's gradient; the shares are added in order.
        let mut shares = vec![0.0; rows.div_ceil(SHARE) * width];
        input.write(gradients, |dx, old| {
            let gains = view(&gain);
            let inputs = view(&x).chunks(chunk).zip(dy.chunks(chunk)).zip(scales.chunks(SHARE));
            let outputs = dx.chunks_mut(chunk).zip(shares.chunks_mut(width));
            each(outputs.zip(inputs), |((dx, share), ((x, dy), scales))| {
                let rows = dx.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(dy.chunks_exact(width));
                let mut scaled = vec![0.0; width];
                for (((dx, x), dy), &scale) in rows.zip(scales) {
                    kernels::rms_norm_gradient((x, dy, scale), gains, dx, old, share, &mut scaled);
                }
            });
        })?;
        give_back(dy);
        let dgain = gradients.get_or_alloc_mut(&gain)?;
        for share in shares.chunks_exact(width) {
            add(dgain, share);
        }
        Ok(())
    });
    y.put_tape(tape)
}
