//! What a checkpoint says: our side of `benches/peers/checkpoints.py`.
//!
//!     echo '[[1, 2, 3]]' | cargo run --release -p lm --example checkpoint -- FOLDER [COPY BYTES]
//!
//! Reads sequences of token ids, prints the log-probabilities of the whole vocabulary at each position, and the
//! gradient of the mean loss of all next tokens, as JSON. With `COPY` it also saves the model there, in files of at
//! most `BYTES`.

mod common;

use common::{batch, cross_entropy};
use lm::{AdamW, Model, Schedule, Trainer};
use std::collections::BTreeMap;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, copy @ ..] = &arguments[..] else {
        return Err("usage: checkpoint FOLDER [COPY BYTES] < sequences.json".into());
    };
    let sequences: Vec<Vec<u32>> = serde_json::from_reader(std::io::stdin())?;
    let batch = batch(&sequences);
    let model = Model::load(folder)?;
    if let [copy, bytes] = copy {
        model.save_sharded(copy, bytes.parse()?)?;
    }
    let log_softmax = model.log_softmax(&batch)?;
    let mut trainer = Trainer::new(model, AdamW::default(), Schedule::default())?;
    let loss = trainer.accumulate(&batch, cross_entropy)?;
    let gradients: BTreeMap<String, Vec<f32>> = trainer.gradients().into_iter().collect();
    let said = serde_json::json!({ "loss": loss, "log_softmax": log_softmax, "gradients": gradients });
    println!("{said}");
    Ok(())
}
