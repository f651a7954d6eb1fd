//! Where tasks come from.

use rand::{
    Rng,
    seq::{IndexedRandom, index},
};
use rand_chacha::ChaCha8Rng;

use super::task::{
    COLOURS, ITEMS, LONGEST_LIST,
    Operation::{self, Copy, Count, Find, Sort},
    POLITE, Task,
};
use crate::worlds::words::any;

/// The instructions of training. Each step of [`UNSEEN`] is among them, in first and in second place.
const SEEN: [&[Operation]; 11] = [
    &[Copy],
    &[Sort],
    &[Find],
    &[Count],
    &[Copy, Sort],
    &[Copy, Find],
    &[Copy, Count],
    &[Sort, Copy],
    &[Sort, Count],
    &[Find, Copy],
    &[Find, Sort],
];

/// Two-step instructions that training never shows.
const UNSEEN: [&[Operation]; 2] = [&[Sort, Find], &[Find, Count]];

/// A task of the training distribution.
pub fn usual(rng: &mut ChaCha8Rng) -> Task {
    let length = rng.random_range(2..=3);
    task(&SEEN, 4, length, rng)
}

/// An unseen instruction, or a seen one on more pairs and a longer list.
pub fn unusual(rng: &mut ChaCha8Rng) -> Task {
    if rng.random() {
        let length = rng.random_range(2..=3);
        task(&UNSEEN, 4, length, rng)
    } else {
        task(&SEEN, 5, LONGEST_LIST, rng)
    }
}

fn task(instructions: &[&[Operation]], pairs: usize, length: usize, rng: &mut ChaCha8Rng) -> Task {
    let steps = instructions.choose(rng).map_or(vec![Copy], |steps| steps.to_vec());
    let counts = steps.last() == Some(&Count);
    let items = index::sample(rng, ITEMS.len(), pairs);
    // There is nothing to count where all words differ.
    let colours =
        if counts { index::sample(rng, COLOURS.len(), 2).into_vec() } else { (0..COLOURS.len()).collect() };
    let pairs: Vec<_> =
        items.iter().map(|i| (ITEMS[i], COLOURS[colours.choose(rng).copied().unwrap_or_default()])).collect();
    let list = if counts && steps[0] != Find {
        (0..length).filter_map(|_| pairs.choose(rng)).map(|(item, _)| *item).collect()
    } else {
        index::sample(rng, pairs.len(), length).iter().map(|i| pairs[i].0).collect()
    };
    let polite = rng.random_bool(0.5).then(|| any(&POLITE, rng));
    Task { polite, steps, pairs, list }
}
