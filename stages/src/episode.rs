//! A prompt, and what a policy answered: in tokens.

use lm::{Batch, Model, Sampling};

use crate::{
    contract::{StageError, derive_seed},
    dataset::Pair,
    text::{Codec, push_response},
};

/// One answer of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Episode {
    /// The prompt's tokens, the separator included.
    pub prompt: Vec<u32>,
    /// The response's tokens, with the end token if it came. Never empty.
    pub response: Vec<u32>,
    /// Whether the end token came before the length ran out.
    pub ended: bool,
}

impl Episode {
    /// An episode of given texts, as if a policy had written them.
    pub fn of(codec: &Codec, prompt: &str, response: &str) -> Result<Self, StageError> {
        Ok(Self { prompt: codec.prompt(prompt)?, response: codec.response(response)?, ended: true })
    }

    /// The chosen and the rejected response of each pair.
    pub fn pairs(codec: &Codec, pairs: &[Pair]) -> Result<Vec<[Self; 2]>, StageError> {
        let both =
            |p: &Pair| Ok([Self::of(codec, &p.prompt, &p.chosen)?, Self::of(codec, &p.prompt, &p.rejected)?]);
        pairs.iter().map(both).collect()
    }

    /// Distinguishes responses; prompts are not looked at.
    pub fn same_response(&self, other: &Self) -> bool {
        self.response == other.response
    }
}

/// The responses packed for a policy or a critic: a row for each state that emits a token of a response.
pub fn batch<'a>(episodes: impl IntoIterator<Item = &'a Episode>) -> Batch {
    let mut batch = Batch::new();
    for e in episodes {
        push_response(&mut batch, &e.prompt, &e.response);
    }
    batch
}

/// How a policy answers.
#[derive(Clone, Copy, Debug)]
pub struct Decoding {
    /// Longest response, in tokens, the end token included.
    pub max_tokens: usize,
    /// 1 samples from the policy, 0 takes the likeliest token.
    pub temperature: f32,
}

/// Answers every prompt once. The random numbers of a row depend on `seed` and its index alone.
///
/// No token is kept from the policy, not even a separator: log-probabilities are of the whole vocabulary, and
/// where they and the sampler disagree, PPO finds out. It once moved a sixth of the probability to tokens that
/// were never sampled, so that the KL estimate stood at 3 nats where the divergence was 20.
pub fn answer(
    model: &Model,
    codec: &Codec,
    prompts: &[Vec<u32>],
    decoding: Decoding,
    seed: u64,
) -> Result<Vec<Episode>, StageError> {
    let sampling = Sampling {
        max_new_tokens: decoding.max_tokens,
        temperature: decoding.temperature,
        top_k: None,
        top_p: None,
        stop: Some(codec.end),
        banned: vec![],
    };
    let seeds: Vec<u64> = (0..prompts.len()).map(|row| derive_seed(seed, &format!("row {row}"))).collect();
    let sampled = model.sample(prompts, &sampling, &seeds)?;
    let episode = |(prompt, s): (&Vec<u32>, lm::Sampled)| Episode {
        prompt: prompt.clone(),
        response: s.tokens,
        ended: s.stopped,
    };
    Ok(prompts.iter().zip(sampled).map(episode).collect())
}
