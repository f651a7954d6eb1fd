//! Matrix products: crate `gemm`, one thread for each fixed chunk of rows.

use super::parallel::each;

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

    fn from_row(self, row: usize) -> Mat<'a> {
        Mat { values: &self.values[row * self.row..], ..self }
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

/// `out = a b` or `out += a b`, on this thread; rows of `out` are `stride` apart.
pub(crate) fn matmul_here(out: &mut [f32], stride: usize, size: Size, a: Mat, b: Mat, old: Old) {
    let Size { m, n, k } = size;
    if m == 0 || n == 0 {
        return;
    }
    assert!(n <= stride && (m - 1) * stride + n <= out.len(), "the output is too small");
    assert!(a.holds(m, k) && b.holds(k, n), "an input is too small");
    // SAFETY: the asserts bound every access; `out` is borrowed for writing, so it overlaps neither input.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride as isize,
            old == Old::Add,
            a.values.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.values.as_ptr(),
            b.column as isize,
            b.row as isize,
            if old == Old::Add { 1.0 } else { 0.0 },
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// As [`matmul_here`] for a dense `out`, its rows shared out over the threads.
pub(crate) fn matmul(out: &mut [f32], size: Size, a: Mat, b: Mat, old: Old) {
    // The chunk depends on the shape alone, so the result does not depend on the number of threads. Many
    // columns to sum over are a weight's gradient: few rows, each much work.
    let rows = if size.k > size.m { 128 } else { 512 };
    if size.m * size.n == 0 {
        return;
    }
    each(out.chunks_mut(rows * size.n).enumerate(), |(i, out)| {
        let size = Size { m: out.len() / size.n, ..size };
        matmul_here(out, size.n, size, a.from_row(i * rows), b, old);
    });
}
