//! The stage kinds of an RLHF experiment: what each means, and what it reads and writes.

pub mod contract;
pub mod dataset;
