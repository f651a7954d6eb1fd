//! Sampling from a language model.

mod cache;
mod choice;
#[cfg(any(test, feature = "cuda"))]
pub(crate) mod device;
pub(crate) mod generate;
mod streams;

pub use choice::Sampling;
pub use streams::Sampled;
