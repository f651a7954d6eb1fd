//! The reward model's scores, put on a common scale without gold.

use crate::{
    contract::StageError,
    episode::Episode,
    reward::{Reward, totals},
    statistics::mean,
};

/// Scores are shifted, then divided by the standard deviation of a response's total among the reference policy's
/// responses to one prompt. What differs from prompt to prompt alone teaches a policy nothing, and a scalar reward model's
/// likelihood leaves it open.
pub struct Scale {
    /// Taken from every token's score.
    token: f32,
    /// Taken from the last token's score.
    response: f32,
    deviation: f32,
}

impl Scale {
    /// `twice` are the reference policy's answers to some prompts and its answers to the same prompts again. A scalar is
    /// known up to a constant: the mean response gets 0. Of token rewards the mean token gets 0, if `center_tokens`.
    ///
    /// # Errors
    /// A reward that does not vary.
    pub fn of(
        reward: &dyn Reward,
        twice: &[Vec<Episode>; 2],
        center_tokens: bool,
    ) -> Result<Self, StageError> {
        let [first, second] = twice;
        let scores = [reward.scores(first)?, reward.scores(second)?];
        let mut scale = Self { token: 0.0, response: 0.0, deviation: 1.0 };
        if reward.is_scalar() {
            scale.response = mean(scores.iter().flatten().map(|s| s.iter().sum()));
        } else if center_tokens {
            scale.token = mean(scores.iter().flatten().flatten().copied());
        }
        let [first, second] =
            scores.map(|rows| totals(&rows.iter().map(|s| scale.apply(s)).collect::<Vec<_>>()));
        // The variance of two values around their mean, by n - 1, is half of their difference squared.
        let variance = mean(first.iter().zip(&second).map(|(a, b)| (a - b).powi(2) / 2.0));
        let deviation = variance.sqrt();
        if !(deviation.is_finite() && deviation > 1e-6) {
            let message = format!("the reward of two responses to one prompt does not differ ({deviation})");
            return Err(StageError::new(message).hint("look at the reward model's training curve"));
        }
        Ok(Self { deviation, ..scale })
    }

    pub fn apply(&self, scores: &[f32]) -> Vec<f32> {
        let mut scores: Vec<f32> = scores.iter().map(|s| s - self.token).collect();
        if let Some(last) = scores.last_mut() {
            *last -= self.response;
        }
        scores.iter_mut().for_each(|s| *s /= self.deviation);
        scores
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reward::Reading;

    /// Pays `token` for every token, and for a whole response its length and what its prompt is worth.
    struct Pays {
        token: f32,
        end: f32,
        scalar: bool,
    }

    impl Reward for Pays {
        fn read(&self, episodes: &[Episode]) -> Result<Reading, StageError> {
            let score = |e: &Episode| {
                let mut scores = vec![self.token; e.response.len()];
                scores[e.response.len() - 1] += self.end * (e.response.len() as f32 + e.prompt[0] as f32);
                scores
            };
            Ok(episodes.iter().map(score).collect::<Vec<_>>().into())
        }

        fn is_scalar(&self) -> bool {
            self.scalar
        }
    }

    /// Answers of 1 to 5 tokens to prompts of very different worth, and then of 2 tokens more.
    fn answers() -> [Vec<Episode>; 2] {
        let answer = |n: usize, more: usize| Episode {
            prompt: vec![1000 * n as u32],
            response: vec![1; n + more],
            ended: true,
        };
        [0, 2].map(|more| (1..=5).map(|n| answer(n, more)).collect())
    }

    #[test]
    fn a_scalar_has_mean_0_and_deviation_1_within_prompts() {
        let reward = Pays { token: 0.0, end: 3.0, scalar: true };
        let scale = Scale::of(&reward, &answers(), false).unwrap();
        let scaled = answers().map(|e| -> Vec<Vec<f32>> {
            reward.scores(&e).unwrap().iter().map(|s| scale.apply(s)).collect()
        });
        assert!(scaled.iter().flatten().all(|s| s[..s.len() - 1].iter().all(|x| *x == 0.0)));
        let [first, second] = scaled.map(|s| totals(&s));
        assert!(mean(first.iter().chain(&second).copied()).abs() < 1e-3);
        let half_square = |(a, b): (&f32, &f32)| (a - b).powi(2) / 2.0;
        assert!((mean(first.iter().zip(&second).map(half_square)) - 1.0).abs() < 1e-3);
    }

    #[test]
    fn length_does_not_pay_where_tokens_are_centered() {
        let reward = Pays { token: 1.0, end: 0.0, scalar: false };
        let paid = |center| {
            let scale = Scale::of(&reward, &answers(), center);
            scale.map(|scale| scale.apply(&[1.0; 9]).iter().sum::<f32>())
        };
        assert!(paid(false).unwrap() > 5.0);
        // Nothing is left of it, so that there is nothing to learn from.
        assert!(paid(true).err().is_some_and(|e| e.message.contains("does not differ")));
    }
}
