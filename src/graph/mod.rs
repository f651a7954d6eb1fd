//! The experiment unrolled over its axes: which instances there are, and what each reads from which.

mod changes;
mod draw;
mod instance;
mod names;
mod references;
mod substitute;
mod unroll;

pub use draw::{dot, mermaid};
pub use instance::{Graph, InputItem, Instance, InstanceInput, needed};
pub use unroll::unroll;
