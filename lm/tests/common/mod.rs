//! Small models and batches for the tests of the public face.
#![allow(dead_code, reason = "each test file is a crate of its own and uses some of this")]

use lm::{AdamW, Batch, Config, Family, Head, Model, Schedule, Trainer};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

pub const VOCABULARY: u32 = 23;

/// Grouped queries, an odd width, and heads that do not add up to it.
pub fn config() -> Config {
    Config {
        family: Family::Llama,
        vocab_size: VOCABULARY as usize,
        hidden_size: 15,
        intermediate_size: 21,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 6,
        rope_theta: 10_000.0,
        rope_scaling: None,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: false,
        max_position_embeddings: 64,
    }
}

pub fn model(head: Head, seed: u64) -> Model {
    Model::new(config(), head, seed).unwrap()
}

pub fn trainer(head: Head) -> Trainer {
    let optimizer = AdamW { lr: 3e-3, weight_decay: 0.01, ..AdamW::default() };
    Trainer::new(model(head, 1), optimizer, Schedule { warmup: 3, ..Schedule::default() }).unwrap()
}

pub fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

pub fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    rng.next_u32() as usize % n
}

/// Random tokens, `least..=most` of them.
pub fn tokens(rng: &mut ChaCha8Rng, least: usize, most: usize) -> Vec<u32> {
    let len = least + below(rng, most - least + 1);
    (0..len).map(|_| rng.next_u32() % VOCABULARY).collect()
}

/// Random sequences of 2 to 60 tokens.
pub fn sequences(seed: u64, count: usize) -> Vec<Vec<u32>> {
    let mut rng = rng(seed);
    (0..count).map(|_| tokens(&mut rng, 2, 60)).collect()
}

/// Every row that a language-model head may be asked for.
pub fn batch(sequences: &[Vec<u32>]) -> Batch {
    let mut batch = Batch::new();
    for tokens in sequences {
        batch.push(tokens, 0..tokens.len() - 1);
    }
    batch
}

/// The mean of the outputs with a minus sign: cross-entropy, for log-probabilities.
pub fn negative_mean(outputs: &[f32]) -> (f32, Vec<f32>) {
    let n = outputs.len() as f32;
    (-outputs.iter().sum::<f32>() / n, vec![-1.0 / n; outputs.len()])
}

/// The mean square distance from 1: has a gradient where a new scalar head says 0.
pub fn distance_from_one(outputs: &[f32]) -> (f32, Vec<f32>) {
    let n = outputs.len() as f32;
    let loss = outputs.iter().map(|y| (y - 1.0) * (y - 1.0)).sum::<f32>() / n;
    (loss, outputs.iter().map(|y| 2.0 * (y - 1.0) / n).collect())
}

/// Bits, so that `-0.0`, `0.0` and NaN are told apart.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

pub fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}
