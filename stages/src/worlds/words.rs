//! Helpers on words that the worlds share.

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use crate::contract::derive_seed;

/// The lexicon's own copy of a word, if the lexicon has it.
pub fn known(lexicon: &[&'static str], word: &str) -> Option<&'static str> {
    lexicon.iter().copied().find(|w| *w == word)
}

/// Whether a text is one of the about 1 in `share` that training never sees: a property of the text alone.
pub fn held_out(text: &str, share: u64) -> bool {
    derive_seed(0, text).is_multiple_of(share)
}

/// One of a lexicon's words.
pub fn any(lexicon: &[&'static str], rng: &mut ChaCha8Rng) -> &'static str {
    lexicon.choose(rng).copied().unwrap_or_default()
}

/// The words in one of the `m` first of their lexicographically numbered orders: as they stand for `m` = 1,
/// any order once `m` reaches n!.
pub fn arranged<T>(mut words: Vec<T>, m: usize, rng: &mut ChaCha8Rng) -> Vec<T> {
    let orders = (1..=words.len()).fold(1_usize, usize::saturating_mul);
    let mut rank = rng.random_range(0..m.clamp(1, orders));
    let mut block = orders;
    for i in 0..words.len() {
        block /= words.len() - i;
        let pick = rank / block.max(1);
        rank %= block.max(1);
        words[i..=i + pick].rotate_right(1);
    }
    words
}

/// The words of several lists, sorted.
pub fn lexicon<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut all: Vec<String> = words.into_iter().map(str::to_owned).collect();
    all.sort();
    all
}
