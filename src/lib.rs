//! The engine: experiments as graphs of stages, remembered by content.

pub mod graph;
