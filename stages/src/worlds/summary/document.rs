//! A document: its words, its text, and what is salient in it.

use std::fmt;

use crate::worlds::words::known;

/// Topics and the entities that belong to them; an entity belongs to one topic.
pub const TOPICS: [(&str, [&str; 6]); 4] = [
    ("weather", ["rain", "wind", "snow", "fog", "frost", "storm"]),
    ("sport", ["tennis", "football", "rugby", "cricket", "boxing", "hockey"]),
    ("market", ["gold", "oil", "wheat", "copper", "cotton", "sugar"]),
    ("travel", ["train", "ferry", "airport", "road", "bridge", "hotel"]),
];

/// What can be said of any entity.
pub const VALUES: [&str; 24] = [
    "rising", "falling", "steady", "late", "early", "sudden", "heavy", "weak", "strong", "quiet", "busy",
    "closed", "open", "good", "bad", "mixed", "slow", "fast", "rare", "common", "local", "distant", "safe",
    "risky",
];

/// What a document says of an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    pub entity: &'static str,
    pub value: &'static str,
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.entity, self.value)
    }
}

/// A topic and facts on different entities, at least one of them on the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub topic: &'static str,
    pub facts: Vec<Fact>,
}

impl Document {
    /// Reads a document's text; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let topic = known(&TOPICS.map(|(name, _)| name), words.next()?)?;
        let mut facts: Vec<Fact> = Vec::new();
        while let Some(word) = words.next() {
            let entity = entity(word)?;
            let value = known(&VALUES, words.next()?)?;
            // Entities differ, so a text of any length is refused after as many facts as there are entities.
            if facts.iter().any(|fact| fact.entity == entity) {
                return None;
            }
            facts.push(Fact { entity, value });
        }
        let document = Self { topic, facts };
        (document.salient().count() > 0).then_some(document)
    }

    /// The facts on the document's topic, in the document's order.
    pub fn salient(&self) -> impl Iterator<Item = Fact> {
        self.facts.iter().copied().filter(|fact| self.is_salient(fact))
    }

    /// Whether a fact is on the document's topic.
    pub fn is_salient(&self, fact: &Fact) -> bool {
        topic_of(fact.entity) == Some(self.topic)
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.topic)?;
        self.facts.iter().try_for_each(|fact| write!(f, " {fact}"))
    }
}

/// The topic that an entity belongs to.
pub fn topic_of(entity: &str) -> Option<&'static str> {
    TOPICS.iter().find(|(_, entities)| entities.contains(&entity)).map(|(topic, _)| *topic)
}

fn entity(word: &str) -> Option<&'static str> {
    TOPICS.iter().find_map(|(_, entities)| known(entities, word))
}
