//! Matrix products of what is multiplied once: small ones as the matrices lie, large ones by crate `gemm`, a chunk of rows for
//! each thread.

use super::parallel::{each, threads};
use super::tiles::{KERNELS, tile};
use super::{ROWS, as_unwritten, as_written, written};
use std::mem::MaybeUninit;

/// A matrix in a slice: element `(r, c)` is `values[r * row + c * column]`.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a> {
    values: &'a [f32],
    row: usize,
    column: usize,
}

impl<'a> Mat<'a> {
    /// Rows `stride` apart, columns side by side.
    pub fn rows(values: &'a [f32], stride: usize) -> Mat<'a> {
        Mat { values, row: stride, column: 1 }
    }

    pub fn transposed(self) -> Mat<'a> {
        Mat { row: self.column, column: self.row, ..self }
    }

    /// What is left without the first rows and columns.
    pub fn from(self, row: usize, column: usize) -> Mat<'a> {
        // Past the end only where no element is asked for.
        let values = self.values.get(row * self.row + column * self.column..).unwrap_or_default();
        Mat { values, ..self }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row + (columns - 1) * self.column < self.values.len()
    }
}

/// What happens to the values that are already in the output.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Old {
    Overwrite,
    Add,
}

/// `[m, n]` out of `[m, k]` and `[k, n]`.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

/// Terms that are summed up before the sum goes to memory. `gemm` leaves so many in one piece on any processor.
pub(crate) const DEPTH: usize = 512;

/// `out = a b` or `out += a b`, on this thread, for matrices that the processor's cache holds; rows of `out` are `stride`
/// apart.
///
/// A row's result depends on no other row, nor on how many there are, bit by bit: it is always a chain of fused
/// multiply-adds in the order of `k`, cut every [`DEPTH`] terms.
pub(crate) fn matmul_here(out: &mut [f32], stride: usize, size: Size, a: Mat, b: Mat, old: Old) {
    // SAFETY: it writes values.
    write_here(unsafe { as_unwritten(out) }, stride, size, a, b, old);
}

/// As [`matmul_here`]. What is added to is initialized; afterwards the product is.
pub(super) fn write_here(out: &mut [MaybeUninit<f32>], stride: usize, size: Size, a: Mat, b: Mat, old: Old) {
    let Size { m, n, k } = size;
    // The kernels read whole vectors of `b`, also where fewer columns are asked for.
    if b.column != 1 || k == 0 || !b.holds(k, n.next_multiple_of(KERNELS.lanes)) {
        return write_packed(out, stride, size, a, b, old);
    }
    if !asks_for_any(out, stride, size, a, b) {
        return;
    }
    let width = KERNELS.vectors * KERNELS.lanes;
    for term in (0..k).step_by(DEPTH) {
        let old = if term > 0 { Old::Add } else { old };
        for row in (0..m).step_by(KERNELS.rows) {
            for column in (0..n).step_by(width) {
                let size = (KERNELS.rows.min(m - row), width.min(n - column), DEPTH.min(k - term));
                // SAFETY: the checks above bound every access.
                unsafe {
                    let out = out.as_mut_ptr().add(row * stride + column).cast();
                    let a_here = a.values.as_ptr().add(row * a.row + term * a.column);
                    let b_here = b.values.as_ptr().add(term * b.row + column);
                    tile(size, (out, stride), (a_here, a.row, a.column), (b_here, b.row), old);
                }
            }
        }
    }
}

/// Whether there is anything to write.
///
/// # Panics
/// If not all of it is there.
fn asks_for_any(out: &[MaybeUninit<f32>], stride: usize, size: Size, a: Mat, b: Mat) -> bool {
    let Size { m, n, k } = size;
    if m == 0 || n == 0 {
        return false;
    }
    assert!(n <= stride && (m - 1) * stride + n <= out.len(), "the output is too small");
    assert!(a.holds(m, k) && b.holds(k, n), "an input is too small");
    true
}

/// As [`write_here`] for large matrices, or any: crate `gemm` lays parts of them out anew.
///
/// By itself it does not promise that a row depends on no other: for few values, one row or one column it sums in another
/// order, and where it cuts depends on sizes and on the processor's caches. So we cut first, and call it one level deeper
/// (crate `gemm` does not hand `conj_dst` on) with `conj_dst` set: that changes no real number, and keeps it from the
/// special cases.
fn write_packed(out: &mut [MaybeUninit<f32>], stride: usize, size: Size, a: Mat, b: Mat, old: Old) {
    let Size { m, n, k } = size;
    if !asks_for_any(out, stride, size, a, b) {
        return;
    }
    if k == 0 && old == Old::Overwrite {
        out.chunks_mut(stride).take(m).for_each(|row| row[..n].fill(MaybeUninit::new(0.0)));
    }
    let gemm = gemm_f32::gemm::f32::get_gemm_fn();
    for start in (0..k).step_by(DEPTH) {
        let add = old == Old::Add || start > 0;
        let (a, b) = (a.from(0, start), b.from(start, 0));
        // The kernels want columns side by side, so they get `out^T = b^T a^T`.
        // SAFETY: the asserts bound every access; `out` is borrowed for writing, so it overlaps neither input.
        unsafe {
            gemm(
                n,
                m,
                DEPTH.min(k - start),
                out.as_mut_ptr().cast(),
                stride as isize,
                1,
                add,
                b.values.as_ptr(),
                b.row as isize,
                b.column as isize,
                a.values.as_ptr(),
                a.row as isize,
                a.column as isize,
                if add { 1.0 } else { 0.0 },
                1.0,
                true,
                false,
                false,
                gemm_common::Parallelism::None,
            );
        }
    }
}

/// As [`matmul_here`] for a dense `out`, which is overwritten.
pub(super) fn new_matmul_here<'a>(
    out: &'a mut [MaybeUninit<f32>],
    size: Size,
    a: Mat,
    b: Mat,
) -> &'a mut [f32] {
    assert!(out.len() == size.m * size.n, "a product of another size");
    write_here(out, size.n, size, a, b, Old::Overwrite);
    // SAFETY: a product overwrites all.
    unsafe { as_written(out) }
}

/// As [`matmul_here`] for large matrices and a dense `out`, its rows shared out over the threads.
pub(crate) fn matmul(out: &mut [f32], size: Size, a: Mat, b: Mat, old: Old) {
    // SAFETY: it writes values.
    write(unsafe { as_unwritten(out) }, size, a, b, old);
}

/// `a b`, shared out over the threads.
pub(crate) fn new_matmul(size: Size, a: Mat, b: Mat) -> Vec<f32> {
    // SAFETY: a product overwrites all.
    unsafe { written(size.m * size.n, |out| write(out, size, a, b, Old::Overwrite)) }
}

fn write(out: &mut [MaybeUninit<f32>], size: Size, a: Mat, b: Mat, old: Old) {
    assert!(out.len() == size.m * size.n, "a product of another size");
    if out.is_empty() {
        return;
    }
    // No row depends on another, nor on how they are shared out. `b` is laid out anew for every chunk.
    let rows = size.m.div_ceil(threads()).next_multiple_of(ROWS);
    each(out.chunks_mut(rows * size.n).enumerate(), |(i, out)| {
        let size = Size { m: out.len() / size.n, ..size };
        write_packed(out, size.n, size, a.from(i * rows, 0), b, old);
    });
}
