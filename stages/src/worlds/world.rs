//! What every world has in common.

use std::{collections::BTreeSet, fmt};

use rand_chacha::ChaCha8Rng;

use super::words::held_out;

/// Where a prompt comes from. The splits share no prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Split {
    /// The training distribution.
    Train,
    /// The training distribution, but prompts that training never draws.
    In,
    /// Out of distribution: combinations, lengths or forms that training never shows. Each word of such a
    /// prompt is a word of training prompts too.
    Out,
}

impl Split {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A task whose prompts and responses are words of a closed lexicon, joined by single spaces.
///
/// A prompt says all that there is to know about itself: the demonstrator and the oracle read its text and
/// nothing else.
pub trait World: Sync {
    fn name(&self) -> &'static str;

    /// One sentence for people.
    fn about(&self) -> &'static str;

    /// A prompt of the training distribution, or of the other one; or several that belong together, such as
    /// the two of a minimal pair.
    fn draw(&self, out_of_distribution: bool, rng: &mut ChaCha8Rng) -> Vec<String>;

    /// What a demonstrator answers, who makes both random errors and systematic ones: errors that are more
    /// frequent than the right answer where they occur, so that copying the demonstrator's most frequent
    /// answer is not enough. `m` is how many equally good phrasings and orders it uses, at least 1.
    /// `None` if the prompt is not of this world.
    fn demonstrate(&self, prompt: &str, m: usize, rng: &mut ChaCha8Rng) -> Option<String>;

    /// The `m` that is used where nothing else is asked for.
    fn default_m(&self) -> usize;

    /// Every word of prompts and responses, sorted.
    fn lexicon(&self) -> Vec<String>;

    /// No demonstration is longer, in words.
    fn max_response_words(&self) -> usize;

    /// `count` different prompts of one split.
    ///
    /// A prompt of the training distribution belongs to [`Split::In`] if its hash says so (one of eight) and
    /// else to [`Split::Train`], so that no seed can mix the two. The worlds have far more prompts than
    /// anyone asks for: drawing ends.
    fn prompts(&self, split: Split, count: usize, rng: &mut ChaCha8Rng) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let mut prompts = Vec::with_capacity(count);
        while prompts.len() < count {
            for prompt in self.draw(split == Split::Out, rng) {
                let belongs = match split {
                    Split::Train => !held_out(&prompt, 8),
                    Split::In => held_out(&prompt, 8),
                    Split::Out => true,
                };
                if belongs && prompts.len() < count && seen.insert(prompt.clone()) {
                    prompts.push(prompt);
                }
            }
        }
        prompts
    }
}
