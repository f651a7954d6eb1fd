//! Proximal policy optimization with rewards for tokens.
//!
//! The details follow Huang et al., "The N+ Implementation Details of RLHF with PPO": a critic of its own that
//! starts from the policy's body, the k1 estimate of the KL divergence as a penalty on every token, GAE,
//! advantages whitened over real tokens, clipped ratios and values, minibatches reshuffled each epoch.
//! Sequences are packed, so there is no padding that could enter a loss, an advantage or a statistic.

mod advantage;
mod objective;
mod optimise;
mod params;
mod rollout;
mod scale;
mod stage;
mod watch;

pub use advantage::{gae, whiten};
pub use objective::{PolicyStats, policy_loss, value_loss};
pub use optimise::{Outcome, optimise};
pub use params::Params;
pub use rollout::{Rollout, roll_out};
pub use stage::{EVALUATION, OUTPUTS, Ppo, run};
