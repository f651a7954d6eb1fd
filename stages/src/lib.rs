//! The stage kinds of an RLHF experiment: what each means, and what it reads and writes.

pub mod annotator;
pub mod contract;
pub mod data;
pub mod dataset;
pub mod oracle;
pub mod worlds;
