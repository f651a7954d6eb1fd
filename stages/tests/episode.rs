//! What a policy answers is drawn from the distribution whose log-probabilities PPO uses.

use lm::{Config, Head, Model, Tokenizer};
use stages::{
    episode::{self, Decoding, answer},
    text::{Codec, SPECIALS},
};

#[test]
fn every_token_is_sampled_as_often_as_the_policy_says() {
    let tokenizer = Tokenizer::word_level(["a b c"], &SPECIALS).unwrap();
    let config: Config = serde_json::from_value(serde_json::json!({
        "vocab_size": tokenizer.vocab_size(), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "tie_word_embeddings": true, "max_position_embeddings": 16,
    }))
    .unwrap();
    let vocabulary = config.vocab_size;
    let (model, codec) = (Model::new(config, Head::Lm, 1).unwrap(), Codec::new(tokenizer).unwrap());
    let prompts = vec![codec.prompt("a b").unwrap(); 4000];
    let decoding = Decoding { max_tokens: 1, temperature: 1.0 };
    let episodes = answer(&model, &codec, &prompts, decoding, 3).unwrap();

    let expected = model.log_softmax(&episode::batch(&episodes[..1])).unwrap();
    for (token, log_prob) in (0..vocabulary as u32).zip(expected) {
        let share = episodes.iter().filter(|e| e.response == [token]).count() as f32 / 4000.0;
        assert!((share - log_prob.exp()).abs() < 0.03, "{token}: {share}, expected {}", log_prob.exp());
    }
}
