//! Bringing an experiment up to date.
//!
//! `resolve` says what an instance's key is and whether the store has it; `plan` and `run` both go by it. The
//! dispatcher owns all state; executors run one instance each, in a process of its own ([`child`]), or fetch or send
//! one result, and send messages.

pub mod child;
mod dispatch;
mod earlier;
mod execute;
mod manifest;
mod outcome;
mod plan;
mod publish;
mod remote;
mod resolve;
mod tokens;
mod watch;

pub use dispatch::{Interrupt, Options, run};
pub use execute::Launcher;
pub use manifest::{Manifest, Report};
pub use outcome::{End, Outcome, Summary};
pub use plan::{Planned, State, plan};
pub use remote::Shared;
pub use tokens::Tokens;
pub use watch::{Event, Overall, Watcher};
