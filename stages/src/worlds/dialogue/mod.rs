//! Dialogue: carry out an instruction of one or two steps on a short list.
//!
//! `please find then sort given fig red corn pink egg blue ham red for egg fig` gives four pairs and a list.
//! `copy` repeats the list, `sort` puts it into alphabetical order, `find` looks each word up in the pairs,
//! `count` says how many different words there are. Here `find` makes `blue red` of the list, `sort` leaves
//! it so, and `blue red`, `sure blue red` and `gladly blue red` are equally good responses.
//!
//! Out of distribution: two-step instructions that training never shows, and longer pairs and lists.

mod demonstrate;
mod draw;
mod task;

use rand_chacha::ChaCha8Rng;

pub use task::{OPENINGS, Operation, Task};

use super::{World, words};

/// See the [module](self).
pub struct Dialogue;

impl World for Dialogue {
    fn name(&self) -> &'static str {
        "dialogue"
    }

    fn about(&self) -> &'static str {
        "copy, sort, look up or count the words of a list, in one step or two"
    }

    fn draw(&self, out_of_distribution: bool, rng: &mut ChaCha8Rng) -> Vec<String> {
        let task = if out_of_distribution { draw::unusual(rng) } else { draw::usual(rng) };
        vec![task.to_string()]
    }

    fn demonstrate(&self, prompt: &str, m: usize, rng: &mut ChaCha8Rng) -> Option<String> {
        Some(demonstrate::demonstrate(&Task::parse(prompt)?, m, rng).join(" "))
    }

    fn default_m(&self) -> usize {
        3
    }

    fn lexicon(&self) -> Vec<String> {
        words::lexicon(task::lexicon())
    }

    fn max_response_words(&self) -> usize {
        1 + task::LONGEST_LIST
    }
}
