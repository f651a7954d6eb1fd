//! Generalized advantage estimation (Schulman et al. 2016).

/// Advantages of one response's tokens. `rewards[t]` is paid for token `t`, `values[t]` is the critic's value
/// of the state that emits it; nothing follows the last token.
pub fn gae(rewards: &[f32], values: &[f32], gamma: f32, lambda: f32) -> Vec<f32> {
    let mut advantages = vec![0.0; rewards.len()];
    let (mut next_value, mut next_advantage) = (0.0, 0.0);
    for t in (0..rewards.len()).rev() {
        let delta = rewards[t] + gamma * next_value - values[t];
        next_advantage = delta + gamma * lambda * next_advantage;
        next_value = values[t];
        advantages[t] = next_advantage;
    }
    advantages
}

/// Shifts and scales to mean 0 and variance 1 over all tokens.
pub fn whiten(advantages: &mut [f32]) {
    let n = advantages.len() as f32;
    let mean = advantages.iter().sum::<f32>() / n;
    let variance = advantages.iter().map(|a| (a - mean).powi(2)).sum::<f32>() / n;
    let scale = 1.0 / (variance.sqrt() + 1e-8);
    advantages.iter_mut().for_each(|a| *a = (*a - mean) * scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand, with gamma 0.5 and lambda 0.5:
    /// delta_2 = 2 - 1 = 1, delta_1 = 0 + 0.5 * 1 - 2 = -1.5, delta_0 = 1 + 0.5 * 2 - 0.5 = 1.5;
    /// A_2 = 1, A_1 = -1.5 + 0.25 * 1 = -1.25, A_0 = 1.5 + 0.25 * -1.25 = 1.1875.
    #[test]
    fn gae_by_hand() {
        assert_eq!(gae(&[1.0, 0.0, 2.0], &[0.5, 2.0, 1.0], 0.5, 0.5), [1.1875, -1.25, 1.0]);
    }

    #[test]
    fn with_lambda_1_and_gamma_1_an_advantage_is_the_return_less_the_value() {
        let (rewards, values) = ([0.5, -1.0, 3.0, 0.25], [2.0, 1.0, -1.0, 0.5]);
        for (t, a) in gae(&rewards, &values, 1.0, 1.0).into_iter().enumerate() {
            assert_eq!(a, rewards[t..].iter().sum::<f32>() - values[t]);
        }
        assert!(gae(&[], &[], 1.0, 0.95).is_empty());
    }

    #[test]
    fn whitening_gives_mean_0_and_variance_1() {
        let mut a = [1.0, 2.0, 3.0, 6.0];
        whiten(&mut a);
        let mean = a.iter().sum::<f32>() / 4.0;
        let variance = a.iter().map(|x| x * x).sum::<f32>() / 4.0;
        assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-5, "{mean} {variance}");
        let mut same = [2.0; 3];
        whiten(&mut same);
        assert_eq!(same, [0.0; 3]);
    }
}
