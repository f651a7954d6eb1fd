//! Training through the public face: what it learns, and that its bytes depend on nothing that they should not.

mod common;

use common::*;
use lm::{AdamW, Error, Head, Schedule, Trainer};
use std::fs;
use std::path::Path;

fn loss_of(head: Head) -> fn(&[f32]) -> (f32, Vec<f32>) {
    if head == Head::Lm { negative_mean } else { distance_from_one }
}

/// Some steps, each on sequences of its own.
fn steps(trainer: &mut Trainer, from: u64, to: u64) {
    let loss = loss_of(trainer.model().head());
    for step in from..to {
        trainer.step(&batch(&sequences(step, 40)), loss).unwrap();
    }
}

fn saved(trainer: &Trainer) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    trainer.save(dir.path()).unwrap();
    fs::read(only_file(dir.path())).unwrap()
}

fn only_file(dir: &Path) -> std::path::PathBuf {
    let files: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn the_loss_sees_what_log_probs_says_bit_by_bit() {
    let all = sequences(5, 40);
    for head in [Head::Lm, Head::Scalar] {
        let mut trainer = trainer(head);
        steps(&mut trainer, 0, 3);
        let model = trainer.model().clone();
        let score = |batch: &lm::Batch| match head {
            Head::Lm => model.log_probs(batch).unwrap(),
            Head::Scalar => model.scalars(batch).unwrap(),
        };
        let whole = score(&batch(&all));
        trainer
            .step(&batch(&all), |seen| {
                assert!(bits(seen) == bits(&whole), "{head:?}: the loss sees something else");
                loss_of(head)(seen)
            })
            .unwrap();
        // Nor does it matter which sequences are read together, and which rows are asked for.
        let alone: Vec<f32> = all.iter().flat_map(|s| score(&batch(std::slice::from_ref(s)))).collect();
        assert!(bits(&alone) == bits(&whole), "{head:?}: alone and together differ");
        let some: Vec<f32> = all.chunks(7).flat_map(|s| score(&batch(s))).collect();
        assert!(bits(&some) == bits(&whole), "{head:?}: minibatches differ from the whole");
        let last = |s: &Vec<u32>| {
            let mut batch = lm::Batch::new();
            batch.push(s, s.len() - 2..s.len() - 1);
            score(&batch)[0]
        };
        let mut end = 0;
        for s in &all {
            end += s.len() - 1;
            assert_eq!(last(s).to_bits(), whole[end - 1].to_bits(), "{head:?}: one row alone differs");
        }
    }
}

#[test]
fn the_thread_count_changes_no_bit() {
    for head in [Head::Lm, Head::Scalar] {
        let run = |threads| {
            with_threads(threads, || {
                let mut trainer = trainer(head);
                steps(&mut trainer, 0, 4);
                saved(&trainer)
            })
        };
        let one = run(1);
        assert!(one == run(2) && one == run(3), "{head:?}");
    }
}

#[test]
fn a_resumed_run_gives_the_same_bytes() {
    for head in [Head::Lm, Head::Scalar] {
        // From before the first update, and from the middle of the warm-up.
        for interrupted in [0, 2] {
            let mut whole = trainer(head);
            steps(&mut whole, 0, interrupted);
            let dir = tempfile::tempdir().unwrap();
            whole.save(dir.path()).unwrap();
            steps(&mut whole, interrupted, 5);

            let optimizer = AdamW { lr: 3e-3, weight_decay: 0.01, ..AdamW::default() };
            let schedule = Schedule { warmup: 3, ..Schedule::default() };
            let mut resumed = Trainer::resume(dir.path(), optimizer, schedule).unwrap();
            assert_eq!(resumed.steps(), interrupted);
            steps(&mut resumed, interrupted, 5);
            assert!(saved(&whole) == saved(&resumed), "{head:?}, interrupted after {interrupted} steps");
        }
    }
}

#[test]
fn a_damaged_checkpoint_is_an_error() {
    let mut trainer = trainer(Head::Lm);
    steps(&mut trainer, 0, 1);
    let dir = tempfile::tempdir().unwrap();
    let resume = || Trainer::resume(dir.path(), AdamW::default(), Schedule::default()).map(|_| ());
    assert!(matches!(resume(), Err(Error::Io { .. })));
    trainer.save(dir.path()).unwrap();
    let file = only_file(dir.path());
    let whole = fs::read(&file).unwrap();
    for len in (0..whole.len()).step_by(997) {
        fs::write(&file, &whole[..len]).unwrap();
        assert!(matches!(resume(), Err(Error::Format { .. })), "{len} of {} bytes", whole.len());
    }
    let text = String::from_utf8_lossy(&whole[..4096]).replace(r#"\"version\":1"#, r#"\"version\":9"#);
    fs::write(&file, [text.as_bytes(), &whole[4096..]].concat()).unwrap();
    assert!(resume().is_err());
}

/// A large batch is cut into parts that run side by side; a small one is not.
#[test]
fn a_large_batch_and_its_pieces_accumulated_give_the_same_gradient() {
    let all = sequences(9, 60);
    assert!(batch(&all).tokens() > 4 * 256, "not large enough to be cut");
    let rows = batch(&all).rows();
    // Each row weighs something else: a part with another part's weights is found out.
    let loss_from = |first: usize| {
        move |outputs: &[f32]| {
            let weights = (first..).map(|i| ((i * 37) % 11) as f32 / rows as f32 - 0.005);
            let weights: Vec<f32> = weights.take(outputs.len()).collect();
            (outputs.iter().zip(&weights).map(|(y, w)| y * w).sum(), weights)
        }
    };
    for head in [Head::Lm, Head::Scalar] {
        let (mut whole, mut pieces) = (trainer(head), trainer(head));
        // A scalar head starts at zero, and then sends nothing back.
        steps(&mut whole, 0, 2);
        steps(&mut pieces, 0, 2);
        let with_a_silent_one = |sequences: &[Vec<u32>]| {
            let mut together = lm::Batch::new();
            together.push(&[1, 2, 3], 0..0);
            sequences.iter().for_each(|s| together.push(s, 0..s.len() - 1));
            together
        };
        let loss = whole.accumulate(&with_a_silent_one(&all), loss_from(0)).unwrap();
        let (mut first, mut sum) = (0, 0.0);
        for piece in all.chunks(5) {
            let piece = with_a_silent_one(piece);
            sum += pieces.accumulate(&piece, loss_from(first)).unwrap();
            first += piece.rows();
        }
        assert!((loss - sum).abs() < 1e-5 * (1.0 + loss.abs()), "{head:?}: {loss}, {sum}");
        for ((name, a), (_, b)) in whole.gradients().iter().zip(pieces.gradients()) {
            let norm = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
            let apart: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
            assert!(norm(a) > 0.0 && norm(&apart) < 1e-4 * norm(a), "{head:?}: {name} differs");
        }
        let (expected, found) = (whole.apply().unwrap(), pieces.apply().unwrap());
        assert!((found.grad_norm / expected.grad_norm - 1.0).abs() < 1e-4, "{found:?}, {expected:?}");
    }
}

#[test]
fn both_heads_learn() {
    let all = sequences(3, 8);
    for head in [Head::Lm, Head::Scalar] {
        let mut trainer = trainer(head);
        let first = trainer.step(&batch(&all), loss_of(head)).unwrap().loss;
        let last = (0..60).map(|_| trainer.step(&batch(&all), loss_of(head)).unwrap().loss).last().unwrap();
        assert!(last < 0.8 * first, "{head:?}: {first} to {last}");
    }
}

#[test]
fn what_cannot_be_a_step_is_refused_and_changes_nothing() {
    let mut trainer = trainer(Head::Lm);
    let batch = batch(&sequences(1, 4));
    let before = saved(&trainer);
    let n = batch.rows();
    let few = trainer.step(&batch, |_| (0.0, vec![0.0; 3]));
    assert!(matches!(few, Err(Error::LossGradient { found: 3, expected, .. }) if expected == n));
    for bad in [f32::NAN, f32::INFINITY] {
        let loss = trainer.step(&batch, |y| (bad, vec![0.0; y.len()]));
        assert!(matches!(loss, Err(Error::NonFinite { what: "loss", .. })));
        let gradient = trainer.step(&batch, |y| (0.0, vec![bad; y.len()]));
        assert!(matches!(gradient, Err(Error::NonFinite { what: "loss gradient", .. })));
    }
    let huge = trainer.step(&batch, |y| (0.0, vec![f32::MAX; y.len()]));
    assert!(matches!(huge, Err(Error::NonFinite { what: "gradient norm", .. })));
    assert!(matches!(trainer.apply(), Err(Error::Accumulation { .. })));
    assert!(saved(&trainer) == before);

    trainer.accumulate(&batch, negative_mean).unwrap();
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(trainer.save(dir.path()), Err(Error::Accumulation { .. })));
    let bad = AdamW { lr: -1.0, ..AdamW::default() };
    let refused = Trainer::new(model(Head::Lm, 0), bad, Schedule::default());
    assert!(matches!(refused, Err(Error::Optimizer { field: "lr", .. })));
}

#[test]
fn a_batch_without_rows_is_scored_but_not_trained_on() {
    for head in [Head::Lm, Head::Scalar] {
        let mut trainer = trainer(head);
        let mut no_rows = lm::Batch::new();
        no_rows.push(&[1, 2, 3], 0..0);
        for batch in [lm::Batch::new(), no_rows] {
            let refused = trainer.step(&batch, |_| panic!("there is nothing to see"));
            assert!(matches!(refused, Err(Error::NoRows { .. })));
            let model = trainer.model();
            let scores = if head == Head::Lm { model.log_probs(&batch) } else { model.scalars(&batch) };
            assert!(scores.unwrap().is_empty());
        }
    }
}
