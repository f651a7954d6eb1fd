//! What runs on a card, on dfdx's own CPU device: the same code but for the device, held against [`Cpu`].

use super::sealed::{Handle, Sealed};
use super::{Accelerator, Backend, Cpu};
use crate::ops::Composed;
use crate::{AdamW, Batch, Config, Error, Head, Model, Sampled, Sampling, Schedule, Trainer};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

type Device = dfdx::prelude::Cpu;

#[derive(Default)]
struct Reference(Device);

impl Backend for Reference {}
impl Accelerator for Reference {}

impl Sealed for Reference {
    type Engine = Composed<Device>;
}

impl Handle for Reference {
    fn device(&self) -> &Device {
        &self.0
    }
}

const VOCABULARY: u32 = 23;

fn model(head: Head, tied: bool) -> Model {
    let config = Config { vocab_size: VOCABULARY as usize, tie_word_embeddings: tied, ..Config::small() };
    // A few steps, so that no part of it says nothing.
    let mut trainer = trainer(Model::new(config, head, 3).unwrap());
    for seed in 0..8 {
        trainer.step(&batch(&sequences(seed, 10)), far_from_one).unwrap();
    }
    trainer.into_model()
}

fn trainer<B: Backend>(model: Model<B>) -> Trainer<B> {
    let optimizer = AdamW { lr: 1e-2, weight_decay: 0.1, clip: Some(0.5), ..AdamW::default() };
    Trainer::new(model, optimizer, Schedule { warmup: 3, ..Schedule::default() }).unwrap()
}

/// Random sequences of 2 to 29 tokens.
fn sequences(seed: u64, count: usize) -> Vec<Vec<u32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut below = |n: u32| rng.next_u32() % n;
    let mut sequence = || {
        let len = 2 + below(28);
        (0..len).map(|_| below(VOCABULARY)).collect()
    };
    (0..count).map(|_| sequence()).collect()
}

fn batch(sequences: &[Vec<u32>]) -> Batch {
    let mut batch = Batch::new();
    sequences.iter().for_each(|s| batch.push(s, 0..s.len() - 1));
    batch
}

fn far_from_one(outputs: &[f32]) -> (f32, Vec<f32>) {
    let n = outputs.len() as f32;
    let loss = outputs.iter().map(|y| (y - 1.0).powi(2)).sum::<f32>() / n;
    (loss, outputs.iter().map(|y| 2.0 * (y - 1.0) / n).collect())
}

fn close(what: &str, a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance * (1.0 + a.abs().max(b.abs())), "{what}[{i}]: {a} and {b}");
    }
}

fn scores<B: Backend>(model: &Model<B>, batch: &Batch) -> Vec<f32> {
    match model.head() {
        Head::Lm => model.log_probs(batch).unwrap(),
        Head::Scalar => model.scalars(batch).unwrap(),
    }
}

/// Scores, then steps with clipping, decay and two accumulated batches: outputs and parameters stay together.
fn follows<B: Accelerator>(device: &B, head: Head, tied: bool, tolerance: f32) {
    let host = model(head, tied);
    let there = host.to_device(device).unwrap();
    let held_out = batch(&sequences(77, 9));
    close("scores", &scores(&there, &held_out), &scores(&host, &held_out), tolerance);
    let (mut a, mut b) = (trainer(there), trainer(host));
    for seed in 0..6 {
        let (one, two) = (batch(&sequences(seed, 5)), batch(&sequences(seed + 50, 3)));
        a.accumulate(&one, far_from_one).unwrap();
        b.accumulate(&one, far_from_one).unwrap();
        let (a, b) = (a.step(&two, far_from_one).unwrap(), b.step(&two, far_from_one).unwrap());
        assert_eq!((a.step, a.lr), (b.step, b.lr));
        close("loss and norm", &[a.loss, a.grad_norm], &[b.loss, b.grad_norm], tolerance);
    }
    let (a, b) = (a.into_model().to_cpu().unwrap(), b.into_model());
    for ((a, b), slot) in a.values().into_iter().zip(b.values()).zip(b.decoder.slots.iter()) {
        close(slot.name(), a, b, 10.0 * tolerance);
    }
    close("scores after", &scores(&a, &held_out), &scores(&b, &held_out), 10.0 * tolerance);
}

