//! What a checkpoint says: our side of `benches/peers/checkpoints.py`.
//!
//!     echo '[[1, 2, 3]]' | cargo run --release --workspace --example checkpoint -- FOLDER
//!
//! Reads sequences of token ids, prints the log-probabilities of the whole vocabulary at each position, and the
//! gradient of the mean loss of all next tokens, as JSON.

use lm::{AdamW, Batch, Model, Schedule, Trainer};
use std::collections::BTreeMap;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: checkpoint FOLDER < sequences.json")?;
    let sequences: Vec<Vec<u32>> = serde_json::from_reader(std::io::stdin())?;
    let mut batch = Batch::new();
    sequences.iter().for_each(|tokens| batch.push(tokens, 0..tokens.len() - 1));
    let model = Model::load(folder)?;
    let log_softmax = model.log_softmax(&batch)?;
    let mut trainer = Trainer::new(model, AdamW::default(), Schedule::default())?;
    let loss = trainer.accumulate(&batch, |log_probs| {
        let n = log_probs.len() as f32;
        (-log_probs.iter().sum::<f32>() / n, vec![-1.0 / n; log_probs.len()])
    })?;
    let gradients: BTreeMap<String, Vec<f32>> = trainer.gradients().into_iter().collect();
    let said = serde_json::json!({ "loss": loss, "log_softmax": log_softmax, "gradients": gradients });
    println!("{said}");
    Ok(())
}
