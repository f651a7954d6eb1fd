//! What a response is really worth: the gold that no training sees.
//!
//! Only the annotator, the preferences it makes, the judge and the reward of the gold ceiling may import this
//! module. An oracle is a pure function of two texts. It accepts any text: what it cannot read in a response
//! counts as wrong words.

mod dialogue;
mod safety;
mod summary;
mod verdict;

pub use verdict::Verdict;

/// Scores responses to the prompts of one world.
pub trait Oracle: Sync {
    /// Judges a response. A prompt that is not of this world makes every word wrong and is worth 0.
    fn score(&self, prompt: &str, response: &str) -> Verdict;
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
