//! Arithmetic on rows, in blocks that the compiler turns into vector instructions. Sums have a fixed order.

use super::matmul::Old;
use crate::ops::{GELU_CUBE, GELU_SLOPE, Gate};

const LANES: usize = 16;

/// `e^x` within 2 units in the last place, between `f32`'s smallest normal number and its greatest.
///
/// `x = n ln 2 + r` with whole `n`; a polynomial gives `e^r`, and `2^n` goes to the exponent's bits.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding and taking away 1.5 * 2^23 rounds to a whole number, which stays in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts: the first has few bits, so `n * LN2_HIGH` is exact.
    const LN2_HIGH: f32 = 0.693_145_75;
    const LN2_LOW: f32 = 1.428_606_8e-6;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let mut p = 1.0 / 720.0;
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = r.mul_add(p, coefficient);
    }
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
}

#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn lanes(block: &[f32], pad: f32) -> [f32; LANES] {
    let mut lanes = [pad; LANES];
    lanes[..block.len()].copy_from_slice(block);
    lanes
}

/// All lanes as one, by halves.
#[inline(always)]
fn fold_lanes(mut lanes: [f32; LANES], fold: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = fold(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn sum_lanes(lanes: [f32; LANES]) -> f32 {
    fold_lanes(lanes, |a, b| a + b)
}

/// `sum of a[i] * b[i]`
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (a, a_tail) = a.as_chunks::<LANES>();
    let (b, b_tail) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            sums[i] = a[i].mul_add(b[i], sums[i]);
        }
    }
    if !a_tail.is_empty() {
        let (a, b) = (lanes(a_tail, 0.0), lanes(b_tail, 0.0));
        for i in 0..LANES {
            sums[i] = a[i].mul_add(b[i], sums[i]);
        }
    }
    sum_lanes(sums)
}

#[inline(always)]
pub(crate) fn max(row: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let (blocks, tail) = row.as_chunks::<LANES>();
    let mut most = lanes(tail, f32::NEG_INFINITY);
    for block in blocks {
        for i in 0..LANES {
            most[i] = greater(most[i], block[i]);
        }
    }
    fold_lanes(most, greater)
}

/// Turns a row of scores into probabilities and gives `log(sum(exp(scores)))`.
#[inline(always)]
pub(crate) fn softmax(row: &mut [f32]) -> f32 {
    let most = max(row);
    let mut sums = [0.0; LANES];
    let (blocks, tail) = row.as_chunks_mut::<LANES>();
    for block in &mut *blocks {
        for i in 0..LANES {
            block[i] = exp(block[i] - most);
            sums[i] += block[i];
        }
    }
    if !tail.is_empty() {
        let mut block = lanes(tail, f32::NEG_INFINITY);
        for x in &mut block {
            *x = exp(*x - most);
        }
        tail.copy_from_slice(&block[..tail.len()]);
        for (sum, x) in sums.iter_mut().zip(&*tail) {
            *sum += x;
        }
    }
    let sum = sum_lanes(sums);
    let scale = 1.0 / sum;
    for x in row {
        *x *= scale;
    }
    most + sum.ln()
}

/// Writes `x / sqrt(mean(x^2) + eps) * gain` and gives `1 / sqrt(mean(x^2) + eps)`.
#[inline(always)]
pub(crate) fn rms_norm(x: &[f32], gain: &[f32], eps: f32, y: &mut [f32]) -> f32 {
    let scale = 1.0 / (dot(x, x) / x.len() as f32 + eps).sqrt();
    for ((y, x), gain) in y.iter_mut().zip(x).zip(gain) {
        *y = x * scale * gain;
    }
    scale
}

/// Writes or adds to `dx` the gradient that [`rms_norm`] sends to `x`, given that of its result and its scale, and adds to
/// `dgain` that of the gain. `scaled` is scratch memory.
#[inline(always)]
pub(crate) fn rms_norm_gradient(
    (x, dy, scale): (&[f32], &[f32], f32),
    gain: &[f32],
    dx: &mut [f32],
    old: Old,
    dgain: &mut [f32],
    scaled: &mut [f32],
) {
    for (((scaled, dgain), (dy, x)), gain) in scaled.iter_mut().zip(dgain).zip(dy.iter().zip(x)).zip(gain) {
        *scaled = dy * gain;
        *dgain += dy * x * scale;
    }
    let pull = dot(scaled, x) * scale * scale * scale / x.len() as f32;
    for ((dx, x), scaled) in dx.iter_mut().zip(x).zip(scaled) {
        let term = *scaled * scale - x * pull;
        *dx = if old == Old::Add { *dx + term } else { term };
    }
}

/// `k` of a [`Gate`], and its slope.
trait Curve {
    fn k(x: f32) -> f32;
    fn slope(x: f32) -> f32;
}

struct Silu;

