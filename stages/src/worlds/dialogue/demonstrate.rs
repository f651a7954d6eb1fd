//! The dialogue demonstrator and its errors.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::task::{COLOURS, ITEMS, NUMBERS, OPENINGS, Operation, Task, number};
use crate::worlds::words::any;

/// Systematic errors (55 % each, in the last step): a copy of three words or more loses the last one, a sort
/// leaves the last word in its place, a look-up gives the last word the colour of the first pair, and a count
/// counts all words instead of the different ones. Random errors: the first of two steps forgotten (10 %),
/// wrong words (5 %).
pub fn demonstrate(task: &Task, m: usize, rng: &mut ChaCha8Rng) -> Vec<&'static str> {
    let Some((last, first)) = task.steps.split_last() else { return Vec::new() };
    let forgets = rng.random_bool(0.10);
    let list = first
        .iter()
        .filter(|_| !forgets)
        .fold(task.list.clone(), |list, step| step.apply(&list, &task.pairs));
    let answer =
        if rng.random_bool(0.55) { slip(*last, &list, task) } else { last.apply(&list, &task.pairs) };
    // The first of `m` phrasings has no opening; each of the others has its own.
    let phrasing = rng.random_range(0..m.clamp(1, OPENINGS.len() + 1));
    let mut words: Vec<&'static str> = phrasing.checked_sub(1).map(|i| OPENINGS[i]).into_iter().collect();
    words
        .extend(answer.into_iter().map(|word| if rng.random_bool(0.05) { similar(word, rng) } else { word }));
    words
}

/// What comes out of a step that is carried out carelessly at its end.
fn slip(step: Operation, list: &[&'static str], task: &Task) -> Vec<&'static str> {
    let mut answer = step.apply(list, &task.pairs);
    let end = list.len().saturating_sub(1);
    match step {
        Operation::Copy => answer.truncate(end.max(2)),
        Operation::Sort => {
            answer = step.apply(&list[..end], &task.pairs);
            answer.extend(list.last());
        }
        Operation::Find => {
            answer.truncate(end);
            answer.extend(task.pairs.first().map(|(_, colour)| *colour));
        }
        Operation::Count => answer = number(list.len()).into_iter().collect(),
    }
    answer
}

/// A random word of the same sort.
fn similar(word: &'static str, rng: &mut ChaCha8Rng) -> &'static str {
    let sorts: [&[&'static str]; 3] = [&ITEMS, &COLOURS, &NUMBERS];
    sorts.into_iter().find(|sort| sort.contains(&word)).map_or(word, |sort| any(sort, rng))
}
