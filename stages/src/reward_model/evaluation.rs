//! What a reward model is worth on held-out pairs. None of it needs gold.

use lm::{Batch, Model, TokenStats};

use super::Params;
use crate::{
    comparison::wins,
    contract::StageError,
    dataset::{Measurement, Pair},
    episode::Episode,
    reward::{self, Objective, extraction::Extraction, sequence::Sequence, totals},
    text::{Codec, per_response, push_response},
    training::mean_nll,
};

/// Accuracy; of a sequence reward model also likelihoods, and how often it would write what stands there.
pub fn evaluate(
    params: &Params,
    model: Model,
    codec: Codec,
    pairs: &[Pair],
) -> Result<Vec<Measurement>, StageError> {
    let (chosen, rejected): (Vec<Episode>, Vec<Episode>) =
        Episode::pairs(&codec, pairs)?.into_iter().map(<(Episode, Episode)>::from).unzip();
    let (recipe, extraction) = (params.recipe(), Extraction::default());
    let mut evaluation = vec![];
    let mut add = |metric: &str, values: Vec<f32>| {
        evaluation.extend(pairs.iter().zip(values).map(|(pair, value)| Measurement {
            arm: params.arm(),
            split: pair.split.clone(),
            item: pair.item,
            metric: metric.into(),
            value,
        }));
    };
    if params.objective == Objective::Sequence {
        let reader = Sequence { model, codec, layout: recipe.layout, extraction };
        let (of_chosen, of_rejected) = (reader.stats(&chosen)?, reader.stats(&rejected)?);
        let total = |(s, e): (&Vec<TokenStats>, &Episode)| -> f32 {
            extraction.scores(s, &e.response, e.ended).iter().sum()
        };
        let [c, r] = [(&of_chosen, &chosen), (&of_rejected, &rejected)]
            .map(|(stats, of)| stats.iter().zip(of).map(total).collect::<Vec<_>>());
        add("accuracy", won(&c, &r));
        let likelihood = |s: &Vec<TokenStats>| s.iter().map(|t| t.log_prob).sum::<f32>();
        let [c, r] = [&of_chosen, &of_rejected].map(|s| s.iter().map(likelihood).collect::<Vec<_>>());
        add("likelihood_accuracy", won(&c, &r));
        add("match_chosen", matches(&of_chosen, &chosen));
        add("match_rejected", matches(&of_rejected, &rejected));
        add("correction_loss", correction_loss(&reader, &chosen, &rejected)?);
    } else {
        let reward = reward::of(recipe, model, codec, extraction);
        add("accuracy", won(&totals(&reward.scores(&chosen)?), &totals(&reward.scores(&rejected)?)));
    }
    Ok(evaluation)
}

fn won(chosen: &[f32], rejected: &[f32]) -> Vec<f32> {
    chosen.iter().zip(rejected).map(|(c, r)| wins(*c, *r)).collect()
}

/// Share of tokens that the model would write itself.
fn matches(stats: &[Vec<TokenStats>], episodes: &[Episode]) -> Vec<f32> {
    let rate = |(stats, e): (&Vec<TokenStats>, &Episode)| {
        let matches = stats.iter().zip(&e.response).filter(|(s, y)| s.argmax == **y).count();
        matches as f32 / e.response.len() as f32
    };
    stats.iter().zip(episodes).map(rate).collect()
}

/// Mean loss of a token of the chosen response, given the rejected one (nats), for each pair.
fn correction_loss(
    reader: &Sequence,
    chosen: &[Episode],
    rejected: &[Episode],
) -> Result<Vec<f32>, StageError> {
    let mut batch = Batch::new();
    for (c, r) in chosen.iter().zip(rejected) {
        let context = reader.layout.context(&reader.codec, &r.prompt, &r.response);
        push_response(&mut batch, &context, &c.response);
    }
    let rows = per_response(&reader.model.log_probs(&batch)?, chosen.iter().map(|c| c.response.len()));
    Ok(rows.iter().map(|r| mean_nll(r).0).collect())
}
