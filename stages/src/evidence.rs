//! Direct evidence of what a reward model rewards, on responses that the oracle has judged word by word.
//!
//! - Credit: the AUC of token rewards against the words that the oracle calls wrong, within responses: what a reward
//!   model gives one response more than another says nothing of where in it the fault lies.
//! - Shortcuts: the partial correlation of a response's reward with its length, and with being a refusal, given gold.
//! - Divergence: where a sequence reward model first diverges, beside the first wrong word.
//!
//! What is a statistic of all responses together is written as its jackknife's pseudo-values, one for each response.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    contract::{Context, Input, Output, ParamError, Stage, StageError},
    dataset::{self, Measurement, Response},
    episode::Episode,
    oracle::{self, Oracle, Verdict},
    reward::{
        self, Objective,
        extraction::{Extraction, first_divergence},
        sequence::Sequence,
    },
    statistics::{jackknife, pairs_won, partial_correlation},
    text::Codec,
    worlds,
};

pub struct Evidence;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Whose oracle judges.
    pub world: String,
    /// What the report calls the reward model.
    pub arm: String,
    /// How a sequence reward model's output is read.
    #[serde(default)]
    pub extraction: Extraction,
}

impl Stage for Evidence {
    const KIND: &'static str = "evidence";
    const ABOUT: &'static str =
        "Measures what a reward model rewards, against the oracle's word by word verdicts.";
    const INPUTS: &'static [Input] = &[
        Input::one("reward", "reward", "the reward model"),
        Input::one(
            "responses",
            "responses",
            "responses for it to score, such as those of the reference policy",
        ),
    ];
    const OUTPUTS: &'static [Output] =
        &[Output::new("evidence", "measurements", "credit, shortcuts and divergence, response by response")];
    type Params = Params;

    fn check(params: &Params) -> Result<(), ParamError> {
        params.extraction.check("extraction")?;
        oracle::get(&params.world).map(|_| ()).ok_or_else(|| worlds::unknown(&params.world))
    }

    fn run(params: Params, ctx: &Context) -> Result<(), StageError> {
        let oracle = oracle::get(&params.world).ok_or_else(|| StageError::new("the world is unknown"))?;
        let folder = ctx.input("reward");
        let (recipe, model, codec) = reward::read(folder)?;
        let reader = (recipe.objective == Objective::Sequence).then(|| Sequence {
            model: model.clone(),
            codec: codec.clone(),
            layout: recipe.layout,
            extraction: params.extraction,
        });
        let reward = reward::of(recipe, model, codec.clone(), params.extraction);
        let mut splits = BTreeMap::<String, Vec<Scored>>::new();
        for r in judged(oracle, &params.world, &codec, dataset::read(ctx.input("responses"))?)? {
            splits.entry(r.split.clone()).or_default().push(r);
        }
        let mut rows = vec![];
        for (split, responses) in &mut splits {
            let episodes: Vec<Episode> = responses.iter().map(|r| r.episode.clone()).collect();
            for (response, scores) in responses.iter_mut().zip(reward.scores(&episodes)?) {
                response.scores = scores;
            }
            let mut add = |metric: &str, values: Vec<(u32, f64)>| {
                rows.extend(values.into_iter().map(|(item, value)| Measurement {
                    arm: params.arm.clone(),
                    split: split.clone(),
                    item,
                    metric: metric.into(),
                    value: value as f32,
                }));
            };
            add("token_auc", credit(responses));
            add("length_given_gold", partial(responses, |v| v.length as f64));
            add("refusal_given_gold", partial(responses, |v| f64::from(u8::from(v.refusal))));
            if let Some(reader) = &reader {
                let [hits, offsets] = divergence(reader, responses)?;
                add("divergence_on_error", hits);
                add("divergence_offset", offsets);
            }
        }
        Ok(dataset::write(&ctx.output("evidence"), &rows)?)
    }
}

struct Scored {
    split: String,
    item: u32,
    episode: Episode,
    verdict: Verdict,
    /// Of the tokens, the end token included.
    scores: Vec<f32>,
}

/// Responses that came to an end, with their verdicts; one token for each word.
fn judged(
    oracle: &dyn Oracle,
    world: &str,
    codec: &Codec,
    responses: Vec<Response>,
) -> Result<Vec<Scored>, StageError> {
    oracle::check_prompts(oracle, world, responses.iter().map(|r| r.prompt.as_str()))?;
    let score = |r: Response| {
        let episode = Episode::of(codec, &r.prompt, &r.response)?;
        let verdict = oracle.score(&r.prompt, &r.response);
        if episode.response.len() != verdict.wrong_words.len() + 1 {
            let message = format!("`{}` has another number of tokens than of words", r.response);
            return Err(StageError::new(message).hint(
                "the oracle judges words: use a tokenizer that splits text into words (`word-level`)",
            ));
        }
        Ok(Scored { split: r.split, item: r.item, episode, verdict, scores: vec![] })
    };
    responses.into_iter().filter(|r| r.ended).map(score).collect()
}

