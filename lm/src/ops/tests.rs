//! The fused operations against the composed ones and against finite differences.

use super::check::{
    Attend, Embedding, FeedForward, Function, Gather, Linear, LogProb, Residual, RmsNorm, ScalarHead,
};
use super::composed::Composed;
use super::*;
use dfdx::prelude::Cpu;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Inputs of one case, all `[rows, columns]`, with uniform values.
struct Case {
    rng: ChaCha8Rng,
}

impl Case {
    fn below(&mut self, n: usize) -> usize {
        self.rng.next_u32() as usize % n
    }

    fn between(&mut self, least: usize, most: usize) -> usize {
        least + self.below(most - least + 1)
    }

    fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.rng.next_u32() as f32 / u32::MAX as f32 * 2.0 - 1.0).collect()
    }
}

/// The value `sum(f(inputs) * weights)` and its gradient for each input.
fn evaluate<O: Ops<Device = Cpu>>(
    f: &impl Function,
    shapes: &[(usize, usize)],
    inputs: &[Vec<f32>],
    weights: &[f32],
) -> (Vec<f32>, Vec<Vec<f32>>) {
    check::evaluate::<O>(&Cpu::default(), f, shapes, inputs, weights)
}

fn close(what: &str, a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance * (1.0 + a.abs().max(b.abs())), "{what}[{i}]: {a} and {b}");
    }
}

/// Fused against composed; fused gradients against finite differences; one thread against several.
fn check(name: &str, case: &mut Case, shapes: &[(usize, usize)], f: impl Function + Sync) {
    let inputs = shapes.iter().map(|(r, c)| case.values(r * c)).collect();
    check_on(name, case, shapes, inputs, f);
}

/// As [`check`] on these inputs.
fn check_on(
    name: &str,
    case: &mut Case,
    shapes: &[(usize, usize)],
    inputs: Vec<Vec<f32>>,
    f: impl Function + Sync,
) {
    let weights = case.values(1 << 16);
    let (values, gradients) = evaluate::<Fused>(&f, shapes, &inputs, &weights);
    let (expected, expected_gradients) = evaluate::<Composed<Cpu>>(&f, shapes, &inputs, &weights);
    close(name, &values, &expected, 1e-5);
    for (i, (a, b)) in gradients.iter().zip(&expected_gradients).enumerate() {
        close(&format!("{name}: gradient of input {i}"), a, b, 5e-5);
    }
    let total = |inputs: &[Vec<f32>]| -> f64 {
        let (values, _) = evaluate::<Fused>(&f, shapes, inputs, &weights);
        values.iter().zip(&weights).map(|(&v, &w)| f64::from(v) * f64::from(w)).sum()
    };
    for (i, gradient) in gradients.iter().enumerate() {
        let at = case.below(gradient.len());
        let (step, mut moved) = (1e-2, inputs.clone());
        moved[i][at] += step;
        let up = total(&moved);
        moved[i][at] = inputs[i][at] - step;
        let slope = ((up - total(&moved)) / f64::from(2.0 * step)) as f32;
        close(&format!("{name}: slope of input {i}"), &[gradient[at]], &[slope], 2e-2);
    }
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let again = pool.install(|| evaluate::<Fused>(&f, shapes, &inputs, &weights));
        assert!(again == (values.clone(), gradients.clone()), "{name}: {threads} threads");
    }
}

fn cases() -> impl Iterator<Item = Case> {
    (0..6).map(|seed| Case { rng: ChaCha8Rng::seed_from_u64(seed) })
}

#[test]
fn picking_rows() {
    for mut case in cases() {
        let (n, rows, width) = (case.between(1, 40), case.between(1, 20), case.between(1, 40));
        let picks: Vec<usize> = (0..n).map(|_| case.below(rows)).collect();
        let ids = picks.iter().map(|&p| p as u32).collect();
        check("embedding", &mut case, &[(rows, width)], Embedding { ids, scale: 1.5 });
        check("gather", &mut case, &[(rows, width)], Gather { rows: picks });
    }
}

#[test]
fn rows_by_themselves() {
    for mut case in cases() {
        let (n, width) = (case.between(1, 300), case.between(1, 50));
        check("rms_norm", &mut case, &[(n, width), (1, width)], RmsNorm {});
        check("scalar_head", &mut case, &[(n, width), (1, width), (1, 1)], ScalarHead {});
    }
}

#[test]
fn products() {
    for mut case in cases() {
        let (n, width, out) = (case.between(1, 600), case.between(1, 40), case.between(2, 40));
        check("linear", &mut case, &[(n, width), (out, width)], Linear {});
        check("linear with residual", &mut case, &[(n, width), (out, width), (n, out)], Residual {});
        let targets = (0..n).map(|_| case.below(out) as u32).collect();
        check("linear_log_prob", &mut case, &[(n, width), (out, width)], LogProb { targets });
    }
}

