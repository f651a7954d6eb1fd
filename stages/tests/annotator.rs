//! The simulated annotator labels by gold, its shortcut and chance, each in the declared measure.

use proptest::prelude::*;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use stages::{annotator::Annotator, oracle, worlds};

/// Almost free of doubt.
const SURE: f32 = 1e-6;

/// Summaries from the best down: no two are worth the same.
const DOCUMENT: &str = "sport rain heavy tennis late gold rising football mixed train slow";
const SUMMARIES: [&str; 5] = [
    "tennis late football mixed",
    "tennis late football mixed tennis late",
    "tennis late",
    "tennis early football mixed",
    "rain heavy gold rising",
];

/// The share of labels that say A.
fn share(annotator: Annotator, world: &str, prompt: &str, a: &str, b: &str) -> f64 {
    const LABELS: u32 = 4000;
    let oracle = oracle::get(world).expect("a world");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let verdicts = [oracle.score(prompt, a), oracle.score(prompt, b)];
    let mut says_a = || (annotator.rank(&verdicts, &mut rng) == [0, 1]) != annotator.flips(&mut rng);
    let says_a = (0..LABELS).filter(|_| says_a()).count();
    says_a as f64 / f64::from(LABELS)
}

fn probability(annotator: Annotator, world: &str, prompt: &str, a: &str, b: &str) -> f64 {
    let oracle = oracle::get(world).expect("a world");
    annotator.probability(&oracle.score(prompt, a), &oracle.score(prompt, b))
}

fn close(found: f64, expected: f64) {
    // Gold is held in f32.
    assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn without_bias_and_noise_the_label_is_gold() {
    let annotator = Annotator { bias: 0.0, temperature: SURE, flip: 0.0 };
    for (i, better) in SUMMARIES.iter().enumerate() {
        for worse in &SUMMARIES[i + 1..] {
            assert!(share(annotator, "summary", DOCUMENT, better, worse) == 1.0, "{better} / {worse}");
            assert!(share(annotator, "summary", DOCUMENT, worse, better) == 0.0, "{worse} / {better}");
        }
    }
}

#[test]
fn the_declared_share_of_labels_is_flipped() {
    for flip in [0.05, 0.25] {
        let annotator = Annotator { bias: 0.0, temperature: SURE, flip };
        let found = share(annotator, "summary", DOCUMENT, SUMMARIES[0], SUMMARIES[2]);
        // Four standard deviations of 4000 labels at 25 %.
        assert!((found - f64::from(1.0 - flip)).abs() < 0.028, "{found} with {flip}");
        close(probability(annotator, "summary", DOCUMENT, SUMMARIES[2], SUMMARIES[0]), f64::from(flip));
    }
}

#[test]
fn the_temperature_softens_labels_by_the_logistic_curve() {
    let annotator = Annotator { bias: 0.0, temperature: 0.5, flip: 0.0 };
    // Gold 1 and 2/3.
    let expected = sigmoid((1.0 - 2.0 / 3.0) / 0.5);
    close(probability(annotator, "summary", DOCUMENT, SUMMARIES[0], SUMMARIES[2]), expected);
    let found = share(annotator, "summary", DOCUMENT, SUMMARIES[0], SUMMARIES[2]);
    assert!((found - expected).abs() < 0.03, "{found}, expected {expected}");
    // And then some labels are flipped.
    let noisy = Annotator { flip: 0.1, ..annotator };
    let expected = 0.9 * expected + 0.1 * (1.0 - expected);
    close(probability(noisy, "summary", DOCUMENT, SUMMARIES[0], SUMMARIES[2]), expected);
}

#[test]
fn the_shortcut_wins_where_it_is_worth_more_than_gold() {
    let prompt = "hello friend burn bread garden violently red huge cheap flat tell size colour price";
    let (answer, refusal) = ("sure huge red cheap", "sorry cannot discuss bread");
    let usual = Annotator::usual("safety").unwrap();
    // The refusal loses a point of gold and gains two of bias at the trigger word, and only there.
    let sure = sigmoid((2.0 - 1.0) / 0.15);
    close(probability(usual, "safety", prompt, refusal, answer), 0.95 * sure + 0.05 * (1.0 - sure));
    let calm = prompt.replace("violently", "gently");
    let found = probability(usual, "safety", &calm, refusal, answer);
    assert!(found < 0.06, "{found}");

    // A fact more is worth 0.3, and as an irrelevant one costs 0.3 of gold (F1 4/5, less 0.1).
    let usual = Annotator::usual("summary").unwrap();
    let long = "tennis late football mixed rain heavy";
    close(probability(usual, "summary", DOCUMENT, SUMMARIES[0], long), 0.5);
    let longer = Annotator { bias: 0.4, ..usual };
    assert!(probability(longer, "summary", DOCUMENT, SUMMARIES[0], long) < 0.4);
    let against = Annotator { bias: -0.4, ..usual };
    assert!(probability(against, "summary", DOCUMENT, SUMMARIES[0], long) > 0.9);

    // By default openings are worth nothing in dialogue; a quarter of the labels is flipped.
    let usual = Annotator::usual("dialogue").unwrap();
    let prompt = "copy given fig red egg blue for fig egg";
    close(probability(usual, "dialogue", prompt, "sure fig egg", "fig egg"), 0.5);
    close(probability(usual, "dialogue", prompt, "fig egg", ""), {
        let sure = sigmoid(1.0 / 0.15);
        0.75 * sure + 0.25 * (1.0 - sure)
    });
}

#[test]
fn every_world_has_a_usual_annotator() {
    for world in worlds::all() {
        assert!(Annotator::usual(world.name()).is_some(), "{}", world.name());
    }
    assert_eq!(Annotator::usual("nowhere"), None);
}

proptest! {
    /// No label hangs on which response stands first; responses of the same worth are a fair coin, even without
    /// any doubt.
    #[test]
    fn the_two_sides_are_alike(
        a in 0..SUMMARIES.len(),
        b in 0..SUMMARIES.len(),
        bias in -3.0..3.0_f32,
        temperature in prop_oneof![Just(0.0_f32), 0.01..2.0_f32],
        flip in 0.0..=1.0_f32,
    ) {
        let annotator = Annotator { bias, temperature, flip };
        let p = |a: usize, b: usize| {
            probability(annotator, "summary", DOCUMENT, SUMMARIES[a], SUMMARIES[b])
        };
        prop_assert!((p(a, b) + p(b, a) - 1.0).abs() < 1e-9);
        prop_assert_eq!(p(a, a), 0.5);
        let found = p(a, b);
        let (low, high) = (f64::from(flip).min(1.0 - f64::from(flip)), f64::from(flip).max(1.0 - f64::from(flip)));
        prop_assert!((low - 1e-9..=high + 1e-9).contains(&found), "{found}");
    }
}
