//! The learning rate over time, as the schedule says it and as the trainer uses it.

mod common;

use common::*;
use lm::{AdamW, Decay, Head, Schedule, Trainer};

#[test]
fn it_rises_then_falls_to_the_floor() {
    for decay in [Decay::Linear, Decay::Cosine] {
        let schedule = Schedule { warmup: 10, total: 110, decay, floor: 0.1 };
        assert_eq!(schedule.at(0), 0.1);
        assert_eq!((schedule.at(4), schedule.at(9), schedule.at(10)), (0.5, 1.0, 1.0));
        assert!((schedule.at(60) - 0.55).abs() < 1e-6, "halfway: {}", schedule.at(60));
        assert!((10..110).all(|step| schedule.at(step + 1) < schedule.at(step)));
        assert!([110, 111, 100_000].iter().all(|&step| (schedule.at(step) - 0.1).abs() < 1e-6));
    }
    let line = Schedule { total: 100, decay: Decay::Linear, ..Schedule::default() };
    let wave = Schedule { decay: Decay::Cosine, ..line.clone() };
    assert!((line.at(25) - 0.75).abs() < 1e-6);
    assert!((wave.at(25) - 0.853_553_4).abs() < 1e-6);
}

#[test]
fn edges() {
    assert!([0, 1, 1_000_000].iter().all(|&step| Schedule::default().at(step) == 1.0));
    let constant = Schedule { warmup: 2, total: 5, ..Schedule::default() };
    assert_eq!([0, 1, 2, 50].map(|step| constant.at(step)), [0.5, 1.0, 1.0, 1.0]);
    // No longer than its warm-up: at the floor as soon as that is over.
    let short = Schedule { warmup: 5, total: 3, decay: Decay::Linear, floor: 0.25 };
    assert_eq!([4, 5].map(|step| short.at(step)), [1.0, 0.25]);
}

#[test]
fn the_trainer_follows_it() {
    let schedule = Schedule { warmup: 3, total: 6, decay: Decay::Linear, floor: 0.0 };
    let optimizer = AdamW { lr: 0.01, ..AdamW::default() };
    let mut trainer = Trainer::new(model(Head::Lm, 1), optimizer, schedule.clone()).unwrap();
    let batch = batch(&sequences(1, 2));
    for step in 0..6 {
        let report = trainer.step(&batch, negative_mean).unwrap();
        assert_eq!((report.step, report.lr), (step as u64 + 1, 0.01 * schedule.at(step)));
    }
}

#[test]
fn the_first_update_of_adam_is_one_learning_rate() {
    // With a fresh state every parameter moves by `lr` against its gradient's sign, however long that is.
    let optimizer = AdamW { lr: 1e-3, clip: None, eps: 1e-20, ..AdamW::default() };
    let mut trainer = Trainer::new(model(Head::Scalar, 1), optimizer, Schedule::default()).unwrap();
    trainer.step(&batch(&sequences(1, 2)), distance_from_one).unwrap();
    let moved = trainer.model().scalar_bias().unwrap();
    assert!((moved - 1e-3).abs() < 1e-8, "the bias should rise by 0.001, it moved by {moved}");
}
