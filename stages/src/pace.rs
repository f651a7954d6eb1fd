//! How fast a stage works through tokens: shown beside its progress, never part of a result.

use std::time::Instant;

pub struct Pace {
    since: Instant,
    tokens: usize,
}

impl Pace {
    pub fn start() -> Self {
        Self { since: Instant::now(), tokens: 0 }
    }

    pub fn add(&mut self, tokens: usize) {
        self.tokens += tokens;
    }

    /// Tokens per second since this was asked before.
    pub fn figure(&mut self) -> (&'static str, f32) {
        let seconds = self.since.elapsed().as_secs_f32().max(1e-3);
        let Self { tokens, .. } = std::mem::replace(self, Self::start());
        ("tokens/s", tokens as f32 / seconds)
    }
}
