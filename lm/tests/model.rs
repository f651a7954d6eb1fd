//! What a model says about rows, and how it is made.

mod common;

use common::*;
use lm::{Batch, Error, Head};

#[test]
fn statistics_of_a_token_are_those_of_the_whole_distribution() {
    let model = model(Head::Lm, 1);
    let all = sequences(1, 20);
    let batch = batch(&all);
    let targets = all.iter().flat_map(|s| s[1..].to_vec());
    let (log_probs, stats) = (model.log_probs(&batch).unwrap(), model.token_stats(&batch).unwrap());
    let whole = model.log_softmax(&batch).unwrap();
    let rows = whole.chunks_exact(VOCABULARY as usize);
    assert_eq!(rows.len(), batch.rows());
    for (((row, stats), log_prob), target) in rows.zip(&stats).zip(log_probs).zip(targets) {
        let p: Vec<f64> = row.iter().map(|&l| f64::from(l).exp()).collect();
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-5);
        assert_eq!(stats.log_prob, log_prob);
        assert!((row[target as usize] - log_prob).abs() < 1e-6);
        let entropy: f64 = p.iter().map(|p| -p * p.ln()).sum();
        assert!((f64::from(stats.entropy) - entropy).abs() < 1e-5);
        let most = row.iter().copied().fold(f32::MIN, f32::max);
        assert_eq!(row[stats.argmax as usize], most);
        assert!((stats.argmax_prob - most.exp()).abs() < 1e-5);
    }
}

#[test]
fn a_position_sees_nothing_that_comes_later() {
    let mut tokens = sequences(4, 1).remove(0);
    for head in [Head::Lm, Head::Scalar] {
        let mut trainer = trainer(head);
        trainer.step(&batch(std::slice::from_ref(&tokens)), distance_from_one).unwrap();
        let model = trainer.into_model();
        let score = |tokens: &[u32]| {
            let batch = batch(&[tokens.to_vec()]);
            if head == Head::Lm { model.log_probs(&batch) } else { model.scalars(&batch) }.unwrap()
        };
        let before = score(&tokens);
        let changed = tokens.len() / 2;
        tokens[changed] = (tokens[changed] + 1) % VOCABULARY;
        let after = score(&tokens);
        // The language-model head's row before the token is about that token.
        let same = if head == Head::Lm { changed - 1 } else { changed };
        assert!(before[..same] == after[..same], "{head:?}: looks ahead");
        assert!(before[same..].iter().zip(&after[same..]).all(|(a, b)| a != b), "{head:?}: is blind");
    }
}

#[test]
fn heads_can_be_changed() {
    let lm = model(Head::Lm, 1);
    let mut scalar = lm.with_head(Head::Scalar);
    let batch = batch(&sequences(2, 3));
    assert!(scalar.scalars(&batch).unwrap().iter().all(|&v| v == 0.0), "a new scalar head says nothing");
    scalar.set_scalar_bias(0.75).unwrap();
    assert_eq!(scalar.scalar_bias().unwrap(), 0.75);
    assert!(scalar.scalars(&batch).unwrap().iter().all(|&v| v == 0.75));
    assert_eq!(lm.with_head(Head::Lm).log_probs(&batch).unwrap(), lm.log_probs(&batch).unwrap());
    assert_eq!(scalar.with_head(Head::Lm).head(), Head::Lm);

    assert!(matches!(lm.scalars(&batch), Err(Error::Head { operation: "scalars", .. })));
    assert!(matches!(scalar.log_probs(&batch), Err(Error::Head { operation: "log_probs", .. })));
    assert!(matches!(lm.scalar_bias(), Err(Error::Head { .. })));
}

#[test]
fn a_seed_gives_a_model() {
    let batch = batch(&sequences(2, 3));
    let says = |seed| model(Head::Lm, seed).log_probs(&batch).unwrap();
    assert_eq!(bits(&says(1)), bits(&says(1)));
    assert_ne!(bits(&says(1)), bits(&says(2)));
}

#[test]
fn a_batch_that_does_not_fit_is_refused() {
    let (lm, scalar) = (model(Head::Lm, 1), model(Head::Scalar, 1));
    let one = |tokens: &[u32], rows| {
        let mut batch = Batch::new();
        batch.push(&[1, 2], 0..1);
        batch.push(tokens, rows);
        batch
    };
    assert!(lm.log_probs(&one(&[1, 2, 3], 0..2)).is_ok());
    assert!(scalar.scalars(&one(&[1, 2, 3], 0..3)).is_ok());
    for (tokens, rows) in [
        (&[][..], 0..0),
        (&[1, 2, 3], 0..3), // nothing follows the last token
        (&[1, VOCABULARY], 0..1),
        (&[1; 65], 0..1),
    ] {
        let found = lm.log_probs(&one(tokens, rows));
        assert!(matches!(found, Err(Error::Batch { sequence: 1, .. })), "{tokens:?}: {found:?}");
    }
    assert!(scalar.scalars(&one(&[1, 2, 3], 0..4)).is_err());
}

#[test]
fn a_configuration_that_cannot_be_is_refused() {
    type Edit = fn(&mut lm::Config);
    let edits: [(&str, Edit); 7] = [
        ("vocab_size", |c| c.vocab_size = 0),
        ("hidden_size", |c| c.hidden_size = usize::MAX),
        ("head_dim", |c| c.head_dim = 7),
        ("num_key_value_heads", |c| c.num_key_value_heads = 3),
        ("num_key_value_heads", |c| c.num_key_value_heads = 8),
        ("rope_theta", |c| c.rope_theta = f32::NAN),
        ("rms_norm_eps", |c| c.rms_norm_eps = 0.0),
    ];
    for (field, edit) in edits {
        let mut config = config();
        edit(&mut config);
        let found = lm::Model::new(config, Head::Lm, 1).map(|_| ());
        assert!(matches!(found, Err(Error::Config { field: f, .. }) if f == field), "{field}: {found:?}");
    }
}
