//! Sampling with the cache of keys and values, held against full passes over the same tokens.

mod common;

use common::*;
use lm::{Batch, Config, Error, Head, Model, Sampled, Sampling};

fn prompts(seed: u64, count: usize) -> Vec<Vec<u32>> {
    let mut rng = rng(seed);
    (0..count).map(|_| tokens(&mut rng, 1, 30)).collect()
}

fn seeds(count: usize) -> Vec<u64> {
    (0..count as u64).map(|i| i * 7919 + 3).collect()
}

fn sampling(max_new_tokens: usize) -> Sampling {
    Sampling { max_new_tokens, ..Sampling::default() }
}

/// Prompts and what came after, with the generated tokens as rows.
fn continued(prompts: &[Vec<u32>], sampled: &[Sampled]) -> Batch {
    let mut batch = Batch::new();
    for (prompt, sampled) in prompts.iter().zip(sampled) {
        let all = [prompt.as_slice(), &sampled.tokens].concat();
        batch.push(&all, prompt.len() - 1..all.len() - 1);
    }
    batch
}

/// How the cases differ: temperatures, what is left out, and where they stop.
fn ways() -> Vec<Sampling> {
    let plain = sampling(30);
    vec![
        plain.clone(),
        Sampling { temperature: 0.0, ..plain.clone() },
        Sampling { temperature: 1.7, top_p: Some(0.8), stop: Some(4), ..plain.clone() },
        Sampling { temperature: 0.6, top_k: Some(5), banned: vec![0, 7], ..plain },
    ]
}

#[test]
fn log_probs_are_those_of_a_full_pass() {
    let (model, prompts) = (model(Head::Lm, 2), prompts(1, 30));
    for how in ways() {
        let sampled = model.sample(&prompts, &how, &seeds(30)).unwrap();
        let full = model.log_probs(&continued(&prompts, &sampled)).unwrap();
        let cached: Vec<f32> = sampled.iter().flat_map(|s| s.log_probs.clone()).collect();
        assert_eq!(cached.len(), full.len());
        for (a, b) in cached.iter().zip(&full) {
            assert!((a - b).abs() < 2e-5, "{a} with the cache, {b} without");
        }
    }
}

/// Sums over more positions, or wider heads, than a product sums up in one piece are cut alike in both.
#[test]
fn log_probs_after_long_prompts_are_those_of_a_full_pass_bit_by_bit() {
    let long = Config { max_position_embeddings: 1100, ..config() };
    let wide = Config { head_dim: 600, ..config() };
    for (config, lens) in [(long, vec![1, 500, 530, 1050]), (wide, vec![1, 20])] {
        let model = Model::new(config, Head::Lm, 2).unwrap();
        let mut rng = rng(3);
        let prompts: Vec<Vec<u32>> = lens.into_iter().map(|len| tokens(&mut rng, len, len)).collect();
        let sampled = model.sample(&prompts, &sampling(40), &seeds(prompts.len())).unwrap();
        let full = model.log_probs(&continued(&prompts, &sampled)).unwrap();
        let cached: Vec<f32> = sampled.iter().flat_map(|s| s.log_probs.clone()).collect();
        assert_eq!(bits(&cached), bits(&full));
    }
}

#[test]
fn a_sequence_depends_on_its_prompt_and_seed_alone() {
    // More than go on side by side: prompts take the places of sequences that have ended.
    let (model, mut prompts) = (model(Head::Lm, 2), prompts(1, 300));
    // Equal neighbours share one reading of the prompt.
    prompts[11] = prompts[10].clone();
    prompts[12] = prompts[10].clone();
    (240..300).for_each(|i| prompts[i] = prompts[240 + i % 3].clone());
    (100..200).for_each(|i| prompts[i] = prompts[100].clone());
    let seeds = seeds(300);
    for how in ways() {
        let together = model.sample(&prompts, &how, &seeds).unwrap();
        let same = |other: &[Sampled]| {
            together.iter().zip(other).all(|(a, b)| {
                (&a.tokens, a.stopped, bits(&a.log_probs)) == (&b.tokens, b.stopped, bits(&b.log_probs))
            })
        };
        for size in [1, 3, 17] {
            let parts = prompts.chunks(size).zip(seeds.chunks(size));
            let parts: Vec<Sampled> = parts.flat_map(|(p, s)| model.sample(p, &how, s).unwrap()).collect();
            assert!(same(&parts), "{size} at a time: {how:?}");
        }
        for threads in [1, 2, 3] {
            let sampled = with_threads(threads, || model.sample(&prompts, &how, &seeds).unwrap());
            assert!(same(&sampled), "{threads} threads: {how:?}");
        }
    }
}

#[test]
fn a_sequence_ends_with_its_stop_token_or_at_the_limit() {
    let (model, prompts) = (model(Head::Lm, 3), prompts(2, 60));
    let free = model.sample(&prompts, &sampling(20), &seeds(60)).unwrap();
    let how = Sampling { stop: Some(5), ..sampling(20) };
    let stopped = model.sample(&prompts, &how, &seeds(60)).unwrap();
    for (free, stopped) in free.iter().zip(&stopped) {
        assert_eq!((free.tokens.len(), free.stopped), (20, false));
        // The same draws, cut after the first stop token.
        let end = free.tokens.iter().position(|&t| t == 5).map_or(20, |at| at + 1);
        assert_eq!(stopped.tokens, free.tokens[..end]);
        assert_eq!(stopped.log_probs.len(), end);
        assert_eq!(stopped.stopped, free.tokens[end - 1] == 5);
    }
    let ended = stopped.iter().filter(|s| s.stopped).count();
    assert!((10..60).contains(&ended), "{ended} of 60 stopped: the test shows little");
    assert!(model.sample(&prompts, &sampling(0), &seeds(60)).unwrap().iter().all(|s| s.tokens.is_empty()));
}

