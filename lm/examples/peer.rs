//! One kind of work, timed, as one line of JSON: our side of `benches/peers`, whose `run.py` calls it.
//!
//!     cargo run --release -p lm --example peer -- S training 2
//!
//! With a fourth argument the model is saved to that folder before anything is timed: both sides start from it.

mod common;

use common::{batch, cross_entropy};
use lm::{AdamW, Batch, Config, Head, Model, Sampled, Sampling, Schedule, Trainer};
use rayon::prelude::*;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

/// As `pipeline` has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Read by both sides.
const SHAPES: &str = include_str!("../../benches/peers/shapes.json");

#[derive(Deserialize)]
struct Shape {
    model: Config,
    sequences: usize,
    length: usize,
    prompts: usize,
    prompt: usize,
    response: usize,
}

type Work = Box<dyn FnMut() -> lm::Result<Option<f32>>>;

impl Shape {
    fn tokens(&self, rows: usize, length: usize) -> Vec<Vec<u32>> {
        common::tokens(rows, length, self.model.vocab_size)
    }

    /// The work and how many tokens it is.
    fn work(self, name: &str, model: &Model) -> Result<(Work, usize), Box<dyn Error>> {
        match name {
            "training" => {
                let batch = batch(&self.tokens(self.sequences, self.length));
                let (rows, mut trainer) = (batch.rows(), trainer(model)?);
                Ok((Box::new(move || Ok(Some(trainer.step(&batch, cross_entropy)?.loss))), rows))
            }
            "sampling" => {
                let (model, prompts) = (model.clone(), self.tokens(self.prompts, self.prompt));
                let tokens = self.prompts * self.response;
                Ok((Box::new(move || sample(&model, &prompts, self.response).map(|_| None)), tokens))
            }
            "peak" => Ok((Box::new(peak()), 0)),
            _ => {
                let epochs: usize = name.strip_prefix("ppo-").ok_or("no such work")?.parse()?;
                let tokens = self.prompts * self.response;
                let mut ppo = Ppo::new(&self, model)?;
                Ok((Box::new(move || ppo.iterate(epochs).map(|()| None)), tokens))
            }
        }
    }
}

/// Rows and columns of the matrices whose product shows what the processor can do.
const PEAK: usize = 1024;

/// A plain product of matrices, its rows shared out evenly over the threads.
fn peak() -> impl FnMut() -> lm::Result<Option<f32>> {
    let (a, b, mut c) = (vec![1.0; PEAK * PEAK], vec![1.0; PEAK * PEAK], vec![0.0f32; PEAK * PEAK]);
    let rows = PEAK.div_ceil(rayon::current_num_threads());
    move || {
        let (a, b): (&[f32], &[f32]) = (&a, &b);
        c.par_chunks_mut(rows * PEAK).zip(a.par_chunks(rows * PEAK)).for_each(|(c, a)| {
            let (n, one, none) = (PEAK as isize, 1.0, gemm_common::Parallelism::None);
            let (out, left, right) = (c.as_mut_ptr(), a.as_ptr(), b.as_ptr());
            let gemm = gemm_f32::gemm::f32::get_gemm_fn();
            // SAFETY: `c` and `a` have `c.len() / PEAK` rows of `PEAK` values, `b` has `PEAK`.
            unsafe {
                gemm(
                    PEAK,
                    c.len() / PEAK,
                    PEAK,
                    out,
                    n,
                    1,
                    false,
                    right,
                    n,
                    1,
                    left,
                    n,
                    1,
                    0.0,
                    one,
                    false,
                    false,
                    false,
                    none,
                );
            }
        });
        Ok(None)
    }
}

/// The most memory that this process has had, in MiB, where the system tells.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}

fn trainer(model: &Model) -> lm::Result<Trainer> {
    Trainer::new(model.clone(), AdamW::default(), Schedule::default())
}

fn sample(model: &Model, prompts: &[Vec<u32>], max_new_tokens: usize) -> lm::Result<Vec<Sampled>> {
    let seeds: Vec<u64> = (0..prompts.len() as u64).collect();
    model.sample(prompts, &Sampling { max_new_tokens, ..Sampling::default() }, &seeds)
}

/// One iteration of PPO, with nothing of the pipeline around it: the arithmetic of `torch_peer.py`.
struct Ppo {
    policy: Trainer,
    critic: Trainer,
    reference: Model,
    reward: Model,
    prompts: Vec<Vec<u32>>,
    response: usize,
}

impl Ppo {
    fn new(shape: &Shape, model: &Model) -> lm::Result<Ppo> {
        let scalar = model.with_head(Head::Scalar);
        Ok(Ppo {
            policy: trainer(model)?,
            critic: trainer(&scalar)?,
            reference: model.clone(),
            reward: scalar,
            prompts: shape.tokens(shape.prompts, shape.prompt),
            response: shape.response,
        })
    }

