//! What runs did: a small immutable record of each, kept beside the results.
//!
//! Results are addressed by key and know nothing of runs. A run's record says which keys its instances had, so that a run
//! can be shown, compared with another, and kept as a whole.

mod begun;
mod record;
mod runs;

pub use begun::{Begun, Note};
pub use record::{FORMAT, Git, Host, Run};
pub(crate) use runs::is_id;
pub use runs::{History, Ref};
