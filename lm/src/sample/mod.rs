//! Sampling from a language model.

mod cache;
mod choice;
mod generate;

pub use choice::Sampling;
pub use generate::Sampled;
