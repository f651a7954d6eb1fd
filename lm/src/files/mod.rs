//! Models on disk.

mod hugging_face;
mod tensors;
mod weights;

pub(crate) use tensors::{Named, TensorFile, write_atomically, write_tensors};
pub(crate) use weights::{Weights, write_weights};
