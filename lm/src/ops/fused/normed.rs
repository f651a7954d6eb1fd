//! RMSNorm and the product after it, with which attention and the feed-forward network begin. What lies between the two never
//! goes to memory: a chunk of rows stays in the processor's cache, and the way back computes it again.

use super::handover::{Input, give_back, memory};
use super::matmul::{Mat, Old, Size, new_matmul};
use super::panels::ROWS as CHUNK;
use super::parallel::{each_with, threads};
use super::view::view;
use super::{Cpu, Matrix, Norm, ROWS, Weight, add, kernels, room};
use dfdx::prelude::{CpuError, Gradients, HasShape};
use std::mem::MaybeUninit;
use std::ops::Range;

pub(super) struct Normed {
    gain: Matrix<Cpu>,
    eps: f32,
    pub weight: Weight,
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

    /// The way back, given the gradient of the product. `others` has one item for each task of [`task_rows`] rows. Before a
    /// chunk of the gradient is used, `finish` gets the item, which rows of the task the chunk has, scratch memory, the chunk,
    /// and that of the gradient of `x`; it says what is in that one then.
    pub fn back<E: Send>(
        &self,
        x: &Matrix<Cpu>,
        input: &Input,
        gradients: &mut Gradients<f32, Cpu>,
        mut dy: Vec<f32>,
        others: impl Iterator<Item = E>,
        finish: impl Fn(&mut E, Range<usize>, &mut Vec<f32>, &mut [f32], &mut [f32], Old) -> Old + Sync + Send,
    ) -> Result<(), CpuError> {
        let ((rows, width), outputs) = (*x.shape(), self.width());
        let task = task_rows(rows);
        let mut normed = memory(rows * width);
        // The gradient of the gain: some rows' shares are summed, and the shares are added in order.
        let mut shares = vec![0.0; rows.div_ceil(ROWS) * width];
        input.write(gradients, |dx, old| {
            let gain = view(&self.gain);
            let inputs = view(x).chunks(task * width).zip(dy.chunks_mut(task * outputs)).zip(others);
            let shares = shares.chunks_mut(task / ROWS * width);
            let outputs_of = dx.chunks_mut(task * width).zip(normed.chunks_mut(task * width)).zip(shares);
            each_with(inputs.zip(outputs_of), Scratch::default, |scratch, task| {
                let (((x, dy), mut other), ((dx, normed), shares)) = task;
                for first in (0..x.len() / width).step_by(CHUNK) {
                    let rows = first..(first + CHUNK).min(x.len() / width);
                    let columns = rows.start * width..rows.end * width;
                    let dy = &mut dy[rows.start * outputs..rows.end * outputs];
                    let old = finish(&mut other, rows, &mut scratch.other, dy, &mut dx[columns.clone()], old);
                    let dnormed = room(&mut scratch.dnormed, columns.len());
                    self.weight.back().product_here(dy, dnormed, Old::Overwrite);
                    let inputs = x[columns.clone()].chunks_exact(width).zip(dnormed.chunks_exact(width));
                    let outputs = dx[columns.clone()].chunks_exact_mut(width);
                    let outputs = outputs.zip(normed[columns].chunks_exact_mut(width));
                    let scaled = room(&mut scratch.scaled, width);
                    for (row, ((x, dy), (dx, y))) in inputs.zip(outputs).enumerate() {
                        let share = &mut shares[(first + row) / ROWS * width..][..width];
                        let scale = kernels::rms_norm(x, gain, self.eps, y);
                        kernels::rms_norm_gradient((x, dy, scale), gain, dx, old, share, scaled);
                    }
                }
            });
        })?;
        let size = Size { m: outputs, n: width, k: rows };
        let dw = new_matmul(size, Mat::rows(&dy, outputs).transposed(), Mat::rows(&normed, width));
        give_back(normed);
        give_back(dy);
        self.weight.input().put(gradients, dw)?;
        let dgain = gradients.get_or_alloc_mut(&self.gain)?;
        shares.chunks_exact(width).for_each(|share| add(dgain, share));
        Ok(())
    }
}

/// Memory of one task.
#[derive(Default)]
struct Scratch {
    other: Vec<f32>,
    dnormed: Vec<f32>,
    scaled: Vec<f32>,
}

/// Rows that a task takes on the way back: those of whole shares.
pub(super) fn task_rows(rows: usize) -> usize {
    if threads() == 1 { rows.next_multiple_of(ROWS) } else { ROWS }
}
