//! Reward models from preference pairs, by binary or by sequence maximum likelihood.

use lm::{Head, Model};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    check::in_range,
    comparison::wins,
    contract::{Context, Input, Output, ParamError, Stage, StageError},
    dataset::{self, CurvePoint, Measurement, Pair},
    episode::Episode,
    reward::{
        binary::{Binary, BradleyTerry},
        extraction::Extraction,
        sequence::{Rewriting, Sequence, extract},
    },
    text::{self, Codec, Policy},
    training::{self, Training},
};

pub struct RewardModel;

/// What a reward model is trained for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// A scalar, by the Bradley-Terry likelihood of the preferences.
    Binary,
    /// A rewriting of the response into the preferred one, by the likelihood of its tokens.
    Sequence,
}

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
}

fn default_training() -> Training {
    Training { steps: 300, batch: 64, lr: 1e-3, ..Training::default() }
}

impl Stage for RewardModel {
    const KIND: &'static str = "reward-model";
    const ABOUT: &'static str = "Trains a reward model on preference pairs, by binary or sequence MLE.";
    const INPUTS: &'static [Input] = &[
        Input::one("init", "model", "the policy whose body the reward model starts from"),
        Input::one("pairs", "pairs", "labelled pairs; the splits `in` and `out` are held out"),
    ];
    const OUTPUTS: &'static [Output] = &[
        Output::new("reward", "reward", "the reward model; its head tells its objective"),
        Output::new(
            "curve",
            "curves",
            "the training loss by step, and the held-out loss where it may stop early",
        ),
        Output::new("evaluation", "measurements", "accuracy and likelihood on held-out pairs"),
    ];
    type Params = Params;

    fn normalize(params: &mut Params) {
        params.arm = Some(params.arm());
        let of_sequence = params.objective == Objective::Sequence;
        for weight in [&mut params.correction, &mut params.identity] {
            *weight = of_sequence.then_some(weight.unwrap_or(1.0));
        }
    }

    fn check(params: &Params) -> Result<(), ParamError> {
        params.training.check()?;
        let (correction, identity) = params.mappings();
        in_range("correction", correction, 0.0, 1e6)?;
        in_range("identity", identity, 0.0, 1e6)?;
        if correction + identity == 0.0 {
            return Err(ParamError::new("identity", "`correction` and `identity` cannot both be 0")
                .hint("the sequence reward model must be trained on one of the mappings"));
        }
        Ok(())
    }

    fn run(params: Params, ctx: &Context) -> Result<(), StageError> {
        let Policy { model, codec } = Policy::load(ctx.input("init"))?;
        let pairs: Vec<Pair> = dataset::read(ctx.input("pairs"))?;
        let (train, held_out): (Vec<Pair>, Vec<Pair>) = pairs.into_iter().partition(|p| p.split == "train");
        let trained = match params.objective {
            Objective::Binary => train_binary(ctx, &params, model, &codec, &train, &held_out)?,
            Objective::Sequence => train_sequence(ctx, &params, model, &codec, &train, &held_out)?,
        };
        text::save(&trained.model, &codec, &ctx.output("reward"))?;
        dataset::write(&ctx.output("curve"), &trained.curve)?;
        Ok(dataset::write(&ctx.output("evaluation"), &trained.evaluation)?)
    }
}

struct Trained {
    model: Model,
    curve: Vec<CurvePoint>,
    evaluation: Vec<Measurement>,
}

impl Params {
    /// Weights of the correction and of the identity mapping.
    fn mappings(&self) -> (f32, f32) {
        (self.correction.unwrap_or(1.0), self.identity.unwrap_or(1.0))
    }

    fn arm(&self) -> String {
        self.arm.clone().unwrap_or_else(|| match self.objective {
            Objective::Binary => "rm-binary".into(),
            Objective::Sequence => "rm-sequence".into(),
        })
    }

    fn measurement(&self, split: &str, item: usize, metric: &str, value: f32) -> Measurement {
        let (arm, split, metric) = (self.arm(), split.into(), metric.into());
        Measurement { arm, split, item: item as u32, metric, value }
    }
}

