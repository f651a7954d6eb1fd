//! Sampling from a language model.

mod cache;
mod choice;
mod generate;
mod weights;

pub use choice::Sampling;
pub use generate::Sampled;
