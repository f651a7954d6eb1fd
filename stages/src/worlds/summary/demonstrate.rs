//! The summary demonstrator and its errors.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{
    document::{Document, Fact},
    draw_fact,
};
use crate::worlds::words::arranged;

/// No demonstration has more facts.
pub const MOST_FACTS: usize = 6;

/// Systematic errors: the last salient fact is left out (55 %), and a document that begins with an irrelevant
/// fact has that fact in its summary (60 %). Random errors: other facts left out or put in, wrong values,
/// facts said twice.
pub fn demonstrate(document: &Document, m: usize, rng: &mut ChaCha8Rng) -> Vec<Fact> {
    let last = document.facts.iter().rposition(|fact| document.is_salient(fact));
    let only = document.salient().count() == 1;
    let mut facts = Vec::new();
    for (i, fact) in document.facts.iter().enumerate() {
        let kept = match document.is_salient(fact) {
            true if Some(i) == last && !only => 0.45,
            true => 0.90,
            false if i == 0 => 0.60,
            false => 0.06,
        };
        if !rng.random_bool(kept) {
            continue;
        }
        let told = if rng.random_bool(0.04) { draw_fact(fact.entity, false, rng) } else { *fact };
        facts.extend(std::iter::repeat_n(told, if rng.random_bool(0.10) { 2 } else { 1 }));
    }
    facts.truncate(MOST_FACTS);
    arranged(facts, m, rng)
}