impl Curve for Silu {
    #[inline(always)]
    fn k(x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn slope(_: f32) -> f32 {
        1.0
    }
}

struct Gelu;

impl Curve for Gelu {
    #[inline(always)]
    fn k(x: f32) -> f32 {
        GELU_SLOPE * (x + GELU_CUBE * (x * x * x))
    }
    #[inline(always)]
    fn slope(x: f32) -> f32 {
        GELU_SLOPE * (1.0 + 3.0 * GELU_CUBE * (x * x))
    }
}

/// Writes `f(gate) * up` for one row of `[gate | up]`.
#[inline(always)]
pub(crate) fn gated(gate: Gate, x: &[f32], y: &mut [f32]) {
    match gate {
        Gate::Silu => gated_by::<Silu>(x, y),
        Gate::Gelu => gated_by::<Gelu>(x, y),
    }
}

#[inline(always)]
fn gated_by<C: Curve>(x: &[f32], y: &mut [f32]) {
    let (gate, up) = x.split_at(y.len());
    for ((y, &gate), &up) in y.iter_mut().zip(gate).zip(up) {
        *y = gate * sigmoid(C::k(gate)) * up;
    }
}

/// Writes the gradient that [`gated`] sends to `x` over it, given that of its result; writes its result again.
#[inline(always)]
pub(crate) fn gated_gradient(gate: Gate, x: &mut [f32], dy: &[f32], y: &mut [f32]) {
    match gate {
        Gate::Silu => gradient_by::<Silu>(x, dy, y),
        Gate::Gelu => gradient_by::<Gelu>(x, dy, y),
    }
}

#[inline(always)]
fn gradient_by<C: Curve>(x: &mut [f32], dy: &[f32], y: &mut [f32]) {
    let (gate, up) = x.split_at_mut(dy.len());
    let terms = |gate: f32, up: f32, dy: f32| {
        let s = sigmoid(C::k(gate));
        (dy * up * s * (1.0 + gate * (1.0 - s) * C::slope(gate)), dy * gate * s, gate * s * up)
    };
    let blocks = dy.len() / LANES * LANES;
    for at in (0..blocks).step_by(LANES) {
        // Copied first: the compiler need not ask whether the slices overlap.
        let copy = |from: &[f32]| lanes(&from[at..at + LANES], 0.0);
        let (gates, ups, dys) = (copy(gate), copy(up), copy(dy));
        let (gate, up, y) = (&mut gate[at..at + LANES], &mut up[at..at + LANES], &mut y[at..at + LANES]);
        for i in 0..LANES {
            (gate[i], up[i], y[i]) = terms(gates[i], ups[i], dys[i]);
        }
    }
    for i in blocks..dy.len() {
        (gate[i], up[i], y[i]) = terms(gate[i], up[i], dy[i]);
    }
}

/// `y += sum of weights[i] * (row i)`, one after the other, for rows of `y.len()` values side by side. A block of `y`
/// stays in registers while the rows stream by: wide blocks, so that no sum waits for the one before.
#[inline(always)]
pub(crate) fn add_weighted(weights: &[f32], rows: &[f32], y: &mut [f32]) {
    let stride = y.len();
    assert_eq!(rows.len(), weights.len() * stride);
    let mut at = 0;
    at += add_weighted_blocks::<{ 4 * LANES }>(weights, &rows[at..], stride, &mut y[at..]);
    at += add_weighted_blocks::<{ 2 * LANES }>(weights, &rows[at..], stride, &mut y[at..]);
    at += add_weighted_blocks::<LANES>(weights, &rows[at..], stride, &mut y[at..]);
    let tail = &mut y[at..];
    if !tail.is_empty() {
        for (&weight, row) in weights.iter().zip(rows[at..].chunks(stride)) {
            for (y, x) in tail.iter_mut().zip(row) {
                *y = weight.mul_add(*x, *y);
            }
        }
    }
}

/// The first values of [`add_weighted`], as many as are in whole blocks; gives their number.
#[inline(always)]
fn add_weighted_blocks<const WIDTH: usize>(
    weights: &[f32],
    rows: &[f32],
    stride: usize,
    y: &mut [f32],
) -> usize {
    let (blocks, _) = y.as_chunks_mut::<WIDTH>();
    for (b, block) in blocks.iter_mut().enumerate() {
        let mut sums = *block;
        for (&weight, row) in weights.iter().zip(rows[b * WIDTH..].chunks(stride)) {
            let row: &[f32; WIDTH] = row.first_chunk().expect("rows are as long as `y`");
            for i in 0..WIDTH {
                sums[i] = weight.mul_add(row[i], sums[i]);
            }
        }
        *block = sums;
    }
    blocks.len() * WIDTH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_over_its_range() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 2.5e-7, "{x}");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(200.0).is_finite());
    }

    #[test]
    fn rows_of_any_length() {
        for len in 1..70 {
            let row: Vec<f32> = (0..len).map(|i| ((i * 37) % 11) as f32 * 0.3 - 1.0).collect();
            let plain: f32 = row.iter().map(|x| x * x).sum();
            assert!((dot(&row, &row) - plain).abs() < 1e-4);
            assert_eq!(max(&row), row.iter().copied().fold(f32::MIN, f32::max));
            let mut p = row.clone();
            let log_sum = softmax(&mut p);
            let exact = row.iter().map(|x| f64::from(*x).exp()).sum::<f64>();
            assert!((f64::from(log_sum) - exact.ln()).abs() < 1e-5);
            for (p, x) in p.iter().zip(&row) {
                assert!((f64::from(*p) - f64::from(*x).exp() / exact).abs() < 1e-6);
            }
        }
    }
}
