//! The content store: artifacts by their content, and what each key produced.
//!
//! ```text
//! cache/objects/ab/cdef…     immutable content, addressed by its blake3
//! cache/results/<key>.json   what a key produced: outputs, the key itself, time, provenance
//! cache/work/<key>/          a running instance's folder: checkpoints and partial outputs
//! cache/logs/<key>.log       what an instance logged, every attempt
//! cache/locks/<key>          held while a run works on the key; `locks/cache` by every run, and while tidying up
//! cache/code/<hash>.json     what a code fingerprint stands for, to say what changed
//! cache/stamps/<name>.json    what was verified, so that a glance tells whether it has changed since
//! cache/unsent/<location>/    keys of results that are still to be sent to a shared cache
//! cache/damaged/              what was found damaged, set aside
//! ```
//!
//! A result is recorded only when all its outputs are in, each moved there whole. What is handed on is verified.

mod archive;
mod care;
mod code;
mod content;
mod folder;
mod record;
mod stamps;

pub use archive::Imported;
pub use care::{Verified, Waste, size};
pub use code::{Parts, code_change};
pub use content::{Content, Listing, content_of};
pub(crate) use folder::LARGEST_RECORD;
pub use folder::{Lock, Lookup, Store};
pub use record::{Provenance, Record, Stored};
