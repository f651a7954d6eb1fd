//! Holds an NVIDIA card against the CPU: values, gradients, training, sampling and times.
//!
//!     cargo run --release -p lm --features cuda --example device_check [-- SECTION...]
//!
//! Each section runs in a process of its own and has a limit of time: one that fails, hangs or leaves the card
//! unusable takes none of the others with it. Ends with a line of JSON; the exit code is 1 if a difference is beyond
//! its tolerance or a section failed.

mod common;

use common::{S, Shape, batch, cross_entropy};
use lm::check::{Difference, Operation, operations, share_of_update};
use lm::{Accelerator, AdamW, Cuda, Head, Model, Sampled, Sampling, Schedule, Trainer};
use serde_json::{Value, json};
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const M: Shape =
    Shape { name: "M", width: 256, layers: 6, heads: 8, vocabulary: 2048, length: 128, sequences: 16 };
const L: Shape =
    Shape { name: "L", width: 1024, layers: 12, heads: 16, vocabulary: 8192, length: 256, sequences: 16 };

/// Sections and the seconds that each may take, what matters most first.
const SECTIONS: [(&str, u64); 10] = [
    ("operations f32", 45),
    ("model f32", 45),
    ("sampling f32", 45),
    ("times S f32", 45),
    ("times M f32", 45),
    ("times L f32", 75),
    ("operations mixed", 45),
    ("model mixed", 45),
    ("sampling mixed", 45),
    ("times S, M, L mixed", 75),
];

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, section] = arguments.as_slice()
        && flag == "--section"
    {
        return match run(section) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                emit(&json!({ "failed": e.to_string() }));
                ExitCode::FAILURE
            }
        };
    }
    println!("card: {}", card().unwrap_or_else(|| "unknown".into()));
    println!("host: {} threads\n", rayon::current_num_threads());
    let start = Instant::now();
    let mut rows = vec![];
    for (section, seconds) in SECTIONS {
        if arguments.is_empty() || arguments.iter().any(|a| section.starts_with(a.as_str())) {
            rows.extend(watch(section, Duration::from_secs(seconds)));
        }
    }
    let bad = rows.iter().filter(|row| row["ok"] == false || row.get("failed").is_some()).count();
    println!(
        "\n{} rows, {bad} beyond tolerance or failed, {:.0} s",
        rows.len(),
        start.elapsed().as_secs_f64()
    );
    println!("{}", json!({ "card": card(), "bad": bad, "rows": rows }));
    if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn card() -> Option<String> {
    let arguments = ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"];
    let output = Command::new("nvidia-smi").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(|line| line.trim().to_string())
}

/// Runs a section in a process of its own, shows its rows as they come, and ends it when its time is over.
fn watch(section: &str, limit: Duration) -> Vec<Value> {
    println!("== {section}");
    let start = Instant::now();
    let mut rows = vec![];
    let mut add = |mut row: Value| {
        row["section"] = json!(section);
        show(&row);
        rows.push(row);
    };
    let started = std::env::current_exe().and_then(|program| {
        Command::new(program).args(["--section", section]).stdout(Stdio::piped()).spawn()
    });
    let mut child = match started {
        Ok(child) => child,
        Err(e) => {
            add(json!({ "failed": format!("did not start: {e}") }));
            return rows;
        }
    };
    let (sender, receiver) = channel();
    if let Some(output) = child.stdout.take() {
        std::thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
    }
    loop {
        match receiver.recv_timeout(limit.saturating_sub(start.elapsed())) {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(row) => add(row),
                Err(_) => println!("{line}"),
            },
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                add(json!({ "failed": format!("no end within {} s", limit.as_secs()) }));
                let _ = child.kill();
                break;
            }
        }
    }
    match child.wait() {
        Ok(status) if status.success() => {}
        status if rows.iter().all(|row| row.get("failed").is_none()) => {
            let failed = json!({ "section": section, "failed": format!("ended with {status:?}") });
            show(&failed);
            rows.push(failed);
        }
        _ => {}
    }
    println!("   {:.1} s\n", start.elapsed().as_secs_f64());
    rows
}

