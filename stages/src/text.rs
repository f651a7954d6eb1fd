//! How prompts and responses become tokens: `prompt <sep> response <eos>`.

use std::path::Path;

use lm::{Batch, Model, Tokenizer};

use crate::contract::StageError;

/// Ends a prompt.
pub const SEPARATOR: &str = "<sep>";
/// Ends a response.
pub const END: &str = "<eos>";
/// Between a response and its rewriting, in the sequence reward model's input.
pub const REWRITE: &str = "<rewrite>";
/// The special tokens of every tokenizer that is trained here; `<unk>` is the tokenizer's own.
pub const SPECIALS: [&str; 3] = [SEPARATOR, END, REWRITE];

impl From<lm::Error> for StageError {
    fn from(e: lm::Error) -> Self {
        Self::because("the language model refused", e)
    }
}

/// A tokenizer and the ids of the special tokens.
#[derive(Clone)]
pub struct Codec {
    pub tokenizer: Tokenizer,
    separator: u32,
    pub end: u32,
    /// Asks for a rewriting.
    pub rewrite: u32,
}

impl Codec {
    pub fn new(tokenizer: Tokenizer) -> Result<Self, StageError> {
        let id = |token| {
            tokenizer.id(token).ok_or_else(|| {
                StageError::new(format!("the tokenizer has no `{token}` token")).hint(
                    "train the model with stage kind `sft`, or add the special tokens to its tokenizer.json",
                )
            })
        };
        let (separator, end, rewrite) = (id(SEPARATOR)?, id(END)?, id(REWRITE)?);
        Ok(Self { tokenizer, separator, end, rewrite })
    }

    /// Reads `tokenizer.json` of a model's folder.
    pub fn load(model: &Path) -> Result<Self, StageError> {
        Self::new(Tokenizer::load(model.join("tokenizer.json"))?)
    }

    /// The words of a prompt and the separator: what a policy continues.
    pub fn prompt(&self, text: &str) -> Result<Vec<u32>, StageError> {
        let mut tokens = self.tokenizer.encode(text)?;
        tokens.push(self.separator);
        Ok(tokens)
    }

    /// The words of a response and the end token.
    pub fn response(&self, text: &str) -> Result<Vec<u32>, StageError> {
        let mut tokens = self.tokenizer.encode(text)?;
        tokens.push(self.end);
        Ok(tokens)
    }

    /// The text of sampled tokens, up to the end token.
    pub fn text(&self, response: &[u32]) -> Result<String, StageError> {
        let end = response.iter().position(|&t| t == self.end).unwrap_or(response.len());
        Ok(self.tokenizer.decode(&response[..end])?)
    }
}

/// A language model with its tokenizer: what an artifact of type `model` holds.
pub struct Policy {
    pub model: Model,
    pub codec: Codec,
}

impl Policy {
    pub fn load(dir: &Path) -> Result<Self, StageError> {
        Ok(Self { model: Model::load(dir)?, codec: Codec::load(dir)? })
    }
}

/// Saves a model in Hugging Face layout, with its tokenizer.
pub fn save(model: &Model, codec: &Codec, dir: &Path) -> Result<(), StageError> {
    model.save(dir)?;
    Ok(codec.tokenizer.save(dir.join("tokenizer.json"))?)
}

/// Appends `context` and `response` to a batch; the rows are the states that emit the response's tokens.
pub fn push_response(batch: &mut Batch, context: &[u32], response: &[u32]) {
    let tokens = [context, response].concat();
    batch.push(&tokens, context.len() - 1..tokens.len() - 1);
}

/// Splits values of the rows of a batch into one slice for each of its responses.
pub fn per_response<T: Copy>(mut rows: &[T], lengths: impl IntoIterator<Item = usize>) -> Vec<Vec<T>> {
    let mut take = |n| {
        let (head, tail) = rows.split_at(n);
        rows = tail;
        head.to_vec()
    };
    lengths.into_iter().map(&mut take).collect()
}