    fn iterate(&mut self, epochs: usize) -> lm::Result<()> {
        let (n, start) = (self.response, self.prompts[0].len());
        let sampled = sample(self.policy.model(), &self.prompts, n)?;
        let episodes: Vec<Vec<u32>> =
            self.prompts.iter().zip(&sampled).map(|(p, s)| [&p[..], &s.tokens].concat()).collect();
        // A response's tokens, and the states that emit them, are the same rows.
        let rows = |which: &[usize]| {
            let mut batch = Batch::new();
            which.iter().for_each(|&i| batch.push(&episodes[i], start - 1..start + n - 1));
            batch
        };
        let everything: Vec<usize> = (0..episodes.len()).collect();
        let all = rows(&everything);
        let old: Vec<f32> = sampled.iter().flat_map(|s| s.log_probs.clone()).collect();
        let reference = self.reference.log_probs(&all)?;
        let values = self.critic.model().scalars(&all)?;
        let mut ends = Batch::new();
        episodes.iter().for_each(|e| ends.push(e, e.len() - 1..e.len()));
        let paid = self.reward.scalars(&ends)?;

        let mut advantages = vec![0.0; old.len()];
        for (episode, paid) in paid.iter().enumerate() {
            let (mut after, mut following) = (0.0, 0.0);
            for t in (0..n).rev() {
                let at = episode * n + t;
                let reward = -0.05 * (old[at] - reference[at]) + if t + 1 == n { *paid } else { 0.0 };
                after = reward + following - values[at] + 0.95 * after;
                following = values[at];
                advantages[at] = after;
            }
        }
        let returns: Vec<f32> = advantages.iter().zip(&values).map(|(a, v)| a + v).collect();
        let count = advantages.len() as f32;
        let mean = advantages.iter().sum::<f32>() / count;
        let deviation = (advantages.iter().map(|a| (a - mean).powi(2)).sum::<f32>() / count).sqrt() + 1e-8;
        advantages.iter_mut().for_each(|a| *a = (*a - mean) / deviation);

        for _ in 0..epochs {
            for part in everything.chunks(episodes.len().div_ceil(4)) {
                let batch = rows(part);
                let at = part[0] * n..part[0] * n + batch.rows();
                let (old, advantages, returns) =
                    (&old[at.clone()], &advantages[at.clone()], &returns[at.clone()]);
                self.policy.step(&batch, |new| clipped(new, old, advantages))?;
                self.critic.step(&batch, |new| squared(new, returns))?;
            }
        }
        Ok(())
    }
}

/// PPO's clipped objective, to be made small, and its gradient.
fn clipped(new: &[f32], old: &[f32], advantages: &[f32]) -> (f32, Vec<f32>) {
    let n = new.len() as f32;
    let mut loss = 0.0;
    let gradient = new.iter().zip(old).zip(advantages).map(|((new, old), a)| {
        let ratio = (new - old).exp();
        let (free, held) = (ratio * a, ratio.clamp(0.8, 1.2) * a);
        loss -= free.min(held) / n;
        if free <= held { -free / n } else { 0.0 }
    });
    let gradient = gradient.collect();
    (loss, gradient)
}

fn squared(new: &[f32], returns: &[f32]) -> (f32, Vec<f32>) {
    let n = new.len() as f32;
    let errors = || new.iter().zip(returns).map(|(v, r)| v - r);
    (errors().map(|e| e * e).sum::<f32>() / (2.0 * n), errors().map(|e| e / n).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [shape, work, seconds, folder @ ..] = &arguments[..] else {
        return Err("usage: peer SHAPE WORK SECONDS [FOLDER]".into());
    };
    let mut shapes: BTreeMap<String, Shape> = serde_json::from_str(SHAPES)?;
    let shape = shapes.remove(shape).ok_or("no such shape: see benches/peers/shapes.json")?;
    let model = Model::new(shape.model.clone(), Head::Lm, 1)?;
    if let [folder, ..] = folder {
        model.save(folder)?;
    }
    let (mut run, tokens) = shape.work(work, &model)?;
    let (least, mut times, mut losses) = (Duration::from_secs_f64(seconds.parse()?), vec![], vec![]);
    // The first runs allocate and fill caches.
    losses.extend([run()?, run()?]);
    let begun = Instant::now();
    while times.len() < 3 || begun.elapsed() < least {
        let start = Instant::now();
        losses.push(run()?);
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    losses.truncate(3);
    let losses: Vec<f32> = losses.into_iter().flatten().collect();
    let (ms, threads) = (times[times.len() / 2], rayon::current_num_threads());
    let mib = peak_memory();
    let line =
        serde_json::json!({ "ms": ms, "tokens": tokens, "losses": losses, "threads": threads, "mib": mib });
    println!("{line}");
    Ok(())
}