fn show(row: &Value) {
    let number = |key: &str| row[key].as_f64().unwrap_or(f64::INFINITY);
    let name = row["name"].as_str().unwrap_or_default();
    if let Some(failed) = row["failed"].as_str() {
        println!("   FAILED: {failed}");
    } else if row.get("milliseconds").is_some() {
        let (ms, rate) = (number("milliseconds"), number("tokens_per_second"));
        println!("   {name:<52}{ms:>12.2} ms{rate:>14.0} tokens/s");
    } else if row.get("tolerance").is_some() {
        let verdict = if row["ok"] == true { "ok" } else { "BEYOND" };
        let absolute = row["absolute"].as_f64().map(|a| format!("  (absolute {a:.1e})")).unwrap_or_default();
        let (value, tolerance) = (number("value"), number("tolerance"));
        println!("   {name:<52}{value:>12.2e}{tolerance:>12.0e}  {verdict}{absolute}");
    } else {
        println!("   {name:<52}{}", row["value"]);
    }
}

fn emit(row: &Value) {
    println!("{row}");
}

/// A number that must not be above its tolerance.
fn check(name: &str, value: f32, tolerance: f32) {
    emit(&json!({ "name": name, "value": finite(value), "tolerance": tolerance, "ok": value <= tolerance }));
}

/// The same for a relative difference; the absolute one is shown beside it.
fn check_relative(name: &str, found: Difference, tolerance: f32) {
    let (value, absolute, ok) = (finite(found.relative), finite(found.absolute), found.relative <= tolerance);
    emit(&json!({ "name": name, "value": value, "absolute": absolute, "tolerance": tolerance, "ok": ok }));
}

/// JSON has no infinity.
fn finite(value: f32) -> f32 {
    if value.is_finite() { value } else { f32::MAX }
}

fn note(name: &str, value: impl serde::Serialize) {
    emit(&json!({ "name": name, "value": value }));
}

fn run(section: &str) -> Outcome {
    let cuda = Cuda::new(0)?;
    let (what, precision) = section.rsplit_once(' ').ok_or("a section ends in a precision")?;
    if precision == "mixed" { of(what, &cuda.mixed(), true) } else { of(what, &cuda, false) }
}

fn of<B: Accelerator>(what: &str, device: &B, mixed: bool) -> Outcome {
    match what {
        "operations" => all_operations(device, mixed),
        "model" => [Head::Lm, Head::Scalar].into_iter().try_for_each(|head| model(device, head, mixed)),
        "sampling" => sampling(device, mixed),
        "times S" => times(device, &S, 5),
        "times M" => times(device, &M, 5),
        "times L" => times(device, &L, 1),
        "times S, M, L" => [S, M, L].iter().try_for_each(|shape| times(device, shape, 0)),
        _ => Err(format!("no such section: {what}").into()),
    }
}

fn all_operations<B: Accelerator>(device: &B, mixed: bool) -> Outcome {
    let (values, gradients) = if mixed { (5e-3, 1e-2) } else { (2e-5, 1e-4) };
    operations(device, &mut |found| match found {
        Ok(Operation { name, shape, values: v, gradients: g }) => {
            check_relative(&format!("{name} [{shape}]: values"), v, values);
            check_relative(&format!("{name} [{shape}]: gradients"), g, gradients);
        }
        Err(e) => emit(&json!({ "failed": e.to_string() })),
    });
    Ok(())
}

/// Sequences with something to learn, of many lengths.
fn counting(shape: &Shape, seed: usize) -> Vec<Vec<u32>> {
    let token = |s: usize, t: usize| ((seed + s * 31 + t * (1 + s % 7)) % shape.vocabulary) as u32;
    let len = |s: usize| 2 + (s * 17 + seed) % (shape.length - 1);
    (0..shape.sequences).map(|s| (0..len(s)).map(|t| token(s, t)).collect()).collect()
}

