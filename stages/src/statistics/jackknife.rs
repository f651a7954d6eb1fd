//! The jackknife: a statistic of a whole dataset as one value for each of its items.

/// Pseudo-values of a statistic of `n` items: `n θ - (n - 1) θ_(-i)`, whose mean is the bias-corrected statistic and
/// whose variance over `n` is an estimate of its variance (R. G. Miller, "The jackknife: a review", Biometrika 61(1),
/// 1974, eq. 2.1 and 2.4). As one value for each item they are paired, clustered and compared as any measurement is.
///
/// `statistic` is given the item to leave out, or None. None comes back where the statistic is undefined, with an
/// item or without it. The statistic must be smooth, as means, AUCs and regressions are; a median is not.
pub fn jackknife(n: usize, statistic: impl Fn(Option<usize>) -> Option<f64>) -> Option<Vec<f64>> {
    let all = statistic(None)?;
    match n {
        0 => Some(vec![]),
        // The weight of what is left out is 0.
        1 => Some(vec![all]),
        _ => (0..n).map(|i| Some(n as f64 * all - (n as f64 - 1.0) * statistic(Some(i))?)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: [f64; 5] = [3.0, -1.0, 4.0, 1.0, 5.0];

    fn kept(left_out: Option<usize>) -> impl Iterator<Item = f64> {
        X.into_iter().enumerate().filter(move |(i, _)| Some(*i) != left_out).map(|(_, x)| x)
    }

    #[test]
    fn the_jackknife_of_a_mean_gives_the_values_back() {
        let mean = |out| Some(kept(out).sum::<f64>() / kept(out).count() as f64);
        let values = jackknife(X.len(), mean).unwrap();
        assert!(values.iter().zip(X).all(|(a, b)| (a - b).abs() < 1e-12), "{values:?}");
    }

    #[test]
    fn the_jackknife_of_the_biased_variance_is_the_unbiased_one() {
        let variance = |out| {
            let (n, sum) = (kept(out).count() as f64, kept(out).sum::<f64>());
            Some(kept(out).map(|x| (x - sum / n).powi(2)).sum::<f64>() / n)
        };
        let values = jackknife(X.len(), variance).unwrap();
        let unbiased = variance(None).unwrap() * 5.0 / 4.0;
        assert!((values.iter().sum::<f64>() / 5.0 - unbiased).abs() < 1e-12);
    }

    #[test]
    fn what_is_undefined_stays_undefined() {
        assert_eq!(jackknife(1, |_| Some(2.0)), Some(vec![2.0]));
        assert_eq!(jackknife(3, |out| (out != Some(1)).then_some(2.0)), None);
        assert_eq!(jackknife(0, |_| None), None);
    }
}
