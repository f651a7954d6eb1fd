//! The shape of a decoder, with the names and defaults of Hugging Face's `config.json`.

use crate::error::{Error, Result};
use crate::ops::Gate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The shape of a decoder. Unknown keys are tolerated when it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "HuggingFace")]
pub struct Config {
    #[serde(rename = "model_type")]
    pub family: Family,
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
    pub rope_scaling: Option<RopeScaling>,
    pub rms_norm_eps: f32,
    /// Whether the language-model head is the embedding matrix itself.
    pub tie_word_embeddings: bool,
    /// The longest sequence, in tokens.
    pub max_position_embeddings: usize,
}

/// What models of one name have in common beyond sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// A gate of SiLU (Touvron et al., 2023).
    #[default]
    Llama,
    /// A gate of GELU; embeddings times the root of their width; the gains of norms are kept on disk less one
    /// (Gemma Team, 2024; the first generation).
    Gemma,
}

/// How the angles of rotary positions are stretched for texts longer than those of the first training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rope_type", rename_all = "snake_case")]
pub enum RopeScaling {
    /// All by the same factor (Chen et al., 2023).
    Linear { factor: f32 },
    /// By the factor where a wave is longer than the first training's texts over `low_freq_factor`, not at all where
    /// it is shorter than these over `high_freq_factor`, and in between by something between (Llama 3.1).
    Llama3 {
        factor: f32,
        low_freq_factor: f32,
        high_freq_factor: f32,
        original_max_position_embeddings: usize,
    },
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
    #[serde(default, rename = "model_type")]
    family: Family,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    rope_theta: Option<f32>,
    rope_scaling: Option<RopeParameters>,
    rope_parameters: Option<RopeParameters>,
    rms_norm_eps: Option<f32>,
    tie_word_embeddings: Option<bool>,
    max_position_embeddings: Option<usize>,
}

/// Older files have it as `rope_scaling`, newer ones as `rope_parameters`, with the base in it.
#[derive(Deserialize)]
struct RopeParameters {
    rope_theta: Option<f32>,
    #[serde(alias = "type")]
    rope_type: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl RopeParameters {
    fn scaling(self) -> serde_json::Result<Option<RopeScaling>> {
        let Some(kind) = self.rope_type.filter(|kind| kind != "default") else { return Ok(None) };
        let mut scaling = self.rest;
        scaling.insert("rope_type".into(), kind.into());
        serde_json::from_value(scaling.into())
    }
}

impl TryFrom<HuggingFace> for Config {
    type Error = serde_json::Error;

    fn try_from(c: HuggingFace) -> serde_json::Result<Config> {
        let rope = c.rope_parameters.or(c.rope_scaling);
        let gemma = c.family == Family::Gemma;
        let default = |of_gemma: usize, of_llama: usize| if gemma { of_gemma } else { of_llama };
        let head_dim = default(256, c.hidden_size / c.num_attention_heads.max(1));
        let rope_theta = c.rope_theta.or(rope.as_ref().and_then(|r| r.rope_theta)).unwrap_or(10_000.0);
        Ok(Config {
            family: c.family,
            vocab_size: c.vocab_size,
            hidden_size: c.hidden_size,
            intermediate_size: c.intermediate_size,
            num_hidden_layers: c.num_hidden_layers,
            num_attention_heads: c.num_attention_heads,
            num_key_value_heads: c.num_key_value_heads.unwrap_or(c.num_attention_heads),
            head_dim: c.head_dim.unwrap_or(head_dim),
            rope_theta,
            rope_scaling: rope.map(RopeParameters::scaling).transpose()?.flatten(),
            rms_norm_eps: c.rms_norm_eps.unwrap_or(1e-6),
            tie_word_embeddings: c.tie_word_embeddings.unwrap_or(gemma),
            max_position_embeddings: c.max_position_embeddings.unwrap_or(default(8192, 2048)),
        })
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
        if let Some(scaling) = &self.rope_scaling {
            let (factors, fits) = match *scaling {
                RopeScaling::Linear { factor } => (vec![factor], true),
                RopeScaling::Llama3 { factor, low_freq_factor: low, high_freq_factor: high, .. } => {
                    (vec![factor, low, high], low < high)
                }
            };
            let fits = fits && factors.iter().all(|f| positive(*f));
            check(fits, "rope_scaling", format!("{scaling:?}"), || {
                "factors above 0, `low_freq_factor` below `high_freq_factor`".into()
            })?;
        }
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

    /// What embeddings are multiplied by before the first layer.
    pub(crate) fn embedding_scale(&self) -> f32 {
        match self.family {
            Family::Llama => 1.0,
            Family::Gemma => (self.hidden_size as f32).sqrt(),
        }
    }

    pub(crate) fn gate(&self) -> Gate {
        match self.family {
            Family::Llama => Gate::Silu,
            Family::Gemma => Gate::Gelu,
        }
    }

    /// Width of one row of queries, keys and values side by side.
    pub(crate) fn qkv_width(&self) -> usize {
        (self.num_attention_heads + 2 * self.num_key_value_heads) * self.head_dim
    }
}

#[cfg(test)]
impl Config {
    /// For tests: grouped queries, an odd width, and heads that do not add up to it.
    pub(crate) fn small() -> Config {
        Config {
            family: Family::Llama,
            vocab_size: 23,
            hidden_size: 15,
            intermediate_size: 21,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 6,
            rope_theta: 10_000.0,
            rope_scaling: None,
            rms_norm_eps: 1e-5,
            tie_word_embeddings: false,
            max_position_embeddings: 64,
        }
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
