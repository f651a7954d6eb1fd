//! What a stage is, as the engine sees it.
//!
//! A stage kind declares its parameters, inputs and outputs as types ([`Stage`]); the engine speaks to all
//! kinds alike through [`Kind`]. A stage reads its parameters, its inputs and its seeds from a [`Context`],
//! writes its outputs where the context says, and nothing else: that is what makes a result a function of
//! its key.

mod artifact;
mod context;
mod error;
mod kind;

pub use artifact::{Arity, Artifact, Coordinates, Input, Output};
pub use context::{Context, Progress, derive_seed};
pub use error::{ParamError, StageError};
pub use kind::{Code, Kind, Metrics, Registry, Stage};
