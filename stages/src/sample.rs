//! What a policy answers to the evaluation prompts, and how far it has moved from the reference policy.

use std::collections::BTreeMap;

use lm::Model;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    check::in_range,
    contract::{Context, Input, Output, ParamError, Stage, StageError},
    dataset::{self, Prompt, Response},
    episode::{self, Decoding, Episode, answer},
    text::{Policy, per_response},
};

pub struct Sample;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// What the report calls the policy.
    pub arm: String,
    /// 1 samples from the policy, 0 takes the likeliest token. The same for all arms of a comparison.
    #[serde(default = "one")]
    pub temperature: f32,
    /// Longest response, in tokens.
    #[serde(default = "default_max_tokens")]
    pub max_tokens: usize,
}

fn one() -> f32 {
    1.0
}

fn default_max_tokens() -> usize {
    16
}

impl Stage for Sample {
    const KIND: &'static str = "sample";
    const ABOUT: &'static str = "Answers the evaluation prompts with a policy.";
    const INPUTS: &'static [Input] = &[
        Input::one("policy", "model", "the policy that answers"),
        Input::one("prompts", "prompts", "the evaluation prompts"),
        Input::one("reference", "model", "the policy that the KL divergence is measured from"),
    ];
    const OUTPUTS: &'static [Output] =
        &[Output::new("responses", "responses", "the answers, with their KL divergence")];
    type Params = Params;

    fn check(params: &Params) -> Result<(), ParamError> {
        in_range("temperature", params.temperature, 0.0, 100.0)?;
        in_range("max_tokens", params.max_tokens, 1, 65_536)
    }

    fn run(params: Params, ctx: &Context) -> Result<(), StageError> {
        let policy = Policy::load(ctx.input("policy"))?;
        let reference = Policy::load(ctx.input("reference"))?;
        let prompts: Vec<Prompt> = dataset::read(ctx.input("prompts"))?;
        let tokens = prompts.iter().map(|p| policy.codec.prompt(&p.prompt)).collect::<Result<Vec<_>, _>>()?;
        let decoding = Decoding { max_tokens: params.max_tokens, temperature: params.temperature };
        let episodes = answer(&policy.model, &policy.codec, &tokens, decoding, ctx.seed("responses"))?;
        let mut kl = vec![];
        for part in episodes.chunks(256) {
            kl.extend(divergence(&policy.model, &reference.model, part)?);
            ctx.progress(kl.len(), episodes.len(), "responses", &[]);
        }
        let mut items = BTreeMap::<String, u32>::new();
        let rows = prompts.into_iter().zip(episodes.iter().zip(kl)).map(|(prompt, (e, kl))| {
            let next = items.entry(prompt.split.clone()).or_insert(0);
            *next += 1;
            Ok(Response {
                arm: params.arm.clone(),
                split: prompt.split,
                item: *next - 1,
                prompt: prompt.prompt,
                response: policy.codec.text(&e.response)?,
                kl,
                ended: e.ended,
            })
        });
        let rows = rows.collect::<Result<Vec<_>, StageError>>()?;
        Ok(dataset::write(&ctx.output("responses"), &rows)?)
    }
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
