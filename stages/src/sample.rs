//! What a policy answers to the evaluation prompts, and how far it has moved from the reference policy.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    check::in_range,
    contract::{Context, Input, Output, ParamError, Stage, StageError},
    dataset::{self, Prompt, Response},
    episode::Decoding,
    evaluation::{Answer, answers},
    text::Policy,
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
        let decoding = Decoding { max_tokens: params.max_tokens, temperature: params.temperature };
        let progress = |done| ctx.progress(done, prompts.len(), "responses", &[]);
        let (seed, codec) = (ctx.seed("responses"), &policy.codec);
        let answers = answers(&policy.model, &reference.model, codec, &prompts, decoding, seed, progress)?;
        let response = |a: Answer| {
            Ok(Response {
                arm: params.arm.clone(),
                split: a.split,
                item: a.item,
                prompt: a.prompt,
                response: codec.text(&a.episode.response)?,
                kl: a.kl,
                ended: a.episode.ended,
            })
        };
        let rows = answers.into_iter().map(response).collect::<Result<Vec<_>, StageError>>()?;
        Ok(dataset::write(&ctx.output("responses"), &rows)?)
    }
}