fn taught() -> lm::Result<Model> {
    let mut trainer =
        Trainer::new(Model::new(S.config(), Head::Lm, 1)?, AdamW::default(), Schedule::default())?;
    for step in 0..20 {
        trainer.step(&batch(&counting(&S, step)), cross_entropy)?;
    }
    Ok(trainer.into_model())
}

fn distance(outputs: &[f32]) -> (f32, Vec<f32>) {
    let n = outputs.len() as f32;
    let loss = outputs.iter().map(|y| (y - 1.0).powi(2)).sum::<f32>() / n;
    (loss, outputs.iter().map(|y| 2.0 * (y - 1.0) / n).collect())
}

fn scores<B: lm::Backend>(model: &Model<B>, tokens: &[Vec<u32>]) -> lm::Result<Vec<f32>> {
    if model.head() == Head::Lm { model.log_probs(&batch(tokens)) } else { model.scalars(&batch(tokens)) }
}

/// Scores of a model, ten steps of training side by side, and the scores after them.
fn model<B: Accelerator>(device: &B, head: Head, mixed: bool) -> Outcome {
    let (scored, losses, updated) = if mixed { (2e-2, 1e-2, 0.1) } else { (1e-4, 1e-4, 2e-2) };
    let start = taught()?.with_head(head);
    let there = start.to_device(device)?;
    let held_out = counting(&S, 99);
    let name = |what: &str| format!("{head:?}: {what}");
    let (found, expected) = (scores(&there, &held_out)?, scores(&start, &held_out)?);
    check(&name("scores"), Difference::of(&found, &expected).absolute, scored);
    let loss = if head == Head::Lm { cross_entropy } else { distance };
    let optimizer = AdamW { weight_decay: 0.01, ..AdamW::default() };
    let mut a = Trainer::new(there, optimizer.clone(), Schedule::default())?;
    let mut b = Trainer::new(start.clone(), optimizer, Schedule::default())?;
    let (mut most, mut norm) = (0.0f32, 0.0f32);
    for step in 0..10 {
        let batch = batch(&counting(&S, 100 + step));
        let (a, b) = (a.step(&batch, loss)?, b.step(&batch, loss)?);
        note(&name(&format!("step {}: loss there, here", step + 1)), format!("{} {}", a.loss, b.loss));
        most = most.max((a.loss - b.loss).abs());
        norm = norm.max((a.grad_norm / b.grad_norm - 1.0).abs());
    }
    check(&name("loss over ten steps"), most, losses);
    check(&name("gradient's norm, relative"), norm, if mixed { 2e-2 } else { 2e-3 });
    let (a, b) = (a.into_model(), b.into_model());
    check(&name("parameters, as a share of the update"), share_of_update(&a.to_cpu()?, &b, &start), updated);
    let (found, expected) = (scores(&a, &held_out)?, scores(&b, &held_out)?);
    check(&name("scores after ten steps"), Difference::of(&found, &expected).absolute, 20.0 * scored);
    Ok(())
}

fn sampling<B: Accelerator>(device: &B, mixed: bool) -> Outcome {
    let host = taught()?;
    let there = host.to_device(device)?;
    let prompts: Vec<Vec<u32>> =
        counting(&S, 7).into_iter().enumerate().map(|(i, t)| t[..t.len().min(1 + i)].to_vec()).collect();
    let seeds: Vec<u64> = (0..prompts.len() as u64).collect();
    let plain = Sampling { max_new_tokens: 24, ..Sampling::default() };
    for (name, how) in [
        ("temperature 1", plain.clone()),
        ("greedy", Sampling { temperature: 0.0, ..plain.clone() }),
        ("top-p, stops", Sampling { top_p: Some(0.9), stop: Some(40), ..plain }),
    ] {
        let (found, expected) = (there.sample(&prompts, &how, &seeds)?, host.sample(&prompts, &how, &seeds)?);
        let flat = |all: &[Sampled]| all.iter().map(|s| s.tokens.len()).sum::<usize>();
        let same =
            |(a, b): (&Sampled, &Sampled)| a.tokens.iter().zip(&b.tokens).filter(|(a, b)| a == b).count();
        let same: usize = found.iter().zip(&expected).map(same).sum();
        let share = 1.0 - same as f32 / flat(&expected) as f32;
        check(&format!("{name}: share of tokens that differ"), share, if mixed { 1.0 } else { 0.05 });
        // Of what was drawn there, in a full pass here.
        let mut continued = lm::Batch::new();
        for (prompt, sampled) in prompts.iter().zip(&found) {
            let all = [prompt.as_slice(), &sampled.tokens].concat();
            continued.push(&all, prompt.len() - 1..all.len() - 1);
        }
        let log_probs: Vec<f32> = found.iter().flat_map(|s| s.log_probs.clone()).collect();
        let apart = Difference::of(&log_probs, &host.log_probs(&continued)?).absolute;
        check(
            &format!("{name}: log-probabilities, against a full pass"),
            apart,
            if mixed { 2e-2 } else { 2e-4 },
        );
    }
    Ok(())
}

