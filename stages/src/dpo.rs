//! Direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290): the policy learns from the pairs themselves.

use lm::{Batch, Model};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    check::in_range,
    contract::{Context, Input, Output, ParamError, Stage, StageError},
    dataset::{self, Pair},
    episode::{self, Episode},
    reward::{
        bradley_terry::{bradley_terry, spread},
        totals,
    },
    text::{self, Codec, Policy, per_response},
    training::{Loss, Task, Training, train},
};

pub struct Dpo;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// What the report calls this policy.
    pub arm: String,
    pub training: Training,
    /// How strongly the policy is held to the reference policy.
    pub beta: f32,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            arm: "dpo".into(),
            training: Training { steps: 300, batch: 64, lr: 2e-4, ..Training::default() },
            beta: 0.1,
        }
    }
}

impl Stage for Dpo {
    const KIND: &'static str = "dpo";
    const ABOUT: &'static str = "Trains a policy on preference pairs by direct preference optimization.";
    const INPUTS: &'static [Input] = &[
        Input::one("policy", "model", "the policy to start from, also the reference policy"),
        Input::one("pairs", "pairs", "labelled pairs; the splits `in` and `out` are not used"),
    ];
    const OUTPUTS: &'static [Output] = &[
        Output::new("model", "model", "the trained policy, in Hugging Face layout"),
        Output::new("curve", "curves", "the training loss by step"),
    ];
    type Params = Params;

    fn check(params: &Params) -> Result<(), ParamError> {
        params.training.check()?;
        in_range("beta", params.beta, f32::MIN_POSITIVE, 1e3)
    }

    fn run(params: Params, ctx: &Context) -> Result<(), StageError> {
        let Policy { model, codec } = Policy::load(ctx.input("policy"))?;
        let mut pairs: Vec<Pair> = dataset::read(ctx.input("pairs"))?;
        pairs.retain(|p| p.split == "train");
        let task = Margins::new(&model, &codec, &pairs, params.beta)?;
        let (model, curve) = train(ctx, &params.arm, model, &params.training, &task)?;
        text::save(&model, &codec, &ctx.output("model"))?;
        Ok(dataset::write(&ctx.output("curve"), &curve)?)
    }
}

/// Equation 7: the Bradley-Terry likelihood of `beta * log(policy / reference)` of both responses.
pub struct Margins {
    pairs: Vec<[Episode; 2]>,
    /// The reference policy's log-probabilities of the same responses, nats.
    reference: Vec<[f32; 2]>,
    beta: f32,
}

impl Margins {
    pub fn new(reference: &Model, codec: &Codec, pairs: &[Pair], beta: f32) -> Result<Self, StageError> {
        let pairs = Episode::pairs(codec, pairs)?;
        let mut log_probs = vec![];
        for part in pairs.chunks(256) {
            let rows = reference.log_probs(&episode::batch(part.iter().flatten()))?;
            let sums = totals(&per_response(&rows, part.iter().flatten().map(|e| e.response.len())));
            log_probs.extend(sums.chunks_exact(2).map(|both| [both[0], both[1]]));
        }
        Ok(Self { pairs, reference: log_probs, beta })
    }
}

impl Task for Margins {
    fn examples(&self) -> usize {
        self.pairs.len()
    }

    fn batch(&self, examples: &[usize]) -> Batch {
        episode::batch(examples.iter().flat_map(|&i| &self.pairs[i]))
    }

    fn loss(&self, examples: &[usize], log_probs: &[f32]) -> Loss {
        let lengths = || examples.iter().flat_map(|&i| &self.pairs[i]).map(|e| e.response.len());
        let policy = totals(&per_response(log_probs, lengths()));
        let reference = examples.iter().flat_map(|&i| self.reference[i]);
        let rewards: Vec<f32> = policy.iter().zip(reference).map(|(p, r)| self.beta * (p - r)).collect();
        let (loss, slopes) = bradley_terry(&rewards);
        let slopes: Vec<f32> = slopes.iter().map(|slope| self.beta * slope).collect();
        (loss, spread(&slopes, lengths()))
    }
}
