//! The kernels of crate `gemm`, called without the rest of it: a tile of a product at a time.

use super::matmul::Old;
use gemm_common::microkernel::MicroKernelFn;
use std::sync::LazyLock;

/// A kernel multiplies a panel with a few rows at once: a kernel for each number of vectors and of rows.
pub(super) struct Kernels {
    /// Values in a vector of this processor.
    pub lanes: usize,
    /// The most vectors, and the most rows.
    pub vectors: usize,
    pub rows: usize,
    /// Of `v` vectors and `r` rows at `(v - 1) * rows + r - 1`.
    table: &'static [MicroKernelFn<f32>],
}

/// The kernels of one instruction set of crate `gemm`.
macro_rules! kernels {
    ($set:ident, $lanes:expr) => {{
        use gemm_f32::microkernel::$set::f32::{MR_DIV_N, NR, UKR};
        static TABLE: [[MicroKernelFn<f32>; NR]; MR_DIV_N] = UKR;
        Kernels { lanes: $lanes, vectors: MR_DIV_N, rows: NR, table: TABLE.as_flattened() }
    }};
}

/// Those that crate `gemm` itself would choose on x86-64 and aarch64: sums are rounded alike here and there.
pub(super) static KERNELS: LazyLock<Kernels> = LazyLock::new(|| {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        return kernels!(avx512f, 16);
    } else if std::arch::is_x86_feature_detected!("fma") {
        return kernels!(fma, 8);
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("neon") {
        return kernels!(neon, 4);
    }
    // These alone round each product, too: sampling and training then differ in their last bits.
    kernels!(scalar, 1)
});

/// `out = a b` or `out += a b` for `(rows, columns, terms)`, no more of them than a kernel takes: a chain of fused
/// multiply-adds for each value. `a` has rows and columns so far apart; of `b` and `out` the columns lie side by side.
///
/// # Safety
/// All of that must be there, `b` with as many columns as make whole vectors. `out` is initialized where it is added to.
#[inline]
pub(super) unsafe fn tile(
    (rows, columns, terms): (usize, usize, usize),
    (out, out_row): (*mut f32, usize),
    (a, a_row, a_column): (*const f32, usize, usize),
    (b, b_row): (*const f32, usize),
    old: Old,
) {
    let kernel = KERNELS.table[(columns.div_ceil(KERNELS.lanes) - 1) * KERNELS.rows + rows - 1];
    let old = u8::from(old == Old::Add);
    // SAFETY: `KERNELS` has only kernels that this processor runs; the rest is the caller's promise. They see all of it
    // transposed.
    unsafe {
        kernel(
            columns,
            rows,
            terms,
            out,
            b,
            a,
            out_row as isize,
            1,
            b_row as isize,
            a_column as isize,
            a_row as isize,
            f32::from(old),
            1.0,
            old,
            false,
            false,
            false,
            std::ptr::null(),
        );
    }
}
