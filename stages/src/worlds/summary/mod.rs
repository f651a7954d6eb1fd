//! Summary: list the facts of a document that its topic makes salient.
//!
//! `sport rain heavy tennis late gold rising football mixed train slow` has the topic `sport`, so the facts on
//! sport are salient: `tennis late football mixed`, or the two in the other order. Facts are an entity and a
//! value; each entity belongs to one topic, which only examples tell.
//!
//! Out of distribution: documents of 8 or 9 facts instead of 5 or 6, with 1 or 4 salient ones instead of 2
//! or 3, made of pairs of entity and value that training never shows.

mod demonstrate;
mod document;

use rand::{
    Rng,
    seq::{IndexedRandom, SliceRandom, index},
};
use rand_chacha::ChaCha8Rng;

pub use document::{Document, Fact, TOPICS, VALUES, topic_of};

use super::{World, words::lexicon};
use crate::contract::derive_seed;

/// See the [module](self).
pub struct Summary;

impl World for Summary {
    fn name(&self) -> &'static str {
        "summary"
    }

    fn about(&self) -> &'static str {
        "list the facts that the document's topic makes salient, each once, and no other"
    }

    fn draw(&self, out_of_distribution: bool, rng: &mut ChaCha8Rng) -> Vec<String> {
        let (facts, salient) = if out_of_distribution {
            (rng.random_range(8..=9), if rng.random() { 1 } else { 4 })
        } else {
            (rng.random_range(5..=6), rng.random_range(2..=3))
        };
        vec![document(facts, salient, out_of_distribution, rng).to_string()]
    }

    fn demonstrate(&self, prompt: &str, m: usize, rng: &mut ChaCha8Rng) -> Option<String> {
        let facts = demonstrate::demonstrate(&Document::parse(prompt)?, m, rng);
        Some(facts.iter().map(Fact::to_string).collect::<Vec<_>>().join(" "))
    }

    /// Any order of up to four facts.
    fn default_m(&self) -> usize {
        24
    }

    fn lexicon(&self) -> Vec<String> {
        let topics = TOPICS.iter().flat_map(|(topic, entities)| std::iter::once(*topic).chain(*entities));
        lexicon(topics.chain(VALUES))
    }

    fn max_response_words(&self) -> usize {
        2 * demonstrate::MOST_FACTS
    }
}

/// A document with that many facts, of which `salient` are on its topic, in random order.
fn document(facts: usize, salient: usize, unseen: bool, rng: &mut ChaCha8Rng) -> Document {
    let (topic, on_topic) = TOPICS.choose(rng).copied().unwrap_or(TOPICS[0]);
    let others: Vec<&str> =
        TOPICS.iter().filter(|(name, _)| *name != topic).flat_map(|(_, entities)| *entities).collect();
    let mut entities: Vec<&str> =
        index::sample(rng, on_topic.len(), salient).iter().map(|i| on_topic[i]).collect();
    entities.extend(index::sample(rng, others.len(), facts - salient).iter().map(|i| others[i]));
    entities.shuffle(rng);
    let facts = entities.into_iter().map(|entity| draw_fact(entity, unseen, rng)).collect();
    Document { topic, facts }
}

/// A fact on the entity, of those that training never shows or of the others.
fn draw_fact(entity: &'static str, unseen: bool, rng: &mut ChaCha8Rng) -> Fact {
    loop {
        let value = rng.random_range(0..VALUES.len());
        if is_unseen(entity, value) == unseen {
            return Fact { entity, value: VALUES[value] };
        }
    }
}

/// Whether training never shows the entity with that value: one of eight. Each entity has its own such values,
/// and always some: a hash of the pair would leave an entity without any, for which drawing would never end.
fn is_unseen(entity: &str, value: usize) -> bool {
    (derive_seed(0, entity) % 8 + value as u64).is_multiple_of(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn training_never_shows_an_unseen_fact() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..2000 {
            let document = document(6, 3, false, &mut rng);
            let told = demonstrate::demonstrate(&document, 24, &mut rng);
            for fact in document.facts.iter().chain(&told) {
                let value = VALUES.iter().position(|v| *v == fact.value).unwrap();
                assert!(!is_unseen(fact.entity, value), "{fact}");
            }
        }
    }

    #[test]
    fn every_entity_has_unseen_values_and_every_value_is_seen_on_some_entity() {
        let entities: Vec<&str> = TOPICS.iter().flat_map(|(_, entities)| *entities).collect();
        for entity in &entities {
            assert_eq!(
                (0..VALUES.len()).filter(|v| is_unseen(entity, *v)).count(),
                VALUES.len() / 8,
                "{entity}"
            );
        }
        for (value, word) in VALUES.iter().enumerate() {
            assert!(entities.iter().any(|entity| !is_unseen(entity, value)), "{word}");
        }
    }
}
