//! The operations one at a time, for programs that hold them against each other: what the public face cannot show.

#[cfg(feature = "cuda")]
mod device;
mod timed;

#[cfg(feature = "cuda")]
pub use device::{Difference, Operation, operations, share_of_update};
pub use timed::{Timed, timed};
