//! Tokens per second of a training step, scoring and sampling on this machine.
//!
//!     cargo run --release -p lm --example throughput
//!
//! Sequences are full, so that none of the time goes to what padding or early ends would save.

mod common;

use common::{Shape, batch, cross_entropy};
use lm::{AdamW, Head, Model, Sampling, Schedule, Trainer};
use std::error::Error;
use std::time::{Duration, Instant};

/// As `pipeline` has it: with glibc's allocator a step takes longer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 9;
const LEAST: Duration = Duration::from_millis(400);

const SHAPES: [Shape; 2] = [
    Shape { name: "world", width: 64, layers: 3, heads: 4, vocabulary: 120, length: 32, sequences: 64 },
    common::S,
];

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

fn main() -> Result<(), Box<dyn Error>> {
    println!("{} threads, medians of {ROUNDS} rounds, tokens per second\n", rayon::current_num_threads());
    println!("{:<8}{:<10}{:>12}{:>12}{:>12}", "shape", "work", "median", "least", "most");
    for shape in SHAPES {
        let row = |work: &str, [median, least, most]: [f64; 3]| {
            println!("{:<8}{work:<10}{median:>12.0}{least:>12.0}{most:>12.0}", shape.name);
        };
        let model = Model::new(shape.config(), Head::Lm, 1)?;
        let tokens = shape.tokens();
        let batch = batch(&tokens);

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
