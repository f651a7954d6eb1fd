//! The stage kind `ppo-gold`: PPO against the oracle itself. No method, but the ceiling of all methods: where
//! it does not rise, PPO is broken. The only training stage that may see gold.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    contract::{Context, Input, Output, ParamError, Stage, StageError},
    dataset::{self, Use},
    episode::Episode,
    oracle::{self, Oracle},
    ppo,
    reward::{Reading, Reward, terminal},
    text::{Codec, SEPARATOR},
    worlds,
};

pub struct PpoGold;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Whose oracle pays the reward.
    pub world: String,
    #[serde(default)]
    pub ppo: ppo::Params,
}

impl Stage for PpoGold {
    const KIND: &'static str = "ppo-gold";
    const ABOUT: &'static str =
        "Trains a policy by PPO against the gold oracle: the ceiling, never a method.";
    const INPUTS: &'static [Input] = &[
        Input::one("policy", "model", "the policy to start from, also the reference policy"),
        Input::one("prompts", "prompts", "the prompts to answer"),
        ppo::EVALUATION,
    ];
    const OUTPUTS: &'static [Output] = ppo::OUTPUTS;
    type Params = Params;

    fn check(params: &Params) -> Result<(), ParamError> {
        oracle::get(&params.world).ok_or_else(|| worlds::unknown(&params.world))?;
        params.ppo.check().map_err(|e| ParamError { path: format!("ppo.{}", e.path), ..e })
    }

    fn run(params: Params, ctx: &Context) -> Result<(), StageError> {
        let oracle = oracle::get(&params.world).ok_or_else(|| StageError::new("the world is unknown"))?;
        let codec = Codec::load(ctx.input("policy"))?;
        let prompts = dataset::prompts(ctx.input("prompts"), Use::Training)?;
        oracle::check_prompts(oracle, &params.world, prompts.iter().map(|p| p.prompt.as_str()))?;
        ppo::run(ctx, &params.ppo, &prompts, &Gold { oracle, codec })
    }
}

struct Gold {
    oracle: &'static dyn Oracle,
    codec: Codec,
}

impl Reward for Gold {
    fn read(&self, episodes: &[Episode]) -> Result<Reading, StageError> {
        let score = |e: &Episode| {
            let prompt = self.codec.text(&e.prompt)?;
            let prompt = prompt.strip_suffix(SEPARATOR).unwrap_or(&prompt).trim_end();
            let gold = self.oracle.score(prompt, &self.codec.text(&e.response)?).gold;
            Ok(terminal(gold, &e.response))
        };
        Ok(episodes.iter().map(score).collect::<Result<Vec<_>, StageError>>()?.into())
    }

    fn is_scalar(&self) -> bool {
        true
    }
}
