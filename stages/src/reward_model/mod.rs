//! Reward models from preference pairs: by binary, dense binary or sequence maximum likelihood.

mod evaluation;
mod params;
mod stage;

pub use params::Params;
pub use stage::RewardModel;
