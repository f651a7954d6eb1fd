//! PPO's clipped losses and their gradients.

use crate::training::Loss;

/// What is worth watching in a policy step; means over tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PolicyStats {
    pub ratio: f32,
    /// Variance of the ratio.
    pub ratio_variance: f32,
    /// Largest distance of a ratio from 1.
    pub ratio_deviation: f32,
    /// Share of tokens whose ratio lies outside the clip range.
    pub clipped: f32,
    /// The k3 estimate of KL(old || new).
    pub approximate_kl: f32,
}

/// The clipped surrogate (Schulman et al. 2017, equation 7), negated, as a mean over tokens; its gradient with
/// respect to the new log-probabilities.
pub fn policy_loss(new: &[f32], old: &[f32], advantages: &[f32], clip: f32) -> (Loss, PolicyStats) {
    let n = new.len() as f32;
    let (mut loss, mut gradient, mut stats) = (0.0, Vec::with_capacity(new.len()), PolicyStats::default());
    let mut square = 0.0;
    for ((new, old), a) in new.iter().zip(old).zip(advantages) {
        let log_ratio = new - old;
        let ratio = log_ratio.exp();
        let (plain, clipped) = (ratio * a, ratio.clamp(1.0 - clip, 1.0 + clip) * a);
        loss -= plain.min(clipped) / n;
        gradient.push(if plain <= clipped { -plain / n } else { 0.0 });
        stats.ratio += ratio / n;
        square += ratio * ratio / n;
        stats.ratio_deviation = stats.ratio_deviation.max((ratio - 1.0).abs());
        stats.clipped += if (ratio - 1.0).abs() > clip { 1.0 / n } else { 0.0 };
        stats.approximate_kl += (ratio - 1.0 - log_ratio) / n;
    }
    stats.ratio_variance = (square - stats.ratio * stats.ratio).max(0.0);
    ((loss, gradient), stats)
}

/// Half the squared error of values, clipped around the old values, as a mean over tokens; its gradient with
/// respect to the new values; and the share of tokens whose value lies outside the clip range.
pub fn value_loss(new: &[f32], old: &[f32], returns: &[f32], clip: f32) -> (Loss, f32) {
    let n = new.len() as f32;
    let (mut loss, mut gradient, mut outside) = (0.0, Vec::with_capacity(new.len()), 0.0);
    for ((new, old), target) in new.iter().zip(old).zip(returns) {
        let near = old + (new - old).clamp(-clip, clip);
        let (plain, clipped) = (new - target, near - target);
        loss += 0.5 * plain.powi(2).max(clipped.powi(2)) / n;
        // Where the clipped error is the larger, `near` stands at its bound and has no slope.
        gradient.push(if plain.abs() >= clipped.abs() { plain / n } else { 0.0 });
        outside += if (new - old).abs() > clip { 1.0 / n } else { 0.0 };
    }
    ((loss, gradient), outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seed: u64, n: usize, scale: f32) -> Vec<f32> {
        let at = |i: usize| crate::contract::derive_seed(seed, &i.to_string()) as f32 / u64::MAX as f32 - 0.5;
        (0..n).map(|i| at(i) * scale).collect()
    }

    /// The gradient of `loss` at `x` against central differences.
    fn check_gradient(x: &[f32], loss: impl Fn(&[f32]) -> Loss) {
        let (_, gradient) = loss(x);
        for i in 0..x.len() {
            let at = |h: f32| {
                let mut x = x.to_vec();
                x[i] += h;
                f64::from(loss(&x).0)
            };
            let numeric = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((numeric - f64::from(gradient[i])).abs() < 2e-3, "{i}: {numeric} {}", gradient[i]);
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for seed in 0..20 {
            // Away from the kinks at the clip bounds, where the slope is one-sided.
            let (old, advantages) = (numbers(seed, 8, 1.0), numbers(seed + 100, 8, 4.0));
            let step = [0.0, 0.1, -0.1, 0.4, -0.5, 0.05, 0.3, -0.3];
            let new: Vec<f32> = old.iter().zip(step).map(|(o, s)| o + s).collect();
            check_gradient(&new, |x| policy_loss(x, &old, &advantages, 0.2).0);
            check_gradient(&new, |x| value_loss(x, &old, &advantages, 0.25).0);
            let (_, outside) = value_loss(&new, &old, &advantages, 0.25);
            assert!((outside - 4.0 / 8.0).abs() < 1e-6, "four steps are longer: {outside}");
        }
    }

    #[test]
    fn an_unchanged_policy_has_ratio_1_and_the_gradient_of_plain_policy_gradient() {
        let (old, advantages) = (numbers(1, 5, 3.0), numbers(2, 5, 2.0));
        let ((loss, gradient), stats) = policy_loss(&old, &old, &advantages, 0.2);
        assert_eq!((stats.ratio_deviation, stats.clipped, stats.approximate_kl), (0.0, 0.0, 0.0));
        assert!((loss + advantages.iter().sum::<f32>() / 5.0).abs() < 1e-6);
        let expected: Vec<f32> = advantages.iter().map(|a| -a / 5.0).collect();
        assert_eq!(gradient, expected);
    }
}
