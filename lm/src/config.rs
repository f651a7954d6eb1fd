//! The shape of a decoder, with the names and defaults of Hugging Face's Llama `config.json`.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The shape of a decoder (Llama family). Unknown keys are tolerated when it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "HuggingFace")]
pub struct Config {
    pub vocab_size: usize,
    pub hidden_size: usize,
    /// Width of the feed-forward network between its two projections.
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    /// Heads of keys and values; each serves `num_attention_heads / num_key_value_heads` query heads.
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub rope_theta: f32,
    pub rms_norm_eps: f32,
    /// Whether the language-model head is the embedding matrix itself.
    pub tie_word_embeddings: bool,
    /// The longest sequence, in tokens.
    pub max_position_embeddings: usize,
}

/// What turns the last hidden states into outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// Logits over the vocabulary.
    Lm,
    /// One number for each position: a reward or a value.
    Scalar,
}

impl Head {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Head::Lm => "language-model",
            Head::Scalar => "scalar",
        }
    }
}

/// `config.json` as it comes: what Hugging Face lets a file leave out has their default here.
#[derive(Deserialize)]
struct HuggingFace {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    rope_theta: Option<f32>,
    rope_parameters: Option<RopeParameters>,
    rms_norm_eps: Option<f32>,
    #[serde(default)]
    tie_word_embeddings: bool,
    max_position_embeddings: Option<usize>,
}

/// Where newer files keep `rope_theta`.
#[derive(Deserialize)]
struct RopeParameters {
    rope_theta: Option<f32>,
}

impl From<HuggingFace> for Config {
    fn from(c: HuggingFace) -> Config {
        let nested_theta = c.rope_parameters.and_then(|r| r.rope_theta);
        Config {
            vocab_size: c.vocab_size,
            hidden_size: c.hidden_size,
            intermediate_size: c.intermediate_size,
            num_hidden_layers: c.num_hidden_layers,
            num_attention_heads: c.num_attention_heads,
            num_key_value_heads: c.num_key_value_heads.unwrap_or(c.num_attention_heads),
            head_dim: c.head_dim.unwrap_or(c.hidden_size / c.num_attention_heads.max(1)),
            rope_theta: c.rope_theta.or(nested_theta).unwrap_or(10_000.0),
            rms_norm_eps: c.rms_norm_eps.unwrap_or(1e-6),
            tie_word_embeddings: c.tie_word_embeddings,
            max_position_embeddings: c.max_position_embeddings.unwrap_or(2048),
        }
    }
}

impl Config {
    /// Sizes are bounded, so that a damaged file ends in a message and not in an allocation that kills.
    pub fn validate(&self) -> Result<()> {
        let size = |field, found: usize, most: usize| {
            let fits = (1..=most).contains(&found);
            check(fits, field, found, || format!("1 to {most}"))
        };
        size("vocab_size", self.vocab_size, 1 << 20)?;
        size("hidden_size", self.hidden_size, 1 << 14)?;
        size("intermediate_size", self.intermediate_size, 1 << 17)?;
        size("num_hidden_layers", self.num_hidden_layers, 256)?;
        size("num_attention_heads", self.num_attention_heads, 1 << 10)?;
        size("num_key_value_heads", self.num_key_value_heads, self.num_attention_heads)?;
        size("head_dim", self.head_dim, 1 << 10)?;
        size("max_position_embeddings", self.max_position_embeddings, 1 << 18)?;
        check(self.head_dim.is_multiple_of(2), "head_dim", self.head_dim, || {
            "an even number (rotary embeddings turn pairs)".into()
        })?;
        check(
            self.num_attention_heads.is_multiple_of(self.num_key_value_heads),
            "num_key_value_heads",
            self.num_key_value_heads,
            || format!("a divisor of num_attention_heads = {}", self.num_attention_heads),
        )?;
        let positive = |x: f32| x.is_finite() && x > 0.0;
        check(positive(self.rope_theta), "rope_theta", self.rope_theta, || "a number above 0".into())?;
        check(positive(self.rms_norm_eps), "rms_norm_eps", self.rms_norm_eps, || "a number above 0".into())?;
        let parameters = self.parameter_count(Head::Lm);
        check(parameters <= 1 << 32, "hidden_size", self.hidden_size, || {
            format!("a model of at most {} parameters, not {parameters}", 1u64 << 32)
        })
    }

    /// Number of trained parameters.
    pub fn parameter_count(&self, head: Head) -> usize {
        let c = self;
        let attention = c.hidden_size * (self.qkv_width() + c.num_attention_heads * c.head_dim);
        let layer = attention + 3 * c.hidden_size * c.intermediate_size + 2 * c.hidden_size;
        let embedding = c.vocab_size * c.hidden_size;
        let head = match head {
            Head::Lm if c.tie_word_embeddings => 0,
            Head::Lm => embedding,
            Head::Scalar => c.hidden_size + 1,
        };
        embedding + c.num_hidden_layers * layer + c.hidden_size + head
    }

    /// Width of one row of queries, keys and values side by side.
    pub(crate) fn qkv_width(&self) -> usize {
        (self.num_attention_heads + 2 * self.num_key_value_heads) * self.head_dim
    }
}

fn check(
    holds: bool,
    field: &'static str,
    found: impl ToString,
    expected: impl FnOnce() -> String,
) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Config { field, found: found.to_string(), expected: expected() }) }
}
