//! What is not computed because nobody needs it, and the time that this saves: what is useful is the same with and
//! without. Interleaved, in one process.
//!
//!     cargo run --release -p lm --example savings

mod common;

use common::{S, batch, cross_entropy};
use lm::{AdamW, Batch, Config, Head, Model, Sampling, Schedule, Trainer};
use std::error::Error;
use std::time::Instant;

/// As `pipeline` has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 15;

type Work<'a> = Box<dyn FnMut() -> lm::Result<()> + 'a>;

/// Medians in milliseconds, and the median of the rounds' ratios.
fn compare(name: &str, [mut with, mut without]: [Work; 2]) -> lm::Result<()> {
    let mut times = vec![];
    for round in 0..=ROUNDS {
        let time = |work: &mut Work| -> lm::Result<f64> {
            let start = Instant::now();
            work()?;
            Ok(start.elapsed().as_secs_f64() * 1e3)
        };
        let (saved, all) = (time(&mut with)?, time(&mut without)?);
        // The first round allocates and fills caches.
        if round > 0 {
            times.push([saved, all, all / saved]);
        }
    }
    let median = |i: usize| {
        let mut column: Vec<f64> = times.iter().map(|row| row[i]).collect();
        column.sort_by(f64::total_cmp);
        column[ROUNDS / 2]
    };
    println!("{name:<52}{:>9.1}{:>9.1}{:>8.2}x", median(0), median(1), median(2));
    Ok(())
}

/// Sequences of which `rows` of each are asked for.
fn with_rows(sequences: &[Vec<u32>], rows: std::ops::Range<usize>) -> Batch {
    let mut batch = Batch::new();
    sequences.iter().for_each(|s| batch.push(s, rows.clone()));
    batch
}

fn training<'a>(model: &Model, batch: &'a Batch) -> lm::Result<Work<'a>> {
    let mut trainer = Trainer::new(model.clone(), AdamW::default(), Schedule::default())?;
    Ok(Box::new(move || trainer.step(batch, cross_entropy).map(|_| ())))
}

fn sampling<'a>(model: &'a Model, prompts: &'a [Vec<u32>], how: Sampling) -> Work<'a> {
    let seeds: Vec<u64> = (0..prompts.len() as u64).collect();
    Box::new(move || model.sample(prompts, &how, &seeds).map(|_| ()))
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("{} threads, shape S, medians of {ROUNDS} rounds\n", rayon::current_num_threads());
    println!("{:<52}{:>9}{:>9}{:>9}", "what is saved", "with, ms", "without", "gain");
    let model = Model::new(S.config(), Head::Lm, 1)?;
    let full = S.tokens();

    // From 8 to 64 tokens, evenly. A padded batch computes as much as one of full sequences.
    let mixed: Vec<Vec<u32>> = full.iter().enumerate().map(|(i, s)| s[..8 + i * 56 / 31].to_vec()).collect();
    let (packed, padded) = (batch(&mixed), batch(&full));
    compare(
        "packed, not padded to the longest (8 to 64 tokens)",
        [training(&model, &packed)?, training(&model, &padded)?],
    )?;

    let (response, everything) = (with_rows(&full, 31..63), with_rows(&full, 0..63));
    compare(
        "loss on the response's 32 of 64 tokens only",
        [training(&model, &response)?, training(&model, &everything)?],
    )?;

    let scored: Vec<Vec<u32>> = full.iter().cycle().take(256).cloned().collect();
    let scalar = model.with_head(Head::Scalar);
    let (last, all) = (with_rows(&scored, 63..64), with_rows(&scored, 0..64));
    let score = |batch: &Batch| scalar.scalars(batch).map(|_| ());
    compare("reward at the last token only", [Box::new(|| score(&last)), Box::new(|| score(&all))])?;

    // Untrained, every token is about as likely: one of 24 ends a response.
    let small = Model::new(Config { vocab_size: 24, ..S.config() }, Head::Lm, 1)?;
    let prompts: Vec<Vec<u32>> = (0..256).map(|i| vec![i % 24; 16]).collect();
    let ends = |stop| Sampling { max_new_tokens: 48, stop, ..Sampling::default() };
    compare(
        "finished responses leave the batch (mean 20 of 48)",
        [sampling(&small, &prompts, ends(Some(0))), sampling(&small, &prompts, ends(None))],
    )?;

    // Neighbours that are equal are read once; the same prompts in another order are read each.
    let long: Vec<Vec<u32>> = full.iter().map(|s| s[..48].to_vec()).collect();
    let together: Vec<Vec<u32>> = long.iter().flat_map(|p| vec![p.clone(); 8]).collect();
    let apart: Vec<Vec<u32>> = (0..8).flat_map(|_| long.clone()).collect();
    let short = || Sampling { max_new_tokens: 16, ..Sampling::default() };
    compare(
        "a prompt of 48 read once for 8 responses of 16",
        [sampling(&model, &together, short()), sampling(&model, &apart, short())],
    )?;
    Ok(())
}