#[test]
fn training_on_a_device_follows_the_cpu() {
    for (head, tied) in [(Head::Lm, true), (Head::Lm, false), (Head::Scalar, true)] {
        follows(&Reference::default(), head, tied, 2e-4);
    }
}

#[test]
fn statistics_on_a_device_are_those_of_the_cpu() {
    let host = model(Head::Lm, true);
    let there = host.to_device(&Reference::default()).unwrap();
    let batch = batch(&sequences(5, 12));
    close("log_softmax", &there.log_softmax(&batch).unwrap(), &host.log_softmax(&batch).unwrap(), 1e-4);
    for (a, b) in there.token_stats(&batch).unwrap().iter().zip(host.token_stats(&batch).unwrap()) {
        let numbers = |s: &crate::TokenStats| [s.log_prob, s.entropy, s.argmax_prob];
        close("token_stats", &numbers(a), &numbers(&b), 1e-4);
    }
    let mut no_rows = Batch::new();
    no_rows.push(&[1, 2, 3], 0..0);
    for batch in [Batch::new(), no_rows] {
        assert!(there.log_probs(&batch).unwrap().is_empty());
        assert!(matches!(trainer(there.clone()).step(&batch, far_from_one), Err(Error::NoRows { .. })));
    }
}

/// Prompts of many lengths, sequences that stop early or not, grouped queries.
#[test]
fn a_device_draws_the_tokens_of_the_cpu() {
    let host = model(Head::Lm, false);
    let there = host.to_device(&Reference::default()).unwrap();
    let prompts = sequences(9, 40);
    let seeds: Vec<u64> = (0..40).map(|i| i * 7919 + 3).collect();
    let plain = Sampling { max_new_tokens: 25, ..Sampling::default() };
    for how in [
        plain.clone(),
        Sampling { max_new_tokens: 1, ..plain.clone() },
        Sampling { max_new_tokens: 0, ..plain.clone() },
        Sampling { temperature: 0.0, stop: Some(3), ..plain.clone() },
        Sampling { temperature: 1.7, stop: Some(4), banned: vec![0, 7], ..plain },
    ] {
        let (a, b) = (there.sample(&prompts, &how, &seeds).unwrap(), host.sample(&prompts, &how, &seeds));
        for (a, b) in a.iter().zip(b.unwrap()) {
            assert_eq!((&a.tokens, a.stopped), (&b.tokens, b.stopped));
            close("log-probabilities", &a.log_probs, &b.log_probs, 1e-4);
        }
    }
    assert_eq!(there.sample(&[], &Sampling::default(), &[]).unwrap(), Vec::<Sampled>::new());
}

#[test]
fn a_model_comes_back_as_it_went() {
    for head in [Head::Lm, Head::Scalar] {
        let host = model(head, true);
        let back = host.to_device(&Reference::default()).unwrap().to_cpu().unwrap();
        assert!(host.values() == back.values());
        assert_eq!((host.config(), host.head()), (back.config(), back.head()));
    }
}

#[test]
fn what_panics_on_a_device_is_an_error() {
    use super::Engine;
    let failed = <Composed<Device> as Engine>::guard(|| -> u8 { panic!("out of memory") });
    assert!(matches!(failed, Err(Error::Device { found }) if found == "out of memory"));
    assert_eq!(<<Cpu as Sealed>::Engine as Engine>::guard(|| 3).unwrap(), 3);
}

mod mixed {
    use super::*;
    use crate::ops::composed::Half;

    #[derive(Default)]
    struct Mixed(Device);

    impl Backend for Mixed {}
    impl Accelerator for Mixed {}

    impl Sealed for Mixed {
        type Engine = Composed<Device, Half>;
    }

    impl Handle for Mixed {
        fn device(&self) -> &Device {
            &self.0
        }
    }

    #[test]
    fn mixed_precision_stays_near() {
        for (head, tied) in [(Head::Lm, true), (Head::Lm, false), (Head::Scalar, true)] {
            follows(&Mixed::default(), head, tied, 2e-2);
        }
    }
}
