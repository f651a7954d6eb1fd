//! What the policy answers to the evaluation prompts on its way: for curves of gold against KL, and for comparing arms
//! at the same KL.

use lm::Model;

use super::Params;
use crate::{
    contract::StageError,
    dataset::{Prompt, Snapshot},
    episode::{Decoding, Episode},
    evaluation::{Answer, answers},
    reward::{Reward, totals},
    text::Policy,
};

pub struct Watch<'a> {
    pub params: &'a Params,
    /// The policy that training started from, also the reference policy.
    pub start: &'a Policy,
    /// May be empty.
    pub prompts: &'a [Prompt],
    pub reward: &'a dyn Reward,
    /// The same at all steps, so that two of them differ by the policy alone.
    pub seed: u64,
}

impl Watch<'_> {
    /// Whether there is to be a snapshot after that many updates; always after the last one.
    pub fn looks_at(&self, updates: usize) -> bool {
        updates.is_multiple_of(self.params.evaluate_every) || updates == self.params.updates
    }

    pub fn snapshot(&self, policy: &Model, updates: usize) -> Result<Vec<Snapshot>, StageError> {
        if self.prompts.is_empty() {
            return Ok(vec![]);
        }
        let decoding = Decoding { max_tokens: self.params.max_tokens, temperature: 1.0 };
        let (reference, codec) = (&self.start.model, &self.start.codec);
        let answers = answers(policy, reference, codec, self.prompts, decoding, self.seed, |_| {})?;
        let episodes: Vec<Episode> = answers.iter().map(|a| a.episode.clone()).collect();
        let proxies = totals(&self.reward.scores(&episodes)?);
        let row = |(a, proxy): (Answer, f32)| {
            Ok(Snapshot {
                arm: self.params.arm.clone(),
                step: updates as u32,
                response: codec.text(&a.episode.response)?,
                ended: a.episode.ended,
                split: a.split,
                item: a.item,
                prompt: a.prompt,
                kl: a.kl,
                proxy,
            })
        };
        answers.into_iter().zip(proxies).map(row).collect()
    }
}
