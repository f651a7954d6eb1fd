//! Small decoder language models: train, sample, save in Hugging Face layout.
//!
//! The tensors are dfdx's; none of its types appear here. A model lives on the [`Cpu`], or with the feature `cuda`
//! on an NVIDIA card. Batches are packed, without padding: see [`Batch`].
//!
//! ```
//! use lm::{AdamW, Batch, Config, Head, Model, Schedule, Trainer};
//!
//! let config: Config = serde_json::from_str(
//!     r#"{ "vocab_size": 10, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
//!          "num_attention_heads": 2, "tie_word_embeddings": true }"#,
//! )?;
//! let mut trainer = Trainer::new(Model::new(config, Head::Lm, 1)?, AdamW::default(), Schedule::default())?;
//! let mut batch = Batch::new();
//! batch.push(&[1, 2, 3, 4], 0..3);
//! let cross_entropy = |log_probs: &[f32]| {
//!     let n = log_probs.len() as f32;
//!     (-log_probs.iter().sum::<f32>() / n, vec![-1.0 / n; log_probs.len()])
//! };
//! let first = trainer.step(&batch, cross_entropy)?.loss;
//! let second = trainer.step(&batch, cross_entropy)?.loss;
//! assert!(second < first);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backend;
mod batch;
#[cfg(feature = "check")]
#[doc(hidden)]
pub mod check;
mod config;
mod decoder;
mod error;
mod files;
mod model;
mod ops;
mod parameters;
mod sample;
mod tokenizer;
mod train;

pub use backend::{Accelerator, Backend, Cpu};
#[cfg(feature = "cuda")]
pub use backend::{Cuda, CudaMixed};
pub use batch::Batch;
pub use config::{Config, Family, Head, RopeScaling};
pub use error::{Error, Result};
pub use model::{Model, TokenStats};
pub use sample::{Sampled, Sampling};
pub use tokenizer::Tokenizer;
pub use train::{AdamW, Decay, Schedule, StepReport, Trainer};
