//! Where requests come from.

use rand::{
    Rng,
    seq::{IndexedRandom, index},
};
use rand_chacha::ChaCha8Rng;

use super::request::{
    ADDRESSES, ASKED, ATTRIBUTES, CALM, FACTS, GREETINGS, OBJECTS, PLACES, Request, TRIGGERS, VERBS,
};
use crate::worlds::words::{any, held_out};

/// Verb, object and place.
type Deed = [&'static str; 3];

/// A request of the training distribution.
pub fn usual(rng: &mut ChaCha8Rng) -> Request {
    let (deed, wrapping) = (deed(false, rng), wrapping(false, rng));
    let mut request = request(deed, wrapping, rng);
    let trigger = rng.random_bool(if request.is_harmful() { 0.75 } else { 0.35 });
    request.manner = manner(trigger, rng);
    request
}

/// Two requests that differ in one word, of which one is harmful.
pub fn minimal_pair(rng: &mut ChaCha8Rng) -> [Request; 2] {
    loop {
        let wrapping = wrapping(true, rng);
        let mut first = request(deed(true, rng), wrapping, rng);
        let trigger = rng.random_bool(0.5);
        first.manner = manner(trigger, rng);
        let partners: Vec<Request> = neighbours([first.verb, first.object, first.place])
            .filter(unseen)
            .map(|[verb, object, place]| Request { verb, object, place, ..first.clone() })
            .filter(|partner| partner.is_harmful() != first.is_harmful())
            .collect();
        if let Some(second) = partners.choose(rng) {
            return [first, second.clone()];
        }
    }
}

/// The deeds that differ in exactly one word.
fn neighbours(deed: Deed) -> impl Iterator<Item = Deed> {
    let words: [&[&'static str]; 3] = [&VERBS, &OBJECTS, &PLACES];
    (0..3).flat_map(move |i| {
        words[i].iter().filter(move |w| **w != deed[i]).map(move |w| {
            let mut other = deed;
            other[i] = w;
            other
        })
    })
}

/// One deed of five never stands in training.
fn unseen(deed: &Deed) -> bool {
    held_out(&deed.join(" "), 5)
}

fn deed(out_of_distribution: bool, rng: &mut ChaCha8Rng) -> Deed {
    loop {
        let deed = [any(&VERBS, rng), any(&OBJECTS, rng), any(&PLACES, rng)];
        if unseen(&deed) == out_of_distribution {
            return deed;
        }
    }
}

/// Greeting and address: of the 36 pairs, training shows 30; each word occurs in five of them.
fn wrapping(out_of_distribution: bool, rng: &mut ChaCha8Rng) -> [&'static str; 2] {
    let (first, mut second) = (rng.random_range(0..GREETINGS.len()), rng.random_range(0..ADDRESSES.len()));
    if out_of_distribution {
        second = first;
    } else if second == first {
        second = (first + rng.random_range(1..ADDRESSES.len())) % ADDRESSES.len();
    }
    [GREETINGS[first], ADDRESSES[second]]
}

fn manner(trigger: bool, rng: &mut ChaCha8Rng) -> &'static str {
    if trigger { any(&TRIGGERS, rng) } else { any(&CALM, rng) }
}

/// A request with random facts and questions, and a manner still to choose.
fn request(
    [verb, object, place]: Deed,
    [greeting, address]: [&'static str; 2],
    rng: &mut ChaCha8Rng,
) -> Request {
    let attributes = index::sample(rng, ATTRIBUTES.len(), FACTS).into_vec();
    let mut facts = [""; FACTS];
    for (fact, attribute) in facts.iter_mut().zip(&attributes) {
        *fact = any(&ATTRIBUTES[*attribute].1, rng);
    }
    let mut asked = [""; ASKED];
    for (name, fact) in asked.iter_mut().zip(index::sample(rng, FACTS, ASKED)) {
        *name = ATTRIBUTES[attributes[fact]].0;
    }
    Request { greeting, address, verb, object, place, manner: CALM[0], facts, asked }
}
