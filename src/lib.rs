//! The engine: experiments as graphs of stages, remembered by content.
//!
//! [`experiment`] reads a file, [`graph`] unrolls it over its axes, [`run`] brings every instance up to date by its
//! [`key`] in the [`store`] or a [`remote`] one, and its [`history`] remembers what runs did. [`cli`] is what a person
//! sees.

// They panic when the other end is closed: `cli::output` writes.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod error;
pub mod experiment;
mod files;
pub mod graph;
pub mod history;
pub mod key;
pub mod remote;
pub mod run;
mod seal;
pub mod store;