#[test]
fn temperature_zero_takes_the_likeliest_token() {
    let (model, prompts) = (model(Head::Lm, 4), prompts(3, 20));
    let greedy = Sampling { temperature: 0.0, ..sampling(25) };
    let sampled = model.sample(&prompts, &greedy, &seeds(20)).unwrap();
    let stats = model.token_stats(&continued(&prompts, &sampled)).unwrap();
    let tokens = sampled.iter().flat_map(|s| s.tokens.clone());
    assert!(tokens.zip(&stats).all(|(token, stats)| token == stats.argmax));
    let one = Sampling { top_k: Some(1), ..sampling(25) };
    let top: Vec<_> = model.sample(&prompts, &one, &seeds(20)).unwrap();
    assert!(top.iter().zip(&sampled).all(|(a, b)| a.tokens == b.tokens));
}

/// How often each token comes first after one prompt.
fn shares(how: &Sampling) -> (Vec<f64>, Vec<f64>) {
    const DRAWS: usize = 20_000;
    let (model, prompt) = (model(Head::Lm, 6), vec![3, 1, 4]);
    let mut batch = Batch::new();
    batch.push(&[3, 1, 4, 0], 2..3);
    let expected = model.log_softmax(&batch).unwrap().iter().map(|&l| f64::from(l).exp()).collect();
    let sampled = model.sample(&vec![prompt; DRAWS], how, &seeds(DRAWS)).unwrap();
    let mut counts = vec![0.0; VOCABULARY as usize];
    sampled.iter().for_each(|s| counts[s.tokens[0] as usize] += 1.0 / DRAWS as f64);
    (counts, expected)
}

#[test]
fn tokens_come_as_often_as_their_probability_says() {
    let (found, mut expected) = shares(&sampling(1));
    let far = |found: &[f64], expected: &[f64]| {
        found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    // Five standard deviations of the share of the likeliest token.
    assert!(far(&found, &expected) < 0.015, "{found:?}, {expected:?}");

    let how = Sampling { temperature: 0.5, banned: vec![2], ..sampling(1) };
    let (found, _) = shares(&how);
    expected[2] = 0.0;
    expected.iter_mut().for_each(|p| *p *= *p);
    let total: f64 = expected.iter().sum();
    expected.iter_mut().for_each(|p| *p /= total);
    assert!(far(&found, &expected) < 0.015, "{found:?}, {expected:?}");

    let (found, expected) = shares(&Sampling { top_k: Some(4), ..sampling(1) });
    let mut order: Vec<usize> = (0..expected.len()).collect();
    order.sort_by(|&a, &b| expected[b].total_cmp(&expected[a]));
    assert!(order[..4].iter().all(|&t| found[t] > 0.0) && order[4..].iter().all(|&t| found[t] == 0.0));

    let (found, expected) = shares(&Sampling { top_p: Some(0.5), ..sampling(1) });
    let kept: Vec<f64> = (0..expected.len()).filter(|&t| found[t] > 0.0).map(|t| expected[t]).collect();
    let (held, least) = (kept.iter().sum::<f64>(), kept.iter().copied().fold(1.0, f64::min));
    assert!(held >= 0.5 && held - least < 0.5, "{kept:?} hold {held}");
}

#[test]
fn what_cannot_be_sampled_is_refused() {
    let model = model(Head::Lm, 2);
    let one = |prompt: &[u32], how: &Sampling| model.sample(&[prompt.to_vec()], how, &[1]).map(|_| ());
    let how = sampling(4);
    assert!(one(&[1, 2], &how).is_ok());
    for bad in [&[][..], &[VOCABULARY], &[1; 61]] {
        assert!(matches!(one(bad, &how), Err(Error::Batch { sequence: 0, .. })), "{bad:?}");
    }
    let endless = sampling(usize::MAX);
    assert!(matches!(one(&[1, 2], &endless), Err(Error::Batch { sequence: 0, .. })));
    assert!(model.sample(&[], &endless, &[]).unwrap().is_empty());
    assert!(matches!(model.sample(&[vec![1]], &how, &[]), Err(Error::Sampling { field: "seeds", .. })));
    for (field, bad) in [
        ("temperature", Sampling { temperature: -1.0, ..how.clone() }),
        ("temperature", Sampling { temperature: f32::NAN, ..how.clone() }),
        ("top_k", Sampling { top_k: Some(0), ..how.clone() }),
        ("top_p", Sampling { top_p: Some(0.0), ..how.clone() }),
        ("top_p", Sampling { top_p: Some(1.5), ..how.clone() }),
        ("stop, banned", Sampling { stop: Some(VOCABULARY), ..how.clone() }),
        ("banned", Sampling { banned: (0..VOCABULARY).collect(), ..how.clone() }),
    ] {
        assert!(matches!(one(&[1], &bad), Err(Error::Sampling { field: f, .. }) if f == field), "{bad:?}");
    }
    let scalar = common::model(Head::Scalar, 1);
    assert!(matches!(scalar.sample(&[vec![1]], &how, &[1]), Err(Error::Head { .. })));
}