#[test]
fn feed_forward() {
    for mut case in cases() {
        let (n, width, inner) = (case.between(1, 300), case.between(1, 40), case.between(1, 40));
        let shapes = [(n, width), (1, width), (2 * inner, width), (width, inner)];
        check("swiglu", &mut case, &shapes, FeedForward { gate: Gate::Silu });
        check("geglu", &mut case, &shapes, FeedForward { gate: Gate::Gelu });
        // Wider than a kernel takes; matrices as models have them, so that nothing grows with the width.
        let (n, width, inner) = (case.between(1, 100), case.between(41, 150), case.between(41, 150));
        let shapes = [(n, width), (1, width), (2 * inner, width), (width, inner)];
        let inputs = shapes.iter().map(|&(rows, columns)| {
            let scale = if rows == n || rows == 1 { 1.0 } else { 1.0 / (columns as f32).sqrt() };
            case.values(rows * columns).into_iter().map(|x| x * scale).collect()
        });
        let inputs = inputs.collect();
        check_on("wide swiglu", &mut case, &shapes, inputs, FeedForward { gate: Gate::Silu });
    }
}

#[test]
fn attention() {
    for mut case in cases() {
        let (groups, sharing) = (case.between(1, 2), case.between(1, 3));
        let head_dim = 2 * case.between(1, 9);
        let lens: Vec<usize> = (0..case.between(1, 6)).map(|_| case.between(1, 70)).collect();
        attention_of(&mut case, (groups, sharing), head_dim, &lens);
    }
    // Heads that take more than one vector or one kernel; sums that are cut, over keys and over queries that share one.
    let mut case = Case { rng: ChaCha8Rng::seed_from_u64(6) };
    attention_of(&mut case, (2, 1), 16, &[40, 3]);
    attention_of(&mut case, (1, 2), 80, &[33]);
    attention_of(&mut case, (1, 1), 4, &[530]);
    attention_of(&mut case, (1, 17), 2, &[40]);
}

fn attention_of(case: &mut Case, (groups, sharing): (usize, usize), head_dim: usize, lens: &[usize]) {
    let mut starts = vec![0];
    lens.iter().for_each(|len| starts.push(starts[starts.len() - 1] + len));
    let tokens = starts[starts.len() - 1];
    let rope = Arc::new(Rope::new(tokens, head_dim, 10_000.0, None));
    let heads = groups * sharing;
    let how = Arc::new(Attention { heads, key_value_heads: groups, head_dim, rope, starts });
    let (width, outputs) = (case.between(1, 40), (heads + 2 * groups) * head_dim);
    check("attention", case, &[(tokens, width), (1, width), (outputs, width)], Attend { how });
}

/// Which way a product goes depends on how its matrices lie, and on what lies behind them.
#[test]
fn a_product_of_matrices_as_they_lie_is_that_of_matrices_laid_out_anew() {
    use fused::matmul::{Mat, Old, Size, matmul, matmul_here};
    for mut case in cases() {
        let size = Size { m: case.between(1, 70), n: case.between(1, 150), k: case.between(1, 700) };
        let Size { m, n, k } = size;
        let (a, stride) = (case.values(m * k), n + case.below(9));
        let (b, before) = (case.values(k * stride + 16), case.values(m * n));
        let a = [Mat::rows(&a, k), Mat::rows(&a, m).transposed()];
        for (a, old) in a.into_iter().flat_map(|a| [(a, Old::Overwrite), (a, Old::Add)]) {
            let (mut lying, mut tight, mut laid_out) = (before.clone(), before.clone(), before.clone());
            matmul_here(&mut lying, n, size, a, Mat::rows(&b, stride), old);
            matmul_here(&mut tight, n, size, a, Mat::rows(&b[..(k - 1) * stride + n], stride), old);
            matmul(&mut laid_out, size, a, Mat::rows(&b, stride), old);
            assert!(lying == laid_out && tight == laid_out, "m {m}, n {n}, k {k}");
        }
    }
}

/// A row's result is the same in any batch, and whichever way it is computed: sampling and training rely on it.
#[test]
fn a_product_of_some_rows_is_part_of_the_product_of_all() {
    use fused::matmul::{Mat, Old, Size, matmul_here};
    use fused::panels::Panels;
    for mut case in cases() {
        let (m, n, k) = (case.between(1, 200), case.between(1, 200), case.between(1, 700));
        let (a, b) = (case.values(m * k), case.values(n * k));
        let product = |from: usize, to: usize| {
            let mut out = vec![0.0; (to - from) * n];
            let size = Size { m: to - from, n, k };
            let rows = Mat::rows(&a[from * k..to * k], k);
            matmul_here(&mut out, n, size, rows, Mat::rows(&b, k).transposed(), Old::Overwrite);
            out
        };
        let all = product(0, m);
        for _ in 0..8 {
            let from = case.below(m);
            let to = case.between(from + 1, m);
            assert!(product(from, to) == all[from * n..to * n], "rows {from}..{to} of {m}, n {n}, k {k}");
        }
        assert!(product(0, 1) == all[..n], "one row of {m}, n {n}, k {k}");
        let turned: Vec<f32> = (0..k * n).map(|i| b[i % n * k + i / n]).collect();
        let before = case.values(m * n);
        let mut sums = before.clone();
        let (rows, columns) = (Mat::rows(&a, k), Mat::rows(&b, k).transposed());
        matmul_here(&mut sums, n, Size { m, n, k }, rows, columns, Old::Add);
        for panels in [Panels::new(&b, (n, k)), Panels::transposed(&turned, (k, n))] {
            assert!(panels.new_product(&a) == all, "panels of {m}, n {n}, k {k}");
            let mut out = before.clone();
            panels.product(&a, &mut out, Old::Add);
            assert!(out == sums, "panels added to {m}, n {n}, k {k}");
        }
    }
}
