//! Reward extraction (arXiv 2409.00162): from what the sequence reward model would write to a score for
//! each token of the response.
//!
//! Tokens get a positive score until the response diverges from the reward model's output. From there on the
//! response is fed token by token, and each token that diverges from what the reward model would write next
//! gets a negative score. With greedy decoding the output up to the first divergence equals the
//! teacher-forced argmax, and "fed token by token" is teacher forcing: one pass gives all of it.

use lm::TokenStats;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{check::in_range, contract::ParamError};

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
    /// What a score is multiplied by.
    pub magnitude: Magnitude,
    /// Whether the end token is scored like any other; otherwise its score is 0.
    pub end_token: bool,
    /// Whether scores are divided by the response's length.
    pub per_length: bool,
    /// Where scores are paid.
    pub paid: Paid,
}

/// How sure the reward model must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Magnitude {
    /// Every score counts in full.
    #[default]
    Constant,
    /// A match counts by its probability, a divergence by how much less likely the token is than the one that the
    /// reward model would write.
    Probability,
}

/// Where scores are paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Paid {
    /// Each at its token.
    #[default]
    Token,
    /// All at the last token, as a scalar reward model does.
    End,
}

impl Default for Extraction {
    fn default() -> Self {
        Self {
            positive: 1.0,
            negative: -1.0,
            late_match: 0.0,
            magnitude: Magnitude::Constant,
            end_token: true,
            per_length: false,
            paid: Paid::Token,
        }
    }
}

impl Extraction {
    /// `path` is where it stands among a stage's parameters.
    pub fn check(&self, path: &str) -> Result<(), ParamError> {
        in_range(format!("{path}.positive"), self.positive, -1000.0, 1000.0)?;
        in_range(format!("{path}.negative"), self.negative, -1000.0, 1000.0)?;
        in_range(format!("{path}.late_match"), self.late_match, -1000.0, 1000.0)
    }

    /// Scores of the tokens of `response`; `stats[i]` is what the reward model says of token `i` after those before
    /// it; `ended` says whether the last token is the end token.
    pub fn scores(&self, stats: &[TokenStats], response: &[u32], ended: bool) -> Vec<f32> {
        let divergence = first_divergence(stats, response).unwrap_or(response.len());
        let score = |(i, (s, y)): (usize, (&TokenStats, &u32))| {
            let (score, sure) = match () {
                () if i < divergence => (self.positive, s.log_prob.exp()),
                () if s.argmax == *y => (self.late_match, s.log_prob.exp()),
                () => (self.negative, s.argmax_prob - s.log_prob.exp()),
            };
            match self.magnitude {
                Magnitude::Constant => score,
                Magnitude::Probability => score * sure,
            }
        };
        let mut scores: Vec<f32> = stats.iter().zip(response).enumerate().map(score).collect();
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
        match self.paid {
            Paid::Token => scores,
            Paid::End => super::terminal(scores.iter().sum(), response),
        }
    }
}

/// The first token that the reward model would not write; none if it would write them all.
pub fn first_divergence(stats: &[TokenStats], response: &[u32]) -> Option<usize> {
    stats.iter().zip(response).position(|(s, y)| s.argmax != *y)
}
