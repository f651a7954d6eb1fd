//! What a response is really worth: the gold that no training sees.
//!
//! Only the annotator, the preferences it makes, the reward of the gold ceiling and what measures (the judge, evidence,
//! over-optimization) may import this module. An oracle is a pure function of two texts. It accepts any text: what it
//! cannot read in a response counts as wrong words.

mod dialogue;
mod safety;
mod summary;
mod verdict;

pub use verdict::Verdict;

use crate::contract::StageError;

/// Scores responses to the prompts of one world.
pub trait Oracle: Sync {
    /// Whether a prompt is of this world.
    fn reads(&self, prompt: &str) -> bool;

    /// Judges a response. A prompt that is not of this world makes every word wrong and is worth 0.
    fn score(&self, prompt: &str, response: &str) -> Verdict;
}

/// Refuses prompts of another world, on which every verdict would be an empty one.
///
/// # Errors
/// Names the first.
pub fn check_prompts<'a>(
    oracle: &dyn Oracle,
    world: &str,
    mut prompts: impl Iterator<Item = &'a str>,
) -> Result<(), StageError> {
    match prompts.find(|prompt| !oracle.reads(prompt)) {
        None => Ok(()),
        Some(prompt) => Err(StageError::new(format!("`{prompt}` is no prompt of the world `{world}`"))
            .hint("let `world` name the world that the prompts were made for")),
    }
}

/// The oracle of the world of that name.
pub fn get(world: &str) -> Option<&'static dyn Oracle> {
    match world {
        "safety" => Some(&safety::Safety),
        "dialogue" => Some(&dialogue::Dialogue),
        "summary" => Some(&summary::Summary),
        _ => None,
    }
}
