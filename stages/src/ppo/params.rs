//! PPO's hyper-parameters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{check::in_range, contract::ParamError, reward::extraction::Extraction};

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// What the report calls this policy.
    pub arm: String,
    /// Rollouts of `batch` prompts, each followed by `epochs` passes over it.
    pub updates: usize,
    /// Prompts in a rollout.
    pub batch: usize,
    pub epochs: usize,
    /// Optimizer steps in an epoch.
    pub minibatches: usize,
    /// Longest response, in tokens, the end token included.
    pub max_tokens: usize,
    /// Peak learning rate of the policy; it decays linearly to 0.
    pub lr: f32,
    /// Optimizer steps of linear warm-up, of the policy and of the critic. Adam's first steps are as long as the
    /// learning rate whatever the gradient, and are taken before the critic has seen a return.
    pub warmup: usize,
    /// Peak learning rate of the critic; likewise.
    pub critic_lr: f32,
    /// Coefficient of the KL penalty.
    pub kl: f32,
    /// If given, the coefficient is adapted so that the KL divergence (nats a response) nears this
    /// (Ziegler et al. 2019, section 2.2).
    pub kl_target: Option<f32>,
    /// Ratios are clipped to `1 - clip ..= 1 + clip`.
    pub clip: f32,
    /// A value may move by this much from its old one before its loss is clipped.
    pub value_clip: f32,
    /// Discount.
    pub gamma: f32,
    /// GAE's lambda.
    pub lambda: f32,
    /// Added to the last token of a response without an end token.
    pub missing_end: f32,
    /// Prompts whose answers by the reference policy, two to each, set the reward's scale (and zero, if it is a scalar).
    pub calibration: usize,
    /// Whether the mean score of the reference policy's tokens is taken from every token's score: a token like any
    /// other then earns nothing, and length does not pay by itself. A scalar reward is centred in any case.
    pub center_tokens: bool,
    /// Largest global norm of the gradient.
    pub grad_clip: f32,
    /// Updates between two answers to the evaluation prompts, where there are some.
    pub evaluate_every: usize,
    /// How a sequence reward model's output is read; a binary one has no use for it.
    pub extraction: Extraction,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            arm: "ppo".into(),
            updates: 40,
            batch: 256,
            epochs: 2,
            minibatches: 2,
            max_tokens: 16,
            lr: 5e-4,
            warmup: 12,
            critic_lr: 1e-3,
            kl: 0.05,
            kl_target: None,
            clip: 0.2,
            value_clip: 0.2,
            gamma: 1.0,
            lambda: 0.95,
            missing_end: -1.0,
            calibration: 512,
            center_tokens: false,
            grad_clip: 1.0,
            evaluate_every: 5,
            extraction: Extraction::default(),
        }
    }
}

impl Params {
    pub fn check(&self) -> Result<(), ParamError> {
        in_range("updates", self.updates, 1, 1_000_000)?;
        in_range("batch", self.batch, 2, 65_536)?;
        in_range("epochs", self.epochs, 1, 1000)?;
        in_range("minibatches", self.minibatches, 1, self.batch)?;
        if !self.batch.is_multiple_of(self.minibatches) {
            let message =
                format!("{} responses cannot be cut into {} equal minibatches", self.batch, self.minibatches);
            return Err(ParamError::new("minibatches", message)
                .hint("let `minibatches` divide `batch`: all steps of an epoch then weigh alike"));
        }
        in_range("max_tokens", self.max_tokens, 1, 65_536)?;
        in_range("lr", self.lr, f32::MIN_POSITIVE, 1.0)?;
        in_range("warmup", self.warmup, 0, 1_000_000)?;
        in_range("critic_lr", self.critic_lr, f32::MIN_POSITIVE, 1.0)?;
        in_range("kl", self.kl, 0.0, 1000.0)?;
        in_range("kl_target", self.kl_target.unwrap_or(1.0), f32::MIN_POSITIVE, 1e6)?;
        in_range("clip", self.clip, f32::MIN_POSITIVE, 1.0)?;
        in_range("value_clip", self.value_clip, f32::MIN_POSITIVE, 1e6)?;
        in_range("gamma", self.gamma, 0.0, 1.0)?;
        in_range("lambda", self.lambda, 0.0, 1.0)?;
        in_range("missing_end", self.missing_end, -1e6, 0.0)?;
        in_range("calibration", self.calibration, 2, 1_000_000)?;
        in_range("grad_clip", self.grad_clip, f32::MIN_POSITIVE, 1e6)?;
        in_range("evaluate_every", self.evaluate_every, 1, 1_000_000)?;
        self.extraction.check("extraction")
    }
}
