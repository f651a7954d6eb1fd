//! The stage kind `reward-model`.

use lm::Model;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Params, evaluation::evaluate};
use crate::{
    contract::{Context, Input, Output, ParamError, Stage, StageError},
    dataset::{self, CurvePoint, Pair},
    episode::Episode,
    reward::{
        Objective, binary,
        bradley_terry::{BradleyTerry, batch},
        dense,
        sequence::Rewriting,
    },
    text::{self, Codec, Policy},
    training::train,
};

pub struct RewardModel;

impl Stage for RewardModel {
    const KIND: &'static str = "reward-model";
    const ABOUT: &'static str =
        "Trains a reward model on preference pairs, by binary, dense binary or sequence MLE.";
    const INPUTS: &'static [Input] = &[
        Input::one("init", "model", "the policy whose body the reward model starts from"),
        Input::one("pairs", "pairs", "labelled pairs; the splits `in` and `out` are held out"),
    ];
    const OUTPUTS: &'static [Output] = &[
        Output::new("reward", "reward", "the reward model, with its recipe"),
        Output::new(
            "curve",
            "curves",
            "the training loss by step, and the held-out loss where it may stop early",
        ),
        Output::new("evaluation", "measurements", "accuracy and likelihood on held-out pairs"),
    ];
    type Params = Params;

    fn normalize(params: &mut Params) {
        params.normalize();
    }

    fn check(params: &Params) -> Result<(), ParamError> {
        params.check()
    }

    fn run(params: Params, ctx: &Context) -> Result<(), StageError> {
        let Policy { model, codec } = Policy::load(ctx.input("init"))?;
        let pairs: Vec<Pair> = dataset::read(ctx.input("pairs"))?;
        let (mut training, held_out): (Vec<Pair>, Vec<Pair>) =
            pairs.into_iter().partition(|p| p.split == "train");
        if params.shuffled {
            shuffle_labels(&mut training, ctx.seed("labels"));
        }
        let (model, curve) = maximize_likelihood(ctx, &params, model, &codec, &training)?;
        let folder = ctx.output("reward");
        text::save(&model, &codec, &folder)?;
        params.recipe().save(&folder)?;
        dataset::write(&ctx.output("curve"), &curve)?;
        Ok(dataset::write(&ctx.output("evaluation"), &evaluate(&params, model, codec, &held_out)?)?)
    }
}

/// Tosses a fair coin for each label.
fn shuffle_labels(pairs: &mut [Pair], seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for pair in pairs {
        if rng.random() {
            std::mem::swap(&mut pair.chosen, &mut pair.rejected);
        }
    }
}

fn maximize_likelihood(
    ctx: &Context,
    params: &Params,
    policy: Model,
    codec: &Codec,
    pairs: &[Pair],
) -> Result<(Model, Vec<CurvePoint>), StageError> {
    let (arm, training) = (params.arm(), &params.training);
    let start = policy.with_head(params.objective.head());
    match params.objective {
        Objective::Binary => {
            let task = BradleyTerry::new(codec, pairs, binary::rows)?;
            let (mut model, curve) = train(ctx, &arm, start, training, &task)?;
            // The likelihood leaves the scale's zero open: put it at the policy's mean response.
            let sample = Episode::pairs(codec, &pairs[..pairs.len().min(512)])?.concat();
            let scores = model.scalars(&batch(&sample, binary::rows))?;
            model.set_scalar_bias(-scores.iter().sum::<f32>() / scores.len() as f32)?;
            Ok((model, curve))
        }
        Objective::Dense => {
            let task = BradleyTerry::new(codec, pairs, dense::rows)?;
            train(ctx, &arm, start, training, &task)
        }
        Objective::Sequence => {
            let task = Rewriting::new(codec, params.recipe().layout, pairs, params.weights())?;
            train(ctx, &arm, start, training, &task)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffled_labels_keep_the_pairs_and_lose_the_preference() {
        let pair = |i: usize| Pair {
            item: i as u32,
            prompt: i.to_string(),
            chosen: "good".into(),
            rejected: "bad".into(),
            split: "train".into(),
        };
        let mut pairs: Vec<Pair> = (0..2000).map(pair).collect();
        shuffle_labels(&mut pairs, 1);
        let kept = pairs.iter().filter(|p| p.chosen == "good").count();
        assert!((900..1100).contains(&kept), "{kept}");
        assert!(pairs.iter().enumerate().all(|(i, p)| p.prompt == i.to_string() && p.chosen != p.rejected));
    }
}
