//! A rollout: what the policy answers, what that earns, and what the critic expected.

use std::collections::BTreeSet;

use lm::Model;

use super::{Params, gae, scale::Scale, whiten};
use crate::{
    contract::StageError,
    episode::{self, Decoding, Episode, answer},
    reward::{Reading, Reward},
    text::{Codec, per_response},
};

/// Everything that PPO's epochs over one rollout need. Tokens are flat, response after response.
pub struct Rollout {
    pub episodes: Vec<Episode>,
    pub log_probs: Vec<Vec<f32>>,
    pub values: Vec<Vec<f32>>,
    pub returns: Vec<Vec<f32>>,
    /// Whitened over all tokens of the rollout.
    pub advantages: Vec<Vec<f32>>,
    pub figures: Figures,
}

/// Means over the responses of a rollout, for the curves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Of the reward model, in units of its standard deviation over the reference policy's responses.
    pub reward: f32,
    /// The k1 estimate of KL(policy || reference), nats a response.
    pub kl: f32,
    /// Nats a token.
    pub entropy: f32,
    /// Tokens, the end token included.
    pub length: f32,
    pub ended: f32,
    /// Share of responses that differ from all others.
    pub distinct: f32,
    pub explained_variance: f32,
    /// Shares of tokens with a positive and with a negative reward.
    pub positive: f32,
    pub negative: f32,
    /// Tokens before the first that the reward model would not write; none where it writes nothing.
    pub first_divergence: Option<f32>,
}

/// The models and the reward that a rollout needs.
pub struct Actors<'a> {
    pub policy: &'a Model,
    pub reference: &'a Model,
    pub critic: &'a Model,
    pub codec: &'a Codec,
    pub reward: &'a dyn Reward,
    pub scale: &'a Scale,
}

/// Answers the prompts and works out rewards, advantages and returns. `kl` is the current KL coefficient.
pub fn roll_out(
    actors: &Actors,
    params: &Params,
    prompts: &[Vec<u32>],
    kl: f32,
    seed: u64,
) -> Result<Rollout, StageError> {
    let decoding = Decoding { max_tokens: params.max_tokens, temperature: 1.0 };
    let episodes = answer(actors.policy, actors.codec, prompts, decoding, seed)?;
    let batch = episode::batch(&episodes);
    let split = |rows: &[f32]| per_response(rows, episodes.iter().map(|e| e.response.len()));

    // Not the sampler's log-probabilities: the ratio is 1 only if old and new come from the same kernels.
    let stats = actors.policy.token_stats(&batch)?;
    let log_probs = split(&stats.iter().map(|s| s.log_prob).collect::<Vec<_>>());
    let reference = split(&actors.reference.log_probs(&batch)?);
    let values = split(&actors.critic.scalars(&batch)?);
    let Reading { scores, agreed } = actors.reward.read(&episodes)?;
    let scores: Vec<Vec<f32>> = scores.iter().map(|s| actors.scale.apply(s)).collect();

    let (mut advantages, mut returns) = (vec![], vec![]);
    for (i, e) in episodes.iter().enumerate() {
        let mut rewards: Vec<f32> = scores[i].clone();
        if let (false, Some(last)) = (e.ended, rewards.last_mut()) {
            *last += params.missing_end;
        }
        for (r, (new, old)) in rewards.iter_mut().zip(log_probs[i].iter().zip(&reference[i])) {
            *r -= kl * (new - old);
        }
        let a = gae(&rewards, &values[i], params.gamma, params.lambda);
        returns.push(a.iter().zip(&values[i]).map(|(a, v)| a + v).collect());
        advantages.push(a);
    }
    let figures = Figures {
        first_divergence: agreed.map(|agreed| agreed.iter().sum::<usize>() as f32 / agreed.len() as f32),
        ..figures(&episodes, &stats, &log_probs, &reference, &scores, &returns, &values)
    };
    let mut flat = advantages.concat();
    whiten(&mut flat);
    let advantages = split(&flat);
    Ok(Rollout { episodes, log_probs, values, returns, advantages, figures })
}

fn figures(
    episodes: &[Episode],
    stats: &[lm::TokenStats],
    log_probs: &[Vec<f32>],
    reference: &[Vec<f32>],
    scores: &[Vec<f32>],
    returns: &[Vec<f32>],
    values: &[Vec<f32>],
) -> Figures {
    let (n, tokens) = (episodes.len() as f32, stats.len() as f32);
    let sum = |rows: &[Vec<f32>]| rows.iter().flatten().sum::<f32>();
    let share = |sign: fn(f32) -> bool| scores.iter().flatten().filter(|s| sign(**s)).count() as f32 / tokens;
    let distinct: BTreeSet<&[u32]> = episodes.iter().map(|e| e.response.as_slice()).collect();
    let residuals: Vec<f32> =
        returns.iter().flatten().zip(values.iter().flatten()).map(|(r, v)| r - v).collect();
    let returns: Vec<f32> = returns.iter().flatten().copied().collect();
    Figures {
        reward: sum(scores) / n,
        kl: (sum(log_probs) - sum(reference)) / n,
        entropy: stats.iter().map(|s| s.entropy).sum::<f32>() / tokens,
        length: tokens / n,
        ended: episodes.iter().filter(|e| e.ended).count() as f32 / n,
        distinct: distinct.len() as f32 / n,
        explained_variance: 1.0 - variance(&residuals) / (variance(&returns) + 1e-8),
        positive: share(|s| s > 0.0),
        negative: share(|s| s < 0.0),
        first_divergence: None,
    }
}

fn variance(x: &[f32]) -> f32 {
    let n = x.len() as f32;
    let mean = x.iter().sum::<f32>() / n;
    x.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n
}
