//! The reward model's scores, put on a common scale without gold.

use crate::{
    contract::StageError,
    episode::Episode,
    reward::{Reward, totals},
};

/// Scores are shifted, then divided by the standard deviation of a response's total over the reference policy's
/// responses.
pub struct Scale {
    /// Taken from every token's score.
    token: f32,
    /// Taken from the last token's score.
    response: f32,
    deviation: f32,
}

impl Scale {
    /// `episodes` are the reference policy's. A scalar is known up to a constant: the mean response gets 0. Of token
    /// rewards the mean token gets 0, if `center_tokens`.
    ///
    /// # Errors
    /// A reward that does not vary.
    pub fn of(reward: &dyn Reward, episodes: &[Episode], center_tokens: bool) -> Result<Self, StageError> {
        let scores = reward.scores(episodes)?;
        let mut scale = Self { token: 0.0, response: 0.0, deviation: 1.0 };
        if reward.is_scalar() {
            scale.response = mean(&totals(&scores));
        } else if center_tokens {
            scale.token = mean(&scores.concat());
        }
        let totals = totals(&scores.iter().map(|s| scale.apply(s)).collect::<Vec<_>>());
        let center = mean(&totals);
        let deviation = mean(&totals.iter().map(|t| (t - center).powi(2)).collect::<Vec<_>>()).sqrt();
        if !(deviation.is_finite() && deviation > 1e-6) {
            let message =
                format!("the reward of the reference policy's responses does not vary ({deviation})");
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

fn mean(x: &[f32]) -> f32 {
    x.iter().sum::<f32>() / x.len() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pays 1 for every token and `end` for the last.
    struct Length {
        end: f32,
        scalar: bool,
    }

    impl Reward for Length {
        fn scores(&self, episodes: &[Episode]) -> Result<Vec<Vec<f32>>, StageError> {
            let score = |e: &Episode| {
                let mut scores = vec![if self.scalar { 0.0 } else { 1.0 }; e.response.len()];
                scores[e.response.len() - 1] += self.end * e.response.len() as f32;
                scores
            };
            Ok(episodes.iter().map(score).collect())
        }

        fn is_scalar(&self) -> bool {
            self.scalar
        }
    }

    fn episodes() -> Vec<Episode> {
        (1..=5).map(|n| Episode { prompt: vec![0], response: vec![1; n], ended: true }).collect()
    }

    #[test]
    fn a_scalar_has_mean_0_and_deviation_1() {
        let reward = Length { end: 3.0, scalar: true };
        let scale = Scale::of(&reward, &episodes(), false).unwrap();
        let scaled: Vec<Vec<f32>> =
            reward.scores(&episodes()).unwrap().iter().map(|s| scale.apply(s)).collect();
        let totals = totals(&scaled);
        assert!(mean(&totals).abs() < 1e-6);
        assert!((mean(&totals.iter().map(|t| t * t).collect::<Vec<_>>()) - 1.0).abs() < 1e-5);
        assert!(scaled.iter().all(|s| s[..s.len() - 1].iter().all(|x| *x == 0.0)), "only the end is paid");
    }

    #[test]
    fn length_does_not_pay_where_tokens_are_centered() {
        let reward = Length { end: 0.0, scalar: false };
        let paid = |center| {
            let scale = Scale::of(&reward, &episodes(), center);
            scale.map(|scale| scale.apply(&[1.0; 9]).iter().sum::<f32>())
        };
        assert!(paid(false).unwrap() > 5.0);
        // Nothing is left of it, so that there is nothing to learn from.
        assert!(paid(true).err().is_some_and(|e| e.message.contains("does not vary")));
    }
}
