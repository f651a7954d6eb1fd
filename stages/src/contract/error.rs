//! How a stage says that something is wrong.

use std::fmt::Display;

use thiserror::Error;

/// A parameter that a stage refuses before anything runs.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct ParamError {
    /// Where in `with`, dotted (`optimizer.lr`); empty for the whole.
    pub path: String,
    pub message: String,
    /// What to do next, if we know.
    pub hint: Option<String>,
}

impl ParamError {
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), hint: None }
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// Why a stage could not finish: what was expected, what was found, and what to do next.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct StageError {
    pub message: String,
    pub hint: Option<String>,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StageError {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, source: None }
    }

    /// An error met while doing something: `StageError::because("cannot read `x`", error)`.
    pub fn because(
        message: impl Display,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { message: message.to_string(), hint: None, source: Some(source.into()) }
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}