/// How likely a right word gets more than a wrong one of the same response, of all such pairs of words.
fn credit(responses: &[Scored]) -> Vec<(u32, f64)> {
    let pairs = |r: &Scored| {
        let of = |wrong: bool| -> Vec<f32> {
            let words = r.verdict.wrong_words.iter().zip(&r.scores);
            words.filter(|(w, _)| **w == wrong).map(|(_, score)| *score).collect()
        };
        pairs_won(&of(false), &of(true))
    };
    let Some(pairs) = responses.iter().map(pairs).collect::<Option<Vec<_>>>() else { return vec![] };
    by_item(responses, |left_out| {
        let kept = pairs.iter().enumerate().filter(|(i, _)| Some(*i) != left_out);
        let (won, of) = kept.fold((0.0, 0.0), |(won, of), (_, (w, n))| (won + w, of + n));
        (of > 0.0).then(|| won / of)
    })
}

/// Of a response's whole reward with something else, given gold.
fn partial(responses: &[Scored], with: fn(&Verdict) -> f64) -> Vec<(u32, f64)> {
    by_item(responses, |left_out| {
        let kept = || responses.iter().enumerate().filter(|(i, _)| Some(*i) != left_out).map(|(_, r)| r);
        let reward: Vec<f64> = kept().map(|r| r.scores.iter().map(|s| f64::from(*s)).sum()).collect();
        let other: Vec<f64> = kept().map(|r| with(&r.verdict)).collect();
        let gold: Vec<f64> = kept().map(|r| f64::from(r.verdict.gold)).collect();
        partial_correlation(&reward, &other, &gold)
    })
}

/// Of responses with a wrong word: whether the first divergence is at the first of them, and how many words later it
/// is, if there is one.
fn divergence(reader: &Sequence, responses: &[Scored]) -> Result<[Vec<(u32, f64)>; 2], StageError> {
    let episodes: Vec<Episode> = responses.iter().map(|r| r.episode.clone()).collect();
    let (mut hits, mut offsets) = (vec![], vec![]);
    for (r, stats) in responses.iter().zip(reader.stats(&episodes)?) {
        let Some(wrong) = r.verdict.wrong_words.iter().position(|w| *w) else { continue };
        let divergence = first_divergence(&stats, &r.episode.response);
        hits.push((r.item, f64::from(u8::from(divergence == Some(wrong)))));
        offsets.extend(divergence.map(|at| (r.item, at as f64 - wrong as f64)));
    }
    Ok([hits, offsets])
}

/// The jackknife's pseudo-value of each response; none where the statistic is undefined.
fn by_item(responses: &[Scored], statistic: impl Fn(Option<usize>) -> Option<f64>) -> Vec<(u32, f64)> {
    let values = jackknife(responses.len(), statistic).unwrap_or_default();
    responses.iter().map(|r| r.item).zip(values).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::derive_seed;

    /// Responses of 2 to 6 words, half of them wrong, whose tokens are scored by `score(wrong, random)`.
    fn responses(score: impl Fn(bool, f32) -> f32) -> Vec<Scored> {
        let one = |item: u32| {
            let random = |what: &str| derive_seed(u64::from(item), what);
            let n = 2 + (random("length") % 5) as usize;
            let wrong_words: Vec<bool> = (0..n).map(|i| random(&format!("wrong {i}")) % 2 == 0).collect();
            let noise = |i: usize| random(&format!("noise {i}")) as f32 / u64::MAX as f32;
            let mut scores: Vec<f32> =
                wrong_words.iter().enumerate().map(|(i, w)| score(*w, noise(i))).collect();
            scores.push(0.0);
            let verdict = Verdict {
                gold: random("gold") as f32 / u64::MAX as f32,
                shortcut: 0.0,
                refusal: random("refusal") % 2 == 0,
                harmless: true,
                harmful_content: false,
                length: n,
                ideal_length: n,
                recall: None,
                wrong_words,
            };
            let episode = Episode { prompt: vec![0], response: vec![1; n + 1], ended: true };
            Scored { split: "in".into(), item, episode, verdict, scores }
        };
        (0..80).map(one).collect()
    }

    fn mean(values: &[(u32, f64)]) -> f64 {
        assert_eq!(values.len(), 80);
        values.iter().map(|(_, v)| v).sum::<f64>() / values.len() as f64
    }

    #[test]
    fn credit_is_1_where_wrong_words_get_less_and_one_half_where_scores_know_nothing() {
        let right = |wrong: bool, noise: f32| noise - if wrong { 2.0 } else { 0.0 };
        assert!((mean(&credit(&responses(right))) - 1.0).abs() < 1e-6);
        assert!(mean(&credit(&responses(|wrong, noise| -right(wrong, noise)))).abs() < 1e-6);
        assert!((mean(&credit(&responses(|_, noise| noise))) - 0.5).abs() < 0.1);
        assert!((mean(&credit(&responses(|_, _| 1.0))) - 0.5).abs() < 1e-6, "ties count half");
        // What a whole response gets makes no difference.
        let mut shifted = responses(right);
        for r in &mut shifted {
            r.scores.iter_mut().for_each(|s| *s += 100.0 * r.item as f32);
        }
        assert!((mean(&credit(&shifted)) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_reward_for_every_token_goes_with_length_and_not_with_refusals() {
        let all = responses(|_, _| 1.0);
        assert!(mean(&partial(&all, |v| v.length as f64)) > 0.99);
        assert!(mean(&partial(&all, |v| f64::from(u8::from(v.refusal)))).abs() < 0.3);
        let constant = partial(&responses(|_, _| 0.0), |v| v.length as f64);
        assert!(constant.is_empty(), "a reward that does not vary has no correlation");
    }
}
