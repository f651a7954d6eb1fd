//! Reward extraction in one pass against the paper's procedure, carried out literally.

use lm::{Config, Family, Head, Model, Sampling, Tokenizer};
use stages::{
    contract::derive_seed,
    episode::Episode,
    reward::{
        Reward,
        extraction::Extraction,
        layout::{Layout, Order},
        sequence::Sequence,
    },
    text::{Codec, SPECIALS},
};

const WORDS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn codec() -> Codec {
    Codec::new(Tokenizer::word_level([WORDS.join(" ").as_str()], &SPECIALS).unwrap()).unwrap()
}

/// An untrained model whose weights are large enough for its opinions to differ from token to token.
fn reward_model(codec: &Codec, seed: u64) -> Model {
    let config = Config {
        family: Family::Llama,
        vocab_size: codec.tokenizer.vocab_size(),
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 8,
        rope_theta: 10_000.0,
        rope_scaling: None,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: true,
        max_position_embeddings: 64,
    };
    Model::new(config, Head::Lm, seed).unwrap()
}

/// What the reward model writes after `context`, greedily, at most `length` tokens.
fn write(model: &Model, codec: &Codec, context: &[u32], length: usize) -> Vec<u32> {
    let greedy = Sampling {
        max_new_tokens: length,
        temperature: 0.0,
        top_k: None,
        top_p: None,
        stop: Some(codec.end),
        banned: vec![],
    };
    model.sample(&[context.to_vec()], &greedy, &[0]).unwrap().remove(0).tokens
}

/// The paper's words: generate the preferred response, compare; positive scores until the divergence; then
/// feed the response token by token and give a negative score to each token that the model would not write.
fn literally(model: &Model, codec: &Codec, layout: Layout, e: &Episode, scores: &Extraction) -> Vec<f32> {
    let context = layout.context(codec, &e.prompt, &e.response);
    let preferred = write(model, codec, &context, e.response.len());
    let mut result = vec![];
    let mut diverged = false;
    for (i, token) in e.response.iter().enumerate() {
        if !diverged && preferred.get(i) == Some(token) {
            result.push(scores.positive);
            continue;
        }
        diverged = true;
        let fed = [context.as_slice(), &e.response[..i]].concat();
        let next = write(model, codec, &fed, 1)[0];
        result.push(if next == *token { scores.late_match } else { scores.negative });
    }
    if e.ended && !scores.end_token {
        *result.last_mut().unwrap() = 0.0;
    }
    if scores.per_length {
        let n = result.len() as f32;
        result.iter_mut().for_each(|s| *s /= n);
    }
    result
}

#[test]
fn one_pass_gives_what_the_literal_procedure_gives() {
    let codec = codec();
    let mut seen = [0; 3]; // matches from the start, late matches, divergences
    for case in 0..60_u64 {
        let random = |what: &str, n: u64| derive_seed(case, what) % n;
        let model = reward_model(&codec, case);
        let text = |what: &str, length: u64| {
            let word = |i| WORDS[random(&format!("{what} {i}"), WORDS.len() as u64) as usize];
            (0..length).map(word).collect::<Vec<_>>().join(" ")
        };
        let prompt = codec.prompt(&text("prompt", 1 + random("prompt", 5))).unwrap();
        let response = codec.response(&text("response", random("response", 7))).unwrap();
        // Half of the cases begin as the reward model would, so that there is something to match.
        let mut e = Episode { prompt, response, ended: true };
        let order = if random("order", 2) == 0 { Order::Prompt } else { Order::Response };
        let (blind, fill) = (random("blind", 4) == 0, [0, 6][random("fill", 2) as usize]);
        let layout = Layout { order, blind, fill };
        if case % 2 == 0 {
            let context = layout.context(&codec, &e.prompt, &e.response);
            let own = write(&model, &codec, &context, e.response.len().saturating_sub(1).max(1));
            for (token, own) in e.response.iter_mut().zip(own).filter(|(_, own)| *own != codec.end) {
                *token = own;
            }
            e.ended = e.response.last() == Some(&codec.end);
        }
        let extraction = Extraction {
            late_match: 0.25,
            end_token: random("end", 2) == 0,
            per_length: random("length", 2) == 0,
            ..Extraction::default()
        };
        let expected = literally(&model, &codec, layout, &e, &extraction);
        let fast = Sequence { model, codec: codec.clone(), layout, extraction };
        assert_eq!(fast.scores(&[e]).unwrap(), std::slice::from_ref(&expected), "case {case}");
        for score in expected {
            seen[if score >= 0.9 {
                0
            } else if score > 0.0 {
                1
            } else {
                2
            }] += 1;
        }
    }
    assert!(seen.iter().all(|&n| n > 10), "the cases do not cover all scores: {seen:?}");
}
