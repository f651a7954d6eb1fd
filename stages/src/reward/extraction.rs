//! Reward extraction (arXiv 2409.00162): from what the sequence reward model would write to a score for
//! each token of the response.
//!
//! Tokens get a positive score until the response diverges from the reward model's output. From there on the
//! response is fed token by token, and each token that diverges from what the reward model would write next
//! gets a negative score. With greedy decoding the output up to the first divergence equals the
//! teacher-forced argmax, and "fed token by token" is teacher forcing: one pass gives all of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The scores. What the paper leaves open is a parameter here: see the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Extraction {
    /// Score of a token before the first divergence.
    pub positive: f32,
    /// Score of a token that diverges.
    pub negative: f32,
    /// Score of a token that matches after the first divergence.
    pub late_match: f32,
    /// Whether the end token is scored like any other; otherwise its score is 0.
    pub end_token: bool,
    /// Whether scores are divided by the response's length.
    pub per_length: bool,
}

impl Default for Extraction {
    fn default() -> Self {
        Self { positive: 1.0, negative: -1.0, late_match: 0.0, end_token: true, per_length: false }
    }
}

impl Extraction {
    /// Scores of the tokens of `response`; `rewritten[i]` is what the reward model would write after
    /// `response[..i]`; `ended` says whether the last token is the end token.
    pub fn scores(&self, rewritten: &[u32], response: &[u32], ended: bool) -> Vec<f32> {
        let divergence = rewritten.iter().zip(response).position(|(w, y)| w != y).unwrap_or(response.len());
        let score = |(i, (w, y)): (usize, (&u32, &u32))| match () {
            () if i < divergence => self.positive,
            () if w == y => self.late_match,
            () => self.negative,
        };
        let mut scores: Vec<f32> = rewritten.iter().zip(response).enumerate().map(score).collect();
        if ended
            && !self.end_token
            && let Some(last) = scores.last_mut()
        {
            *last = 0.0;
        }
        if self.per_length {
            let length = scores.len() as f32;
            scores.iter_mut().for_each(|s| *s /= length);
        }
        scores
    }
}