fn train_binary(
    ctx: &Context,
    params: &Params,
    policy: Model,
    codec: &Codec,
    train: &[Pair],
    held_out: &[Pair],
) -> Result<Trained, StageError> {
    let task = BradleyTerry::new(codec, train)?;
    let start = policy.with_head(Head::Scalar);
    let (mut model, curve) = training::train(ctx, &params.arm(), start, &params.training, &task)?;

    // The likelihood leaves the scale's zero open: put it at the policy's mean response.
    let sample = &train[..train.len().min(512)];
    let scores = Binary::score(&model, &sides(codec, sample)?.concat())?;
    model.set_scalar_bias(-scores.iter().sum::<f32>() / scores.len() as f32)?;

    let scores = Binary::score(&model, &sides(codec, held_out)?.concat())?;
    let evaluation = held_out.iter().enumerate().map(|(i, pair)| {
        let accuracy = wins(scores[i], scores[held_out.len() + i]);
        params.measurement(&pair.split, i, "accuracy", accuracy)
    });
    let evaluation = evaluation.collect();
    Ok(Trained { model, curve, evaluation })
}

fn train_sequence(
    ctx: &Context,
    params: &Params,
    policy: Model,
    codec: &Codec,
    train: &[Pair],
    held_out: &[Pair],
) -> Result<Trained, StageError> {
    let (correction, identity) = params.mappings();
    let task = Rewriting::new(codec, train, correction, identity)?;
    let (model, curve) = training::train(ctx, &params.arm(), policy, &params.training, &task)?;
    let evaluation = evaluate_sequence(params, &model, codec, held_out)?;
    Ok(Trained { model, curve, evaluation })
}

/// Accuracy by the summed token scores and by the likelihood; how often tokens match; how well the chosen
/// response is found from the rejected one. None of it needs gold.
fn evaluate_sequence(
    params: &Params,
    model: &Model,
    codec: &Codec,
    held_out: &[Pair],
) -> Result<Vec<Measurement>, StageError> {
    let sides = sides(codec, held_out)?;
    let [totals, likelihoods, matches] = {
        let (mut totals, mut likelihoods, mut matches) = (vec![], vec![], vec![]);
        for side in &sides {
            let stats = Sequence::read(model, codec, side)?;
            let total = |(s, e)| extract(&Extraction::default(), s, e).iter().sum::<f32>();
            totals.push(stats.iter().map(Vec::as_slice).zip(side).map(total).collect::<Vec<_>>());
            likelihoods.push(stats.iter().map(|s| s.iter().map(|t| t.log_prob).sum::<f32>()).collect());
            matches.push(stats.iter().zip(side).map(|(s, e)| match_rate(s, &e.response)).collect());
        }
        [totals, likelihoods, matches]
    };
    let corrections = correction_loss(model, codec, held_out)?;
    let mut evaluation = vec![];
    for (i, pair) in held_out.iter().enumerate() {
        let mut add = |metric, value| evaluation.push(params.measurement(&pair.split, i, metric, value));
        add("accuracy", wins(totals[0][i], totals[1][i]));
        add("likelihood_accuracy", wins(likelihoods[0][i], likelihoods[1][i]));
        add("match_chosen", matches[0][i]);
        add("match_rejected", matches[1][i]);
        add("correction_loss", corrections[i]);
    }
    Ok(evaluation)
}

/// Mean loss of a token of the chosen response, given the rejected one (nats), for each pair.
fn correction_loss(model: &Model, codec: &Codec, pairs: &[Pair]) -> Result<Vec<f32>, StageError> {
    let mut batch = lm::Batch::new();
    let mut lengths = vec![];
    for p in pairs {
        let context = codec.rewrite_context(&codec.prompt(&p.prompt)?, &codec.response(&p.rejected)?);
        let target = codec.response(&p.chosen)?;
        text::push_response(&mut batch, &context, &target);
        lengths.push(target.len());
    }
    let rows = text::per_response(&model.log_probs(&batch)?, lengths);
    Ok(rows.iter().map(|r| training::mean_nll(r).0).collect())
}

fn match_rate(stats: &[lm::TokenStats], response: &[u32]) -> f32 {
    let matches = stats.iter().zip(response).filter(|(s, y)| s.argmax == **y).count();
    matches as f32 / response.len() as f32
}

/// The chosen responses and the rejected ones.
fn sides(codec: &Codec, pairs: &[Pair]) -> Result<[Vec<Episode>; 2], StageError> {
    let side = |text: fn(&Pair) -> &String| -> Result<Vec<Episode>, StageError> {
        pairs.iter().map(|p| Episode::of(codec, &p.prompt, text(p))).collect()
    };
    Ok([side(|p| &p.chosen)?, side(|p| &p.rejected)?])
}
