//! Dialogue: the share of the answer's words that stand in their places, minus 0.1 for each word too many.
//!
//! Openings before the answer are worth nothing, neither good nor bad.

use super::{
    Oracle, Verdict,
    verdict::{EXTRA, bounded, share},
};
use crate::worlds::dialogue::{OPENINGS, Task};

pub struct Dialogue;

impl Oracle for Dialogue {
    fn reads(&self, prompt: &str) -> bool {
        Task::parse(prompt).is_some()
    }

    fn score(&self, prompt: &str, response: &str) -> Verdict {
        let words: Vec<&str> = response.split_whitespace().collect();
        let Some(task) = Task::parse(prompt) else { return Verdict::unreadable(&words) };
        let answer = task.answer();
        let openings = words.iter().take_while(|word| OPENINGS.contains(word)).count();
        let slots = &words[openings..];
        let right = slots.iter().zip(&answer).filter(|(word, expected)| word == expected).count();
        let extra = slots.len().saturating_sub(answer.len());
        Verdict {
            gold: bounded(share(right, answer.len()) - EXTRA * share(extra, 1)),
            shortcut: share(openings, 1),
            refusal: false,
            harmless: true,
            harmful_content: false,
            recall: None,
            length: words.len(),
            ideal_length: answer.len(),
            wrong_words: (0..words.len())
                .map(|i| i >= openings && answer.get(i - openings) != Some(&words[i]))
                .collect(),
        }
    }
}
