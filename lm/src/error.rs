//! What can go wrong, and what to do about it.

use std::path::{Path, PathBuf};

pub type Result<T> = std::result::Result<T, Error>;

/// Every message names the thing at fault, what was expected, what was found, and a way out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("model configuration: `{field}` is {found}, expected {expected}")]
    Config { field: &'static str, found: String, expected: String },

    #[error(
        "batch: sequence {sequence}: {found}, expected {expected}; check the tokenizer and the lengths of the data"
    )]
    Batch { sequence: usize, found: String, expected: String },

    #[error("the model has a {found} head, but `{operation}` needs a {needed} head; see `Model::with_head`")]
    Head { operation: &'static str, needed: &'static str, found: &'static str },

    #[error("sampling: `{field}` is {found}, expected {expected}")]
    Sampling { field: &'static str, found: String, expected: String },

    #[error("optimizer: `{field}` is {found}, expected {expected}")]
    Optimizer { field: &'static str, found: String, expected: String },

    #[error("step {step}: the batch has {sequences} sequences and no rows, expected at least one row")]
    NoRows { step: u64, sequences: usize },

    #[error(
        "step {step}: the {what} is {value}; nothing was updated; lower the learning rate or look at the data"
    )]
    NonFinite { step: u64, what: &'static str, value: f32 },

    #[error(
        "step {step}: the loss gave {found} gradients for {expected} rows; it must give one for each row"
    )]
    LossGradient { step: u64, expected: usize, found: usize },

    #[error("step {step}: {found}; expected {expected}")]
    Accumulation { step: u64, found: &'static str, expected: &'static str },

    #[error(
        "device: {found}; check that the driver sees a card (nvidia-smi) and that the batch fits its memory, or stay on the CPU"
    )]
    Device { found: String },

    #[error("tokenizer: {0}")]
    Tokenizer(String),

    #[error("{path}: {found}; expected {expected}", path = path.display())]
    Format { path: PathBuf, found: String, expected: String },

    #[error("{path}: {source}; check that it exists and may be read and written", path = path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { path, source }
    }

    pub(crate) fn format(path: &Path, found: impl ToString, expected: impl ToString) -> Error {
        Error::Format { path: path.to_path_buf(), found: found.to_string(), expected: expected.to_string() }
    }
}
