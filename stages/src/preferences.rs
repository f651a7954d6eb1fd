//! Preference pairs: two responses of the policy to each prompt, labelled by the annotator.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{
    annotator::Annotator,
    check::in_range,
    comparison::wins,
    contract::{Context, Input, Output, ParamError, Stage, StageError},
    dataset::{self, Demonstration, Measurement, Pair, Use, numbered},
    episode::{Decoding, Episode, answer},
    oracle::{self, Oracle, Verdict},
    pairing::Pairing,
    text::Policy,
};

pub struct Preferences;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Whose oracle the annotator goes by.
    pub world: String,
    /// Weight of the annotator's shortcut beside the gold score; by default the world's own.
    #[serde(default)]
    pub bias: Option<f32>,
    /// What the bias is multiplied by.
    #[serde(default = "one")]
    pub bias_factor: f32,
    /// Softness of the labels, in units of gold score; by default the world's own.
    #[serde(default)]
    pub temperature: Option<f32>,
    /// Share of labels flipped at random; by default the world's own.
    #[serde(default)]
    pub flip: Option<f32>,
    /// Responses to each prompt, of which two make the pair.
    #[serde(default = "default_candidates")]
    pub candidates: usize,
    /// Which two of more than two.
    #[serde(default)]
    pub pairing: Pairing,
    /// Training prompts to take; a prompt whose two responses are the same gives no pair.
    #[serde(default = "default_prompts")]
    pub prompts: usize,
    /// Longest response, in tokens.
    #[serde(default = "default_max_tokens")]
    pub max_tokens: usize,
}

fn one() -> f32 {
    1.0
}

fn default_candidates() -> usize {
    2
}

fn default_prompts() -> usize {
    6000
}

fn default_max_tokens() -> usize {
    16
}

impl Params {
    fn annotator(&self) -> Result<(&'static dyn Oracle, Annotator), ParamError> {
        let oracle = oracle::get(&self.world).ok_or_else(|| crate::worlds::unknown(&self.world))?;
        let default = Annotator::usual(&self.world).ok_or_else(|| crate::worlds::unknown(&self.world))?;
        let annotator = Annotator {
            bias: self.bias.unwrap_or(default.bias) * self.bias_factor,
            temperature: self.temperature.unwrap_or(default.temperature),
            flip: self.flip.unwrap_or(default.flip),
        };
        Ok((oracle, annotator))
    }
}

impl Stage for Preferences {
    const KIND: &'static str = "preferences";
    const ABOUT: &'static str = "Samples responses from a policy and labels the best and the worst.";
    const INPUTS: &'static [Input] = &[
        Input::one("policy", "model", "whose responses are compared"),
        Input::one("prompts", "prompts", "prompts of the training pairs"),
        Input::one("evaluation", "prompts", "prompts of the held-out pairs, in and out of distribution"),
    ];
    const OUTPUTS: &'static [Output] = &[
        Output::new("pairs", "pairs", "labelled pairs; the splits `in` and `out` are held out"),
        Output::new("chosen", "demonstrations", "the preferred responses of the training pairs, to imitate"),
        Output::new("audit", "measurements", "how often labels agree with gold: for reports only"),
    ];
    type Params = Params;

    fn normalize(params: &mut Params) {
        if let Some(usual) = Annotator::usual(&params.world) {
            let factor = std::mem::replace(&mut params.bias_factor, 1.0);
            params.bias = Some(params.bias.unwrap_or(usual.bias) * factor + 0.0); // no `-0`
            params.temperature.get_or_insert(usual.temperature);
            params.flip.get_or_insert(usual.flip);
        }
    }

    fn check(params: &Params) -> Result<(), ParamError> {
        let (_, annotator) = params.annotator()?;
        in_range("bias", annotator.bias, -1000.0, 1000.0)?;
        in_range("temperature", annotator.temperature, 1e-6, 1e6)?;
        in_range("flip", annotator.flip, 0.0, 1.0)?;
        in_range("candidates", params.candidates, 2, 1000)?;
        in_range("prompts", params.prompts, 1, 10_000_000)?;
        in_range("max_tokens", params.max_tokens, 1, 65_536)
    }

    fn run(params: Params, ctx: &Context) -> Result<(), StageError> {
        let (oracle, annotator) = params.annotator().map_err(|e| StageError::new(e.message))?;
        let policy = Policy::load(ctx.input("policy"))?;
        let mut prompts = dataset::prompts(ctx.input("prompts"), Use::Training)?;
        prompts.truncate(params.prompts);
        prompts.extend(dataset::prompts(ctx.input("evaluation"), Use::Evaluation)?);
        oracle::check_prompts(oracle, &params.world, prompts.iter().map(|p| p.prompt.as_str()))?;
        let tokens = prompts.iter().map(|p| policy.codec.prompt(&p.prompt)).collect::<Result<Vec<_>, _>>()?;

        let decoding = Decoding { max_tokens: params.max_tokens, temperature: 1.0 };
        let mut answers = vec![];
        for side in 0..params.candidates {
            let seed = ctx.seed(&format!("response {side}"));
            answers.push(answer(&policy.model, &policy.codec, &tokens, decoding, seed)?);
            let (done, total) = (answers.len() * prompts.len(), params.candidates * prompts.len());
            ctx.progress(done, total, "responses", &[]);
        }

        let mut rng = ChaCha8Rng::seed_from_u64(ctx.seed("labels"));
        let (mut pairs, mut audit) = (vec![], vec![]);
        for (i, (item, prompt)) in numbered(prompts).enumerate() {
            // An unfinished response is no text that anybody could compare.
            let mut candidates: Vec<&Episode> = vec![];
            for e in answers.iter().map(|side| &side[i]).filter(|e| e.ended) {
                if !candidates.iter().any(|c| c.same_response(e)) {
                    candidates.push(e);
                }
            }
            if candidates.len() < 2 {
                continue;
            }
            let candidates = params.pairing.asked(candidates);
            let texts =
                candidates.iter().map(|e| policy.codec.text(&e.response)).collect::<Result<Vec<_>, _>>()?;
            let verdicts: Vec<Verdict> = texts.iter().map(|t| oracle.score(&prompt.prompt, t)).collect();
            let ranking = annotator.rank(&verdicts, &mut rng);
            let (best, worst) = params.pairing.of(&ranking, &candidates);
            let (best, worst) = if annotator.flips(&mut rng) { (worst, best) } else { (best, worst) };
            let (chosen, rejected) = (texts[best].clone(), texts[worst].clone());
            let (c, r) = (&verdicts[best], &verdicts[worst]);
            let measure = |metric: &str, value: f32| Measurement {
                arm: "annotator".into(),
                split: prompt.split.clone(),
                item,
                metric: metric.into(),
                value,
            };
            audit.push(measure("label_agrees", wins(c.gold, r.gold)));
            audit.push(measure("label_shortcut", wins(c.shortcut, r.shortcut)));
            pairs.push(Pair { split: prompt.split, item, prompt: prompt.prompt, chosen, rejected });
        }
        let of_training = pairs.iter().filter(|p| p.split == "train");
        let chosen: Vec<Demonstration> = of_training
            .map(|p| Demonstration { prompt: p.prompt.clone(), response: p.chosen.clone() })
            .collect();
        dataset::write(&ctx.output("pairs"), &pairs)?;
        dataset::write(&ctx.output("chosen"), &chosen)?;
        Ok(dataset::write(&ctx.output("audit"), &audit)?)
    }
}
