//! The stage kinds of an RLHF experiment: what each means, and what it reads and writes.

pub mod annotator;
pub mod best_of_n;
mod check;
pub mod comparison;
pub mod contract;
pub mod data;
pub mod dataset;
pub mod dpo;
mod early_stop;
pub mod episode;
mod evaluation;
pub mod evidence;
pub mod judge;
pub mod match_kl;
mod metrics;
mod names;
pub mod oracle;
pub mod overoptimization;
mod pairing;
pub mod ppo;
pub mod ppo_gold;
pub mod preferences;
mod registry;
pub mod report;
pub mod reward;
pub mod reward_model;
pub mod sample;
pub mod select;
pub mod sft;
pub mod statistics;
pub mod text;
pub mod training;
mod trajectory;
pub mod worlds;

pub use registry::registry;
