//! Training: one loss and its gradient from the caller, one update from AdamW.

mod adamw;
mod checkpoint;
mod schedule;
mod trainer;

pub use adamw::AdamW;
pub(crate) use adamw::{Moments, Update};
pub use schedule::{Decay, Schedule};
pub use trainer::{StepReport, Trainer};
