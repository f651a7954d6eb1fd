//! RMSNorm and the product after it, with which attention and the feed-forward network begin. A chunk of rows goes through both
//! while the processor's cache holds it; the way back computes the normed rows again.

use super::handover::{Input, give_back, memory};
use super::matmul::Old;
use super::parallel::{each_with, threads};
use super::view::view;
use super::{Cpu, Matrix, Norm, ROWS, SHARE, Weight, add, kernels, room, unwritten};
use dfdx::prelude::{CpuError, Gradients, HasShape};
use std::mem::MaybeUninit;
use std::ops::Range;

pub(super) struct Normed {
    gain: Matrix<Cpu>,
    eps: f32,
    weight: Weight,
}

impl Normed {
    pub fn new(Norm { gain, eps }: Norm<Cpu>, weight: &Weight) -> Normed {
        Normed { gain: gain.clone(), eps, weight: weight.clone() }
    }

    /// Width of a row of the product.
    pub fn width(&self) -> usize {
        self.weight.matrix.shape().0
    }

    /// The product of some rows, which fills `out`. `normed` is scratch memory.
    pub fn product<'a>(
        &self,
        x: &[f32],
        normed: &mut Vec<f32>,
        out: &'a mut [MaybeUninit<f32>],
    ) -> &'a mut [f32] {
        let (gain, width) = (view(&self.gain), self.gain.shape().1);
        let normed = room(normed, x.len());
        for (y, x) in normed.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            kernels::rms_norm(x, gain, self.eps, y);
        }
        self.weight.forward.new_product_here(normed, out)
    }

    /// The way back, given the gradient of the product, and that of a residual which was `x` itself. `others(rows)` is for
    /// tasks of so many rows. Before a chunk of `dy` is used, `finish` gets what is its task's, which of the task's rows it
    /// has, scratch memory, and the chunk.
    pub fn back<E: Send, I: Iterator<Item = E>>(
        &self,
        input: &Input,
        gradients: &mut Gradients<f32, Cpu>,
        mut dy: Vec<f32>,
        residual: Option<&[f32]>,
        others: impl FnOnce(usize) -> I,
        finish: impl Fn(&mut E, Range<usize>, &mut Vec<f32>, &mut [f32]) + Sync + Send,
    ) -> Result<(), CpuError> {
        let (x, width, outputs) = (input.values(), self.gain.shape().1, self.width());
        let rows = x.len() / width;
        // Without threads to share out to, all rows are one task; else those of a share are.
        let task = if threads() == 1 { rows.next_multiple_of(SHARE).max(SHARE) } else { SHARE };
        let mut normed = memory(rows * width);
        // The gradient of the gain; the shares are added in order.
        let mut shares = vec![0.0; rows.div_ceil(SHARE) * width];
        input.write(gradients, |dx, old| {
            let gain = view(&self.gain);
            let inputs = x.chunks(task * width).zip(dy.chunks_mut(task * outputs)).zip(others(task));
            let shares = shares.chunks_mut(task / SHARE * width);
            let written = dx.chunks_mut(task * width).zip(normed.chunks_mut(task * width)).zip(shares);
            each_with(inputs.zip(written).enumerate(), Scratch::default, |scratch, (index, all)| {
                let (((x, dy), mut other), ((dx, normed), shares)) = all;
                for first in (0..x.len() / width).step_by(ROWS) {
                    let rows = first..(first + ROWS).min(x.len() / width);
                    let dy = &mut dy[rows.start * outputs..rows.end * outputs];
                    let values = rows.start * width..rows.end * width;
                    let residual = residual.map(|all| &all[index * task * width..][values.clone()]);
                    let (x, dx, normed) = (&x[values.clone()], &mut dx[values.clone()], &mut normed[values]);
                    finish(&mut other, rows, &mut scratch.other, dy);
                    let old = begin(dx, residual, old);
                    let dnormed = unwritten(&mut scratch.dnormed, x.len());
                    let dnormed = self.weight.back().new_product_here(dy, dnormed);
                    let scaled = room(&mut scratch.scaled, width);
                    let inputs = x.chunks_exact(width).zip(dnormed.chunks_exact(width));
                    let written = dx.chunks_exact_mut(width).zip(normed.chunks_exact_mut(width));
                    for (row, ((x, dy), (dx, y))) in inputs.zip(written).enumerate() {
                        let share = &mut shares[(first + row) / SHARE * width..][..width];
                        let scale = kernels::rms_norm(x, gain, self.eps, y);
                        kernels::rms_norm_gradient((x, dy, scale), gain, dx, old, share, scaled);
                    }
                }
            });
        })?;
        self.weight.hand_back(gradients, &dy, &normed)?;
        give_back(normed);
        give_back(dy);
        let dgain = gradients.get_or_alloc_mut(&self.gain)?;
        shares.chunks_exact(width).for_each(|share| add(dgain, share));
        Ok(())
    }
}

/// Begins a gradient with that of a residual, if there is one; gives what is in it then.
fn begin(dx: &mut [f32], residual: Option<&[f32]>, old: Old) -> Old {
    match (residual, old) {
        (None, old) => return old,
        (Some(residual), Old::Overwrite) => dx.copy_from_slice(residual),
        (Some(residual), Old::Add) => add(dx, residual),
    }
    Old::Add
}

/// Memory of one task.
#[derive(Default)]
struct Scratch {
    other: Vec<f32>,
    dnormed: Vec<f32>,
    scaled: Vec<f32>,
}
