//! What a sequence reward model reads before it writes.
//!
//! The paper leaves the layout open. By default the model reads `prompt <sep> response <rewrite>`; response first,
//! `response <rewrite> prompt <sep>`, it goes on exactly where a policy would. A *blind* one never sees the response:
//! the placebo that tells whether correcting a response helps, or only knowing a good one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::Codec;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Layout {
    pub order: Order,
    /// Whether the response is left out.
    pub blind: bool,
    /// A shorter response is filled up to so many tokens, so that a word and its rewriting stand equally far apart
    /// whatever the length.
    #[serde(skip_serializing_if = "is_0")]
    pub fill: usize,
}

fn is_0(n: &usize) -> bool {
    *n == 0
}

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    #[default]
    Prompt,
    Response,
}

impl Layout {
    /// The tokens that come before a rewriting of `response`, which may end in the end token or be cut off. `prompt`
    /// ends in the separator.
    pub fn context(self, codec: &Codec, prompt: &[u32], response: &[u32]) -> Vec<u32> {
        let words = if self.blind { &[] } else { response.strip_suffix(&[codec.end]).unwrap_or(response) };
        let rewrite = vec![codec.rewrite; 1 + self.fill.saturating_sub(words.len())];
        match self.order {
            Order::Prompt => [prompt, words, &rewrite].concat(),
            Order::Response => [words, &rewrite, prompt].concat(),
        }
    }
}
