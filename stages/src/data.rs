//! The `data` stage: a world's demonstrations, training prompts and evaluation prompts.

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    contract::{Context, Input, Output, ParamError, Stage, StageError},
    dataset::{self, Demonstration, Prompt, Row},
    worlds::{self, Split, World},
};

/// No dataset has more rows: a larger number is a slip of the pen, and worlds have enough prompts for this.
const MOST_ROWS: usize = 1_000_000;

/// More phrasings and orders than any world has.
const MOST_VARIETY: usize = 720;

/// What to make, and of which world.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// `safety`, `dialogue` or `summary`.
    pub world: String,
    /// Rows to imitate.
    #[serde(default = "demonstrations")]
    pub demonstrations: usize,
    /// Prompts for preferences and PPO.
    #[serde(default = "prompts")]
    pub prompts: usize,
    /// Evaluation prompts of each split, in and out of distribution.
    #[serde(default = "evaluation")]
    pub evaluation: usize,
    /// How many equally good phrasings and orders demonstrations use; the world's own number if left out.
    #[serde(default)]
    pub m: Option<usize>,
}

const fn demonstrations() -> usize {
    12_000
}

const fn prompts() -> usize {
    8_000
}

const fn evaluation() -> usize {
    256
}

/// See the [module](self).
pub struct Data;

impl Stage for Data {
    const KIND: &'static str = "data";
    const ABOUT: &'static str = "Makes the demonstrations and the prompts of a miniature world";
    const INPUTS: &'static [Input] = &[];
    const OUTPUTS: &'static [Output] = &[
        Output::new("demonstrations", Demonstration::ARTIFACT, "imperfect answers to training prompts"),
        Output::new("prompts", Prompt::ARTIFACT, "training prompts"),
        Output::new("evaluation", Prompt::ARTIFACT, "held-out prompts, in and out of distribution"),
    ];
    type Params = Params;

    fn normalize(params: &mut Params) {
        if let Some(world) = worlds::get(&params.world) {
            params.m.get_or_insert(world.default_m());
        }
    }

    fn check(params: &Params) -> Result<(), ParamError> {
        let sizes = [
            ("demonstrations", params.demonstrations, MOST_ROWS),
            ("prompts", params.prompts, MOST_ROWS),
            ("evaluation", params.evaluation, MOST_ROWS),
            ("m", params.m.unwrap_or(1), MOST_VARIETY),
        ];
        for (path, value, most) in sizes {
            if !(1..=most).contains(&value) {
                return Err(ParamError::new(path, format!("expected 1 to {most}, found {value}")));
            }
        }
        world(&params.world).map(|_| ())
    }

    fn run(params: Params, ctx: &Context) -> Result<(), StageError> {
        let world = world(&params.world).map_err(|e| StageError::new(e.message))?;
        let m = params.m.unwrap_or_else(|| world.default_m());
        let total = params.demonstrations + params.prompts + 2 * params.evaluation;
        let rng = |purpose: &str| ChaCha8Rng::seed_from_u64(ctx.seed(purpose));

        let rows = demonstrate(world, params.demonstrations, m, &mut rng("demonstrations"))?;
        dataset::write(&ctx.output("demonstrations"), &rows)?;
        ctx.progress(rows.len(), total, "prompts", &[]);

        let rows = draw(world, Split::Train, params.prompts, &mut rng("prompts"));
        dataset::write(&ctx.output("prompts"), &rows)?;
        ctx.progress(params.demonstrations + rows.len(), total, "prompts", &[]);

        let mut rows = draw(world, Split::In, params.evaluation, &mut rng("evaluation in"));
        rows.extend(draw(world, Split::Out, params.evaluation, &mut rng("evaluation out")));
        dataset::write(&ctx.output("evaluation"), &rows)?;
        ctx.progress(total, total, "prompts", &[]);
        Ok(())
    }
}

fn world(name: &str) -> Result<&'static dyn World, ParamError> {
    worlds::get(name).ok_or_else(|| worlds::unknown(name))
}

/// Training prompts, each with the answer of the world's demonstrator.
fn demonstrate(
    world: &dyn World,
    count: usize,
    m: usize,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<Demonstration>, StageError> {
    let prompts = world.prompts(Split::Train, count, rng);
    let demonstrations = prompts.into_iter().map(|prompt| {
        let response = world.demonstrate(&prompt, m, rng).ok_or_else(|| {
            StageError::new(format!("the world `{}` cannot read its own prompt `{prompt}`", world.name()))
                .hint("this is a mistake in the world's code: drawing and parsing disagree")
        })?;
        Ok(Demonstration { prompt, response })
    });
    demonstrations.collect()
}

fn draw(world: &dyn World, split: Split, count: usize, rng: &mut ChaCha8Rng) -> Vec<Prompt> {
    let prompts = world.prompts(split, count, rng);
    prompts.into_iter().map(|prompt| Prompt { prompt, split: split.name().to_owned() }).collect()
}
