//! Text to token ids and back, in Hugging Face's `tokenizer.json`.

use crate::error::{Error, Result};
use crate::files::write_atomically;
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer as HuggingFace};

/// A tokenizer without padding or truncation.
#[derive(Clone)]
pub struct Tokenizer {
    inner: HuggingFace,
}

/// What words outside of the vocabulary become.
const UNKNOWN: &str = "<unk>";

impl Tokenizer {
    /// One token for each word between white space. Ids: `specials` in their order (then `<unk>` if it is not
    /// among them), then the words of `texts` in alphabetical order.
    pub fn word_level<'a>(texts: impl IntoIterator<Item = &'a str>, specials: &[&str]) -> Result<Tokenizer> {
        let words: BTreeSet<&str> = texts.into_iter().flat_map(str::split_whitespace).collect();
        let mut vocabulary: Vec<&str> = vec![];
        for special in specials.iter().copied().chain([UNKNOWN]) {
            if !vocabulary.contains(&special) {
                vocabulary.push(special);
            }
        }
        let added: Vec<_> = vocabulary.iter().enumerate().map(|(id, word)| added_token(id, word)).collect();
        let known: BTreeSet<&str> = vocabulary.iter().copied().collect();
        vocabulary.extend(words.difference(&known));
        let ids: serde_json::Map<_, _> =
            vocabulary.iter().enumerate().map(|(id, word)| (word.to_string(), json!(id))).collect();
        let file = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": null,
            "pre_tokenizer": { "type": "WhitespaceSplit" },
            "post_processor": null,
            "decoder": null,
            "model": { "type": "WordLevel", "vocab": ids, "unk_token": UNKNOWN },
        });
        Ok(Tokenizer { inner: HuggingFace::from_bytes(file.to_string()).map_err(failed)? })
    }

    /// Byte-level byte-pair encoding (Sennrich et al., 2016) with at most `vocab_size` tokens: `specials` first,
    /// then the 256 bytes, then merges. Any text survives encoding and decoding.
    pub fn bpe<'a>(
        texts: impl IntoIterator<Item = &'a str>,
        vocab_size: usize,
        specials: &[&str],
    ) -> Result<Tokenizer> {
        let least = specials.len() + 256;
        if vocab_size < least {
            return Err(Error::Tokenizer(format!(
                "vocab_size is {vocab_size}, expected at least {least}: the special tokens and 256 bytes"
            )));
        }
        let mut trainer: TrainerWrapper = BpeTrainerBuilder::new()
            .vocab_size(vocab_size)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(specials.iter().map(|s| AddedToken::from(*s, true)).collect())
            .build()
            .into();
        let mut inner = HuggingFace::new(BPE::default());
        let byte_level = ByteLevel::new(false, true, true);
        inner.with_pre_tokenizer(Some(byte_level)).with_decoder(Some(byte_level));
        // One at a time: the crate would spread work over threads of its own.
        let texts: Vec<&str> = texts.into_iter().collect();
        inner.train(&mut trainer, texts.into_iter()).map_err(failed)?;
        Ok(Tokenizer { inner })
    }

    /// Reads `tokenizer.json`; padding and truncation that it may ask for are dropped.
    pub fn load(file: impl AsRef<Path>) -> Result<Tokenizer> {
        let path = file.as_ref();
        let bytes = fs::read(path).map_err(Error::io(path))?;
        let mut inner =
            HuggingFace::from_bytes(bytes).map_err(|e| Error::format(path, e, "a Hugging Face tokenizer"))?;
        inner.with_padding(None).with_truncation(None).map_err(failed)?;
        Ok(Tokenizer { inner })
    }

    /// Writes `tokenizer.json`, whole or not at all.
    pub fn save(&self, file: impl AsRef<Path>) -> Result<()> {
        let text = self.inner.to_string(true).map_err(failed)?;
        write_atomically(file.as_ref(), text.as_bytes())
    }

    /// Token ids, without any special token that is not in the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.inner.encode_fast(text, false).map_err(failed)?.get_ids().to_vec())
    }

    /// The text of the tokens, special ones included. Ids outside of the vocabulary are left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, false).map_err(failed)
    }

    /// The id of a token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Number of tokens, special ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}

fn added_token(id: usize, content: &str) -> serde_json::Value {
    json!({
        "id": id, "content": content, "special": true,
        "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
    })
}

fn failed(error: tokenizers::Error) -> Error {
    Error::Tokenizer(error.to_string())
}
