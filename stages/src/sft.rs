//! Supervised fine-tuning: a policy that imitates demonstrations.

use lm::{Batch, Config, Family, Head, Model, Tokenizer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    check::in_range,
    contract::{Context, Input, Output, ParamError, Stage, StageError},
    dataset::{self, Demonstration, Measurement},
    text::{self, Codec, Policy},
    training::{self, Loss, Task, Training, mean_nll},
};

pub struct Sft;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// What the report calls this policy.
    pub arm: String,
    /// The size of a model that starts from scratch; not used with an `init`.
    pub model: Size,
    /// The tokenizer that is trained on the demonstrations; not used with an `init`.
    pub tokenizer: Tokens,
    pub training: Training,
    /// Demonstrations kept out of training to measure the loss.
    pub held_out: usize,
}

/// The shape of a decoder.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Size {
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    /// Key-value heads (grouped-query attention); divides `heads`.
    pub kv_heads: usize,
    /// Width of the feed-forward layers.
    pub feed_forward: usize,
    /// Longest sequence, in tokens.
    pub context: usize,
}

/// How text is split into tokens.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tokens {
    /// Words between white space.
    WordLevel,
    /// Byte-pair encoding with a vocabulary of this size.
    Bpe(usize),
}

impl Default for Size {
    fn default() -> Self {
        Self { width: 64, layers: 3, heads: 4, kv_heads: 2, feed_forward: 176, context: 128 }
    }
}

impl Default for Params {
    fn default() -> Self {
        Self {
            arm: "sft".into(),
            model: Size::default(),
            tokenizer: Tokens::WordLevel,
            training: Training::default(),
            held_out: 256,
        }
    }
}

impl Size {
    fn config(&self, vocab_size: usize) -> Config {
        Config {
            family: Family::Llama,
            vocab_size,
            hidden_size: self.width,
            intermediate_size: self.feed_forward,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: self.kv_heads,
            head_dim: self.width / self.heads,
            rope_theta: 10_000.0,
            rope_scaling: None,
            rms_norm_eps: 1e-5,
            tie_word_embeddings: true,
            max_position_embeddings: self.context,
        }
    }

    fn check(&self) -> Result<(), ParamError> {
        in_range("model.heads", self.heads, 1, self.width)?;
        let config = self.config(text::SPECIALS.len() + 1);
        config.validate().map_err(|e| ParamError::new("model", e.to_string()))
    }
}

impl Stage for Sft {
    const KIND: &'static str = "sft";
    const ABOUT: &'static str = "Trains a policy to imitate demonstrations.";
    const INPUTS: &'static [Input] = &[
        Input::one("demonstrations", "demonstrations", "prompts and responses to imitate"),
        Input::optional("init", "model", "a model to start from instead of random weights"),
    ];
    const OUTPUTS: &'static [Output] = &[
        Output::new("model", "model", "the policy, in Hugging Face layout"),
        Output::new(
            "curve",
            "curves",
            "the training loss by step, and the held-out loss where it may stop early",
        ),
        Output::new("evaluation", "measurements", "the loss on held-out demonstrations"),
    ];
    type Params = Params;

    fn check(params: &Params) -> Result<(), ParamError> {
        params.training.check()?;
        in_range("held_out", params.held_out, 1, 1_000_000)?;
        if let Tokens::Bpe(tokens) = params.tokenizer {
            // All bytes, and what has a meaning of its own.
            in_range("tokenizer.bpe", tokens, 256 + text::SPECIALS.len(), 1 << 20)?;
        }
        params.model.check()
    }

    fn run(params: Params, ctx: &Context) -> Result<(), StageError> {
        let demonstrations: Vec<Demonstration> = dataset::read(ctx.input("demonstrations"))?;
        if demonstrations.len() <= params.held_out {
            let message = format!(
                "{} demonstrations leave none to train on after {} are held out",
                demonstrations.len(),
                params.held_out
            );
            return Err(StageError::new(message).hint("make more demonstrations, or lower `held_out`"));
        }
        let Policy { model, codec } = match ctx.optional("init") {
            Some(dir) => Policy::load(dir)?,
            None => from_scratch(&params, &demonstrations, ctx.seed("weights"))?,
        };
        let (held_out, train) = demonstrations.split_at(params.held_out);
        let (model, curve) =
            training::train(ctx, &params.arm, model, &params.training, &Imitation::new(&codec, train)?)?;
        let value = Imitation::new(&codec, held_out)?.mean_loss(&model)?;
        text::save(&model, &codec, &ctx.output("model"))?;
        dataset::write(&ctx.output("curve"), &curve)?;
        let measurement = Measurement {
            arm: params.arm,
            split: "in".into(),
            item: 0,
            metric: "held_out_loss".into(),
            value,
        };
        Ok(dataset::write(&ctx.output("evaluation"), &[measurement])?)
    }
}

fn from_scratch(params: &Params, rows: &[Demonstration], seed: u64) -> Result<Policy, StageError> {
    let texts = rows.iter().flat_map(|d| [d.prompt.as_str(), d.response.as_str()]);
    let tokenizer = match params.tokenizer {
        Tokens::WordLevel => Tokenizer::word_level(texts, &text::SPECIALS)?,
        Tokens::Bpe(vocabulary) => Tokenizer::bpe(texts, vocabulary, &text::SPECIALS)?,
    };
    let config = params.model.config(tokenizer.vocab_size());
    Ok(Policy { model: Model::new(config, Head::Lm, seed)?, codec: Codec::new(tokenizer)? })
}

/// Next-token prediction on the tokens of the responses.
struct Imitation(Vec<(Vec<u32>, Vec<u32>)>);

impl Imitation {
    fn new(codec: &Codec, rows: &[Demonstration]) -> Result<Self, StageError> {
        let tokens = |d: &Demonstration| Ok((codec.prompt(&d.prompt)?, codec.response(&d.response)?));
        rows.iter().map(tokens).collect::<Result<_, _>>().map(Self)
    }

    /// Negative log-likelihood of a token of the responses (nats).
    fn mean_loss(&self, model: &Model) -> Result<f32, StageError> {
        let all: Vec<usize> = (0..self.0.len()).collect();
        Ok(mean_nll(&model.log_probs(&self.batch(&all))?).0)
    }
}

impl Task for Imitation {
    fn examples(&self) -> usize {
        self.0.len()
    }

    fn batch(&self, examples: &[usize]) -> Batch {
        let mut batch = Batch::new();
        for &i in examples {
            text::push_response(&mut batch, &self.0[i].0, &self.0[i].1);
        }
        batch
    }

    fn loss(&self, _: &[usize], log_probs: &[f32]) -> Loss {
        mean_nll(log_probs)
    }
}
