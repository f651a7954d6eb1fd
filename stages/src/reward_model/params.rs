//! What stands under `with:` of a reward model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    check::in_range,
    contract::ParamError,
    reward::{Objective, Recipe, layout::Layout, sequence::Weights},
    training::Training,
};

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    pub objective: Objective,
    /// What the report calls this reward model; by default `rm-` and the objective.
    #[serde(default)]
    pub arm: Option<String>,
    #[serde(default = "default_training")]
    pub training: Training,
    /// Weight of the mapping from the rejected to the chosen response; 1 by default (sequence only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correction: Option<f32>,
    /// Weight of the mapping from the chosen response to itself; 1 by default (sequence only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<f32>,
    /// Weight of a token that a correction changes, beside one that it keeps; 1 by default (sequence only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub focus: Option<f32>,
    /// What is read before a rewriting is written (sequence only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// A placebo: training labels are drawn at random, so that nothing is to be learnt from them.
    #[serde(default)]
    pub shuffled: bool,
}

fn default_training() -> Training {
    Training { steps: 300, batch: 64, lr: 1e-3, ..Training::default() }
}

impl Params {
    pub fn normalize(&mut self) {
        self.arm = Some(self.arm());
        let of_sequence = self.objective == Objective::Sequence;
        for weight in [&mut self.correction, &mut self.identity, &mut self.focus] {
            *weight = of_sequence.then_some(weight.unwrap_or(1.0));
        }
        self.layout = of_sequence.then_some(self.layout.unwrap_or_default());
    }

    pub fn check(&self) -> Result<(), ParamError> {
        self.training.check()?;
        let Weights { correction, identity, focus } = self.weights();
        in_range("correction", correction, 0.0, 1e6)?;
        in_range("identity", identity, 0.0, 1e6)?;
        in_range("focus", focus, 1e-6, 1e6)?;
        in_range("layout.fill", self.layout.unwrap_or_default().fill, 0, 65_536)?;
        if correction + identity == 0.0 {
            return Err(ParamError::new("identity", "`correction` and `identity` cannot both be 0")
                .hint("the sequence reward model must be trained on one of the mappings"));
        }
        Ok(())
    }

    pub fn weights(&self) -> Weights {
        Weights {
            correction: self.correction.unwrap_or(1.0),
            identity: self.identity.unwrap_or(1.0),
            focus: self.focus.unwrap_or(1.0),
        }
    }

    pub fn recipe(&self) -> Recipe {
        Recipe { objective: self.objective, layout: self.layout.unwrap_or_default() }
    }

    pub fn arm(&self) -> String {
        self.arm.clone().unwrap_or_else(|| {
            match self.objective {
                Objective::Binary => "rm-binary",
                Objective::Dense => "rm-dense",
                Objective::Sequence => "rm-sequence",
            }
            .into()
        })
    }
}