/// The median of some runs after a first one, in seconds.
fn median(rounds: usize, mut work: impl FnMut() -> lm::Result<()>) -> lm::Result<f64> {
    work()?;
    let mut times = vec![];
    for _ in 0..rounds {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn time(name: &str, tokens: usize, seconds: f64) {
    let rate = tokens as f64 / seconds;
    emit(&json!({ "name": name, "milliseconds": seconds * 1e3, "tokens_per_second": rate }));
}

/// Training and sampling there, and `rounds` of them here. A step reads the loss and the gradient's norm, so that it
/// waits for all but its own update, which falls to the next.
fn times<B: Accelerator>(device: &B, shape: &Shape, rounds: usize) -> Outcome {
    let host = Model::new(shape.config(), Head::Lm, 1)?;
    let tokens = shape.tokens();
    let batch = batch(&tokens);
    let there = host.to_device(device)?;
    let half = shape.length / 2;
    let prompts: Vec<Vec<u32>> = tokens.iter().map(|t| t[..half].to_vec()).collect();
    let seeds: Vec<u64> = (0..prompts.len() as u64).collect();
    let how = Sampling { max_new_tokens: half, ..Sampling::default() };
    let drawn = half * prompts.len();
    let name = |what: &str| format!("{}: {what}", shape.name);

    let mut trainer = Trainer::new(there.clone(), AdamW::default(), Schedule::default())?;
    let mut losses = vec![];
    let seconds = median(9, || {
        losses.push(trainer.step(&batch, cross_entropy)?.loss);
        Ok(())
    })?;
    time(&name("training step, device"), batch.tokens(), seconds);
    note(&name("loss of the first and the last of 10 steps"), format!("{} {}", losses[0], losses[9]));
    let seconds = median(5, || there.log_probs(&batch).map(|_| ()))?;
    time(&name("scoring, device"), batch.tokens(), seconds);
    let seconds = median(3, || there.sample(&prompts, &how, &seeds).map(|_| ()))?;
    time(&name("sampling, device"), drawn, seconds);
    drop(trainer);
    match rounds {
        0 => {}
        1 => {
            let mut trainer = Trainer::new(host, AdamW::default(), Schedule::default())?;
            let start = Instant::now();
            let loss = trainer.step(&batch, cross_entropy)?.loss;
            time(&name("training step, CPU, once"), batch.tokens(), start.elapsed().as_secs_f64());
            check(&name("loss of the first step"), (losses[0] - loss).abs(), 1e-3);
        }
        _ => {
            let mut trainer = Trainer::new(host.clone(), AdamW::default(), Schedule::default())?;
            let seconds = median(rounds, || trainer.step(&batch, cross_entropy).map(|_| ()))?;
            time(&name("training step, CPU"), batch.tokens(), seconds);
            let seconds = median(rounds, || host.log_probs(&batch).map(|_| ()))?;
            time(&name("scoring, CPU"), batch.tokens(), seconds);
            let seconds = median(rounds, || host.sample(&prompts, &how, &seeds).map(|_| ()))?;
            time(&name("sampling, CPU"), drawn, seconds);
        }
    }
    Ok(())
}
