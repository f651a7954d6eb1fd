//! What a policy answers to evaluation prompts, and how far it has moved from the reference policy.

use lm::Model;

use crate::{
    contract::StageError,
    dataset::{Prompt, numbered},
    episode::{self, Decoding, Episode, answer},
    text::{Codec, per_response},
};

/// An answer to an evaluation prompt.
pub struct Answer {
    pub split: String,
    /// The prompt's number in its split.
    pub item: u32,
    pub prompt: String,
    pub episode: Episode,
    /// KL(policy || reference), exact at every state and summed over the response (nats).
    pub kl: f32,
}

/// Answers the prompts, telling `watch` how many are done. The random numbers of a prompt depend on `seed` and its
/// place in the list alone.
pub fn answers(
    policy: &Model,
    reference: &Model,
    codec: &Codec,
    prompts: &[Prompt],
    decoding: Decoding,
    seed: u64,
    mut watch: impl FnMut(usize),
) -> Result<Vec<Answer>, StageError> {
    let tokens = prompts.iter().map(|p| codec.prompt(&p.prompt)).collect::<Result<Vec<_>, _>>()?;
    let episodes = answer(policy, codec, &tokens, decoding, seed)?;
    let mut kl = vec![];
    for part in episodes.chunks(256) {
        kl.extend(divergence(policy, reference, part)?);
        watch(kl.len());
    }
    let answer = |((item, Prompt { split, prompt }), (episode, kl)): ((u32, Prompt), (Episode, f32))| {
        Answer { split, item, prompt, episode, kl }
    };
    Ok(numbered(prompts.iter().cloned()).zip(episodes.into_iter().zip(kl)).map(answer).collect())
}

/// KL(policy || reference) of the next token, exact at every state and summed over each response's states.
fn divergence(policy: &Model, reference: &Model, episodes: &[Episode]) -> Result<Vec<f32>, StageError> {
    let vocabulary = policy.config().vocab_size;
    if reference.config().vocab_size != vocabulary {
        let message = format!(
            "the policy has {vocabulary} tokens, the reference policy {}: they cannot be compared",
            reference.config().vocab_size
        );
        return Err(
            StageError::new(message).hint("`reference` must be the model that the policy started from")
        );
    }
    let batch = episode::batch(episodes);
    let (p, q) = (policy.log_softmax(&batch)?, reference.log_softmax(&batch)?);
    let states: Vec<f32> = p
        .chunks_exact(vocabulary)
        .zip(q.chunks_exact(vocabulary))
        .map(|(p, q)| p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum())
        .collect();
    let responses = per_response(&states, episodes.iter().map(|e| e.response.len()));
    Ok(responses.iter().map(|r| r.iter().sum()).collect())
}
