//! Models on disk.

mod hugging_face;
mod tensors;

pub(crate) use tensors::{Named, TensorFile, write_atomically, write_tensors};
