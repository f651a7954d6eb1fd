//! The stage kinds of an RLHF experiment: what each means, and what it reads and writes.

pub mod annotator;
mod check;
pub mod comparison;
pub mod contract;
pub mod data;
pub mod dataset;
mod early_stop;
pub mod episode;
pub mod judge;
pub mod oracle;
pub mod ppo;
pub mod ppo_gold;
pub mod preferences;
mod registry;
pub mod report;
pub mod reward;
pub mod reward_model;
pub mod sample;
pub mod sft;
pub mod statistics;
pub mod text;
pub mod training;
pub mod worlds;

pub use registry::registry;
