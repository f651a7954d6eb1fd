//! The experiment unrolled over its axes: which instances there are, and what each reads from which.

mod instance;

pub use instance::{Graph, InputItem, Instance, InstanceInput};
