//! Tokens per second of a training step, scoring and sampling on this machine.
//!
//!     cargo run --release -p lm --example throughput
//!
//! Sequences are full, so that none of the time goes to what padding or early ends would save.

use lm::{AdamW, Batch, Config, Head, Model, Sampling, Schedule, Trainer};
use std::error::Error;
use std::time::{Duration, Instant};

/// As `pipeline` has it: with glibc's allocator a step takes longer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 9;
const LEAST: Duration = Duration::from_millis(400);

struct Shape {
    name: &'static str,
    width: usize,
    layers: usize,
    heads: usize,
    vocabulary: usize,
    length: usize,
    sequences: usize,
}

const SHAPES: [Shape; 2] = [
    Shape { name: "world", width: 64, layers: 3, heads: 4, vocabulary: 120, length: 32, sequences: 64 },
    Shape { name: "S", width: 128, layers: 4, heads: 4, vocabulary: 512, length: 64, sequences: 32 },
];

impl Shape {
    fn config(&self) -> Config {
        Config {
            vocab_size: self.vocabulary,
            hidden_size: self.width,
            // Llama's ratio, in whole vectors.
            intermediate_size: (self.width * 8 / 3).next_multiple_of(16),
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: self.heads,
            head_dim: self.width / self.heads,
            rope_theta: 10_000.0,
            rms_norm_eps: 1e-5,
            tie_word_embeddings: true,
            max_position_embeddings: self.length,
        }
    }

    /// Token ids that look like nothing in particular, the same in every run.
    fn tokens(&self) -> Vec<Vec<u32>> {
        let id = |i: usize| ((i * 7919 + i * i * 104_729) % self.vocabulary) as u32;
        (0..self.sequences).map(|s| (0..self.length).map(|t| id(s * self.length + t)).collect()).collect()
    }
}

/// Tokens per second: the median of the rounds, the least and the most.
fn measure(tokens: usize, mut work: impl FnMut() -> lm::Result<()>) -> lm::Result<[f64; 3]> {
    work()?;
    let mut speeds = vec![];
    for _ in 0..ROUNDS {
        let (start, mut times) = (Instant::now(), 0);
        while start.elapsed() < LEAST {
            work()?;
            times += 1;
        }
        speeds.push((times * tokens) as f64 / start.elapsed().as_secs_f64());
    }
    speeds.sort_by(f64::total_cmp);
    Ok([speeds[ROUNDS / 2], speeds[0], speeds[ROUNDS - 1]])
}

fn cross_entropy(log_probs: &[f32]) -> (f32, Vec<f32>) {
    let n = log_probs.len() as f32;
    (-log_probs.iter().sum::<f32>() / n, vec![-1.0 / n; log_probs.len()])
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("{} threads, medians of {ROUNDS} rounds, tokens per second\n", rayon::current_num_threads());
    println!("{:<8}{:<10}{:>12}{:>12}{:>12}", "shape", "work", "median", "least", "most");
    for shape in SHAPES {
        let row = |work: &str, [median, least, most]: [f64; 3]| {
            println!("{:<8}{work:<10}{median:>12.0}{least:>12.0}{most:>12.0}", shape.name);
        };
        let model = Model::new(shape.config(), Head::Lm, 1)?;
        let tokens = shape.tokens();
        let mut batch = Batch::new();
        tokens.iter().for_each(|t| batch.push(t, 0..t.len() - 1));

        let mut trainer = Trainer::new(model.clone(), AdamW::default(), Schedule::default())?;
        row("training", measure(batch.tokens(), || trainer.step(&batch, cross_entropy).map(|_| ()))?);
        row("scoring", measure(batch.tokens(), || model.log_probs(&batch).map(|_| ()))?);

        // The first half is the prompt; the rate counts generated tokens.
        let half = shape.length / 2;
        let prompts: Vec<Vec<u32>> = tokens.iter().map(|t| t[..half].to_vec()).collect();
        let sampling = Sampling { max_new_tokens: half, ..Sampling::default() };
        let seeds: Vec<u64> = (0..shape.sequences as u64).collect();
        for (work, count) in [("sampling", shape.sequences), ("1 alone", 1)] {
            let (prompts, seeds) = (&prompts[..count], &seeds[..count]);
            let sample = || model.sample(prompts, &sampling, seeds).map(|_| ());
            row(work, measure(half * count, sample)?);
        }
    }
    for shape in SHAPES {
        let c = shape.config();
        println!(
            "\n{}: width {}, {} layers, {} heads, feed-forward {}, vocabulary {}, {} sequences of {} tokens, {} parameters",
            shape.name,
            c.hidden_size,
            c.num_hidden_layers,
            c.num_attention_heads,
            c.intermediate_size,
            c.vocab_size,
            shape.sequences,
            shape.length,
            c.parameter_count(Head::Lm),
        );
    }
    Ok(())
}
