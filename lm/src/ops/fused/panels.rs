//! A matrix laid out once as the kernels of the products read it, for many products with it.
//!
//! Crate `gemm` lays out its inputs anew for every product; for weights, which meet one part of a batch after the other,
//! that is a tenth of a training step. So its kernels are called here without the rest of it.

use super::matmul::{DEPTH, Old};
use super::parallel::{each, threads};
use super::tiles::{KERNELS, tile};
use super::transpose::{TILE, transpose};
use super::{ROWS, as_unwritten, as_written, written};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Values of panels that are read again for all rows before the next ones: half of a small second-level cache.
const GROUP: usize = 1 << 16;

/// Panels begin where lines of the cache do.
const LINE: usize = 16;

/// A matrix `[outputs, depth]`. As many outputs as a kernel takes make a panel: `[depth][width]`, the last one filled up
/// with zeros.
pub(crate) struct Panels {
    values: Vec<f32>,
    /// Where the first panel begins in `values`.
    start: usize,
    width: usize,
    outputs: usize,
    depth: usize,
}

impl Panels {
    /// Of `matrix`, which is `[outputs, depth]`.
    pub fn new(matrix: &[f32], (outputs, depth): (usize, usize)) -> Panels {
        let mut panels = Panels::empty(outputs, depth);
        let mut turned = vec![0.0; TILE * panels.width];
        for rows in matrix.chunks(panels.width * depth) {
            if rows.len() < panels.width * depth {
                turned.fill(0.0);
            }
            for from in (0..depth).step_by(TILE) {
                let columns = TILE.min(depth - from);
                transpose(&rows[from..], depth, columns, &mut turned, panels.width);
                panels.values.extend_from_slice(&turned[..columns * panels.width]);
            }
        }
        panels
    }

    /// Of the transpose of `matrix`, which is `[depth, outputs]`.
    pub fn transposed(matrix: &[f32], (depth, outputs): (usize, usize)) -> Panels {
        let mut panels = Panels::empty(outputs, depth);
        for first in (0..outputs).step_by(panels.width) {
            let here = panels.width.min(outputs - first);
            for row in matrix.chunks_exact(outputs) {
                panels.values.extend_from_slice(&row[first..][..here]);
                panels.values.resize(panels.values.len() + panels.width - here, 0.0);
            }
        }
        panels
    }

    /// With room for all panels, at whose beginning the values end.
    fn empty(outputs: usize, depth: usize) -> Panels {
        let width = KERNELS.lanes * KERNELS.vectors;
        let mut values: Vec<f32> = Vec::with_capacity(outputs.next_multiple_of(width) * depth + LINE);
        let start = values.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        values.resize(start, 0.0);
        Panels { values, start, width, outputs, depth }
    }

    pub fn bytes(&self) -> usize {
        size_of_val(&self.values[..])
    }

    /// `x matrix^T` for rows `x`, shared out over the threads.
    pub fn new_product(&self, x: &[f32]) -> Vec<f32> {
        // SAFETY: a product overwrites all.
        unsafe { written(x.len() / self.depth * self.outputs, |out| self.write(x, out, Old::Overwrite)) }
    }

    /// `out = x matrix^T` or `out += x matrix^T` for rows `x`, shared out over the threads.
    pub fn product(&self, x: &[f32], out: &mut [f32], old: Old) {
        // SAFETY: it writes values.
        self.write(x, unsafe { as_unwritten(out) }, old);
    }

    /// As [`Panels::new_product`], on this thread.
    pub fn new_product_here<'a>(&self, x: &[f32], out: &'a mut [MaybeUninit<f32>]) -> &'a mut [f32] {
        self.write_rows(x, out, Old::Overwrite);
        // SAFETY: a product overwrites all.
        unsafe { as_written(out) }
    }

    /// `out += x matrix^T`, on this thread.
    pub fn add_product_here(&self, x: &[f32], out: &mut [f32]) {
        // SAFETY: it writes values.
        self.write_rows(x, unsafe { as_unwritten(out) }, Old::Add);
    }

    /// All of `out`, which is initialized where it is added to.
    fn write(&self, x: &[f32], out: &mut [MaybeUninit<f32>], old: Old) {
        assert!(out.len() * self.depth == x.len() * self.outputs, "a product of other sizes");
        if threads() == 1 {
            return self.write_rows(x, out, old);
        }
        let tasks = x.chunks(ROWS * self.depth).zip(out.chunks_mut(ROWS * self.outputs));
        each(tasks, |(x, out)| self.write_rows(x, out, old));
    }

    /// What a row gets is the same, bit by bit, as from [`super::matmul::matmul_here`]: a chain of fused multiply-adds,
    /// cut every [`DEPTH`] terms.
    fn write_rows(&self, x: &[f32], out: &mut [MaybeUninit<f32>], old: Old) {
        let Panels { width, outputs, depth, .. } = *self;
        let rows = x.len() / depth;
        assert!(x.len() == rows * depth && out.len() == rows * outputs, "a product of other sizes");
        let panels = outputs.div_ceil(width);
        for from in (0..depth).step_by(DEPTH) {
            let terms = from..depth.min(from + DEPTH);
            let old = if from > 0 { Old::Add } else { old };
            let group = (GROUP / (terms.len() * width)).max(1);
            for first in (0..panels).step_by(group) {
                for row in (0..rows).step_by(KERNELS.rows) {
                    let rows = row..rows.min(row + KERNELS.rows);
                    for panel in first..panels.min(first + group) {
                        self.write_tile(panel, rows.clone(), terms.clone(), x, out, old);
                    }
                }
            }
        }
    }

    /// Some terms of what a few rows get from one panel.
    #[inline]
    fn write_tile(
        &self,
        panel: usize,
        rows: Range<usize>,
        terms: Range<usize>,
        x: &[f32],
        out: &mut [MaybeUninit<f32>],
        old: Old,
    ) {
        let Panels { start, width, outputs, depth, .. } = *self;
        let values = &self.values[start + (panel * depth + terms.start) * width..];
        let (x, out) =
            (&x[rows.start * depth + terms.start..], &mut out[rows.start * outputs + panel * width..]);
        // SAFETY: what is read and written is there, for `write_rows` has checked the sizes.
        unsafe {
            tile(
                (rows.len(), width.min(outputs - panel * width), terms.len()),
                (out.as_mut_ptr().cast(), outputs),
                (x.as_ptr(), depth, 1),
                (values.as_ptr(), width),
                old,
            );
        }
    }
}
