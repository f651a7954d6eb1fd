//! The stage kind `ppo`: PPO against a trained reward model.

use super::{Params, optimise};
use crate::{
    contract::{Context, Input, Output, ParamError, Stage, StageError},
    dataset::{self, Prompt, Use},
    reward::{self, Reward},
    text::{self, Policy},
};

pub struct Ppo;

/// What every kind of PPO stage leaves.
pub const OUTPUTS: &[Output] = &[
    Output::new("model", "model", "the trained policy, in Hugging Face layout"),
    Output::new("curve", "curves", "reward, KL, entropy and more by update"),
    Output::new("trajectory", "trajectory", "answers to the evaluation prompts, every few updates"),
];

/// What every kind of PPO stage may be watched by.
pub const EVALUATION: Input =
    Input::optional("evaluation", "prompts", "evaluation prompts to answer on the way, never to learn from");

impl Stage for Ppo {
    const KIND: &'static str = "ppo";
    const ABOUT: &'static str = "Trains a policy by PPO against a binary or a sequence reward model.";
    const INPUTS: &'static [Input] = &[
        Input::one("policy", "model", "the policy to start from, also the reference policy"),
        Input::one("reward", "reward", "the reward model"),
        Input::one("prompts", "prompts", "the prompts to answer"),
        EVALUATION,
    ];
    const OUTPUTS: &'static [Output] = OUTPUTS;
    type Params = Params;

    fn check(params: &Params) -> Result<(), ParamError> {
        params.check()
    }

    fn run(params: Params, ctx: &Context) -> Result<(), StageError> {
        let reward = reward::load(ctx.input("reward"), params.extraction)?;
        let prompts = dataset::prompts(ctx.input("prompts"), Use::Training)?;
        run(ctx, &params, &prompts, reward.as_ref())
    }
}

/// From the stage's inputs to its outputs, whatever the reward.
pub fn run(
    ctx: &Context,
    params: &Params,
    prompts: &[Prompt],
    reward: &dyn Reward,
) -> Result<(), StageError> {
    let policy = Policy::load(ctx.input("policy"))?;
    let prompts = prompts.iter().map(|p| policy.codec.prompt(&p.prompt)).collect::<Result<Vec<_>, _>>()?;
    let evaluation = match ctx.optional("evaluation") {
        Some(path) => dataset::prompts(path, Use::Evaluation)?,
        None => vec![],
    };
    let outcome = optimise(ctx, params, &policy, &prompts, &evaluation, reward)?;
    text::save(&outcome.policy, &policy.codec, &ctx.output("model"))?;
    dataset::write(&ctx.output("curve"), &outcome.curve)?;
    Ok(dataset::write(&ctx.output("trajectory"), &outcome.trajectory)?)
}
