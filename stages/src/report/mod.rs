//! The report: what was measured, with its uncertainty, and which declared claims held.
//!
//! Measurements are read into cells (`observations`), cells get intervals (`results`, by `crate::statistics`), claims are held
//! against them (`claim`, `comparison`), and what a person reads is laid out (`page`) and written (`render`). Nothing
//! here depends on a clock, a path or the order of threads: the same inputs give the same bytes.

mod chart;
mod claim;
mod comparison;
mod curves;
mod metric;
mod observations;
mod page;
mod params;
mod render;
mod results;
mod stage;
mod tables;
mod unit;
mod verdicts;
mod words;

pub use params::{Arm, Claim, Comparison, Difference, Params};
pub use stage::Report;
