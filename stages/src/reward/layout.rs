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
        match self.order {
            Order::Prompt => [prompt, words, &[codec.rewrite]].concat(),
            Order::Response => [words, &[codec.rewrite], prompt].concat(),
        }
    }
}
