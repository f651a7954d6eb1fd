//! Best of n: of several responses of a policy to each prompt, the one that a reward model likes best, to be imitated.
//! With stage kind `sft` behind it this is rejection-sampling fine-tuning (RFT; Touvron et al. 2023, section 3.2.3).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    check::in_range,
    contract::{Context, Input, Output, ParamError, Stage, StageError},
    dataset::{self, Demonstration, Use},
    episode::{Decoding, answer},
    reward::{self, extraction::Extraction, totals},
    text::Policy,
};

pub struct BestOfN;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Responses to each prompt.
    pub n: usize,
    /// Prompts to take.
    pub prompts: usize,
    /// Longest response, in tokens, the end token included.
    pub max_tokens: usize,
    /// How a sequence reward model's output is read; the others have no use for it.
    pub extraction: Extraction,
}

impl Default for Params {
    fn default() -> Self {
        Self { n: 4, prompts: 6000, max_tokens: 16, extraction: Extraction::default() }
    }
}

impl Stage for BestOfN {
    const KIND: &'static str = "best-of-n";
    const ABOUT: &'static str =
        "Samples n responses to each prompt and keeps the one with the highest reward.";
    const INPUTS: &'static [Input] = &[
        Input::one("policy", "model", "the policy that answers"),
        Input::one("reward", "reward", "the reward model that chooses"),
        Input::one("prompts", "prompts", "the prompts to answer"),
    ];
    const OUTPUTS: &'static [Output] =
        &[Output::new("best", "demonstrations", "the best responses, to imitate")];
    type Params = Params;

    fn check(params: &Params) -> Result<(), ParamError> {
        in_range("n", params.n, 1, 1000)?;
        in_range("prompts", params.prompts, 1, 10_000_000)?;
        in_range("max_tokens", params.max_tokens, 1, 65_536)?;
        params.extraction.check("extraction")
    }

    fn run(params: Params, ctx: &Context) -> Result<(), StageError> {
        let policy = Policy::load(ctx.input("policy"))?;
        let reward = reward::load(ctx.input("reward"), params.extraction)?;
        let mut prompts = dataset::prompts(ctx.input("prompts"), Use::Training)?;
        prompts.truncate(params.prompts);
        let tokens = prompts.iter().map(|p| policy.codec.prompt(&p.prompt)).collect::<Result<Vec<_>, _>>()?;
        let decoding = Decoding { max_tokens: params.max_tokens, temperature: 1.0 };
        // Of each prompt the highest total so far, and the response that earned it. A response without an end has
        // no text to imitate.
        let mut best: Vec<Option<(f32, Vec<u32>)>> = vec![None; prompts.len()];
        for round in 0..params.n {
            let seed = ctx.seed(&format!("response {round}"));
            let episodes = answer(&policy.model, &policy.codec, &tokens, decoding, seed)?;
            let totals = totals(&reward.scores(&episodes)?);
            if let Some(i) = totals.iter().position(|total| !total.is_finite()) {
                let message = format!("the reward of an answer to `{}` is {}", prompts[i].prompt, totals[i]);
                return Err(StageError::new(message).hint("look at the reward model's training curve"));
            }
            for (best, (e, total)) in best.iter_mut().zip(episodes.into_iter().zip(totals)) {
                if e.ended && best.as_ref().is_none_or(|(most, _)| total > *most) {
                    *best = Some((total, e.response));
                }
            }
            ctx.progress((round + 1) * prompts.len(), params.n * prompts.len(), "responses", &[]);
        }
        let kept = prompts.into_iter().zip(best).filter_map(|(p, best)| Some((p.prompt, best?.1)));
        let demonstration = |(prompt, response): (String, Vec<u32>)| {
            Ok(Demonstration { prompt, response: policy.codec.text(&response)? })
        };
        let rows = kept.map(demonstration).collect::<Result<Vec<_>, StageError>>()?;
        Ok(dataset::write(&ctx.output("best"), &rows)?)
    }
}
