//! The algorithm: rollout, then some epochs over its minibatches, again and again.

use std::path::Path;

use lm::{AdamW, Decay, Head, Schedule, Trainer};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    Params, PolicyStats, Rollout, policy_loss,
    rollout::{Actors, roll_out},
    scale::Scale,
    value_loss,
    watch::Watch,
};
use crate::{
    checkpoint::Checkpoints,
    contract::{Context, StageError, derive_seed},
    dataset::{self, CurvePoint, Prompt, Snapshot},
    episode::{self, Decoding, answer},
    pace::Pace,
    reward::Reward,
    text::Policy,
    training::Order,
};

/// What PPO leaves.
pub struct Outcome {
    pub policy: lm::Model,
    pub curve: Vec<CurvePoint>,
    /// Empty without evaluation prompts.
    pub trajectory: Vec<Snapshot>,
}

/// The state between two updates: all that a checkpoint holds.
struct State {
    policy: Trainer,
    critic: Trainer,
    /// The KL coefficient, adapted or not.
    kl: f32,
    curve: Vec<CurvePoint>,
    trajectory: Vec<Snapshot>,
    updates: usize,
}

/// Trains the policy `start` on `prompts` against `reward`; `start` is also the reference policy. Now and then the
/// policy answers `evaluation`, from which nothing is learnt.
pub fn optimise(
    ctx: &Context,
    params: &Params,
    start: &Policy,
    prompts: &[Vec<u32>],
    evaluation: &[Prompt],
    reward: &dyn Reward,
) -> Result<Outcome, StageError> {
    if prompts.is_empty() {
        return Err(StageError::new("there are no prompts to train on"));
    }
    let (reference, codec) = (&start.model, &start.codec);
    let sample: Vec<Vec<u32>> = prompts.iter().cycle().take(params.calibration).cloned().collect();
    let decoding = Decoding { max_tokens: params.max_tokens, temperature: 1.0 };
    let answers =
        |which: &str| answer(reference, codec, &sample, decoding, ctx.seed(&format!("calibration {which}")));
    let scale = Scale::of(reward, &[answers("first")?, answers("second")?], params.center_tokens)?;

    let checkpoints = Checkpoints::of(ctx);
    let mut state = match checkpoints.latest(|folder, updates| State::load(folder, updates, params))? {
        Some(state) => state,
        None => State::start(params, start)?,
    };
    let watch = Watch { params, start, prompts: evaluation, reward, seed: ctx.seed("evaluation") };
    if state.trajectory.is_empty() {
        state.trajectory = watch.snapshot(reference, 0)?;
    }
    let mut order = Order::new(ctx.seed("prompts"), prompts.len());
    let every = (params.updates / 5).max(1);
    let mut pace = Pace::start();
    for update in state.updates..params.updates {
        let seed = derive_seed(ctx.seed("rollouts"), &update.to_string());
        let chosen: Vec<Vec<u32>> =
            order.batch(update, params.batch).into_iter().map(|i| prompts[i].clone()).collect();
        let actors = Actors {
            policy: state.policy.model(),
            reference,
            critic: state.critic.model(),
            codec,
            reward,
            scale: &scale,
        };
        let rollout = roll_out(&actors, params, &chosen, state.kl, seed)?;
        let steps = state.learn(params, &rollout, derive_seed(seed, "minibatches"))?;
        state.record(params, &rollout, &steps);
        if watch.looks_at(state.updates) {
            let snapshot = watch.snapshot(state.policy.model(), state.updates)?;
            state.trajectory.extend(snapshot);
        }
        if let Some(target) = params.kl_target {
            state.kl *= 1.0 + 0.1 * (rollout.figures.kl / target - 1.0).clamp(-0.2, 0.2);
        }
        let f = rollout.figures;
        pace.add(rollout.episodes.iter().map(|episode| episode.response.len()).sum());
        let figures = [("reward", f.reward), ("kl", f.kl), pace.figure()];
        ctx.progress(update + 1, params.updates, "updates", &figures);
        if (state.updates % every == 0 || checkpoints.are_old()) && state.updates < params.updates {
            checkpoints.save(state.updates, |folder| state.save(folder))?;
        }
    }
    Ok(Outcome { policy: state.policy.into_model(), curve: state.curve, trajectory: state.trajectory })
}

impl State {
    fn start(params: &Params, start: &Policy) -> Result<Self, StageError> {
        let (policy, critic) = optimizers(params);
        Ok(Self {
            policy: Trainer::new(start.model.clone(), policy.0, policy.1)?,
            critic: Trainer::new(start.model.with_head(Head::Scalar), critic.0, critic.1)?,
            kl: params.kl,
            curve: vec![],
            trajectory: vec![],
            updates: 0,
        })
    }

    /// Some epochs over the minibatches of a rollout. What the policy's steps looked like, in order, and the share of
    /// values that the critic's had clipped.
    fn learn(
        &mut self,
        params: &Params,
        rollout: &Rollout,
        seed: u64,
    ) -> Result<Vec<(PolicyStats, f32)>, StageError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut order: Vec<usize> = (0..rollout.episodes.len()).collect();
        let mut steps = vec![];
        for _ in 0..params.epochs {
            order.shuffle(&mut rng);
            for part in order.chunks(order.len() / params.minibatches) {
                let batch = episode::batch(part.iter().map(|&i| &rollout.episodes[i]));
                let pick = |rows: &[Vec<f32>]| part.iter().flat_map(|&i| rows[i].clone()).collect::<Vec<_>>();
                let (old, advantages) = (pick(&rollout.log_probs), pick(&rollout.advantages));
                let (mut stats, mut values_clipped) = (PolicyStats::default(), 0.0);
                self.policy.step(&batch, |new| {
                    let (loss, seen) = policy_loss(new, &old, &advantages, params.clip);
                    stats = seen;
                    loss
                })?;
                let (old, returns) = (pick(&rollout.values), pick(&rollout.returns));
                self.critic.step(&batch, |new| {
                    let (loss, outside) = value_loss(new, &old, &returns, params.value_clip);
                    values_clipped = outside;
                    loss
                })?;
                steps.push((stats, values_clipped));
            }
        }
        Ok(steps)
    }

    /// One point of each curve.
    fn record(&mut self, params: &Params, rollout: &Rollout, steps: &[(PolicyStats, f32)]) {
        self.updates += 1;
        let n = steps.len() as f32;
        let mean = |of: fn(&PolicyStats) -> f32| steps.iter().map(|(stats, _)| of(stats)).sum::<f32>() / n;
        let f = rollout.figures;
        let points = [
            ("reward", f.reward),
            ("kl", f.kl),
            ("kl_coefficient", self.kl),
            ("entropy", f.entropy),
            ("length", f.length),
            ("ended", f.ended),
            ("distinct", f.distinct),
            ("explained_variance", f.explained_variance),
            ("positive", f.positive),
            ("negative", f.negative),
            ("first_ratio_deviation", steps[0].0.ratio_deviation),
            ("ratio", mean(|s| s.ratio)),
            ("ratio_variance", mean(|s| s.ratio_variance)),
            ("clipped", mean(|s| s.clipped)),
            ("values_clipped", steps.iter().map(|(_, share)| share).sum::<f32>() / n),
            ("approximate_kl", mean(|s| s.approximate_kl)),
        ];
        let step = self.updates as u32;
        let point = |(metric, value): (&str, f32)| CurvePoint {
            arm: params.arm.clone(),
            step,
            metric: metric.into(),
            value,
        };
        let of_writers = f.first_divergence.map(|tokens| ("first_divergence", tokens));
        self.curve.extend(points.into_iter().chain(of_writers).map(point));
    }

    fn save(&self, folder: &Path) -> Result<(), StageError> {
        self.policy.save(folder.join("policy"))?;
        self.critic.save(folder.join("critic"))?;
        dataset::write(&folder.join("curve"), &self.curve)?;
        dataset::write(&folder.join("trajectory"), &self.trajectory)?;
        std::fs::write(folder.join("kl"), self.kl.to_le_bytes())
            .map_err(|e| StageError::because("a checkpoint could not be written", e))
    }

    fn load(folder: &Path, updates: usize, params: &Params) -> Result<Self, StageError> {
        let (policy, critic) = optimizers(params);
        let kl = std::fs::read(folder.join("kl"))
            .map_err(|e| StageError::because("the checkpoint's `kl` could not be read", e))?;
        let kl = kl.try_into().map_err(|_| StageError::new("the checkpoint's `kl` is not one number"))?;
        Ok(Self {
            policy: Trainer::resume(folder.join("policy"), policy.0, policy.1)?,
            critic: Trainer::resume(folder.join("critic"), critic.0, critic.1)?,
            kl: f32::from_le_bytes(kl),
            curve: dataset::read(&folder.join("curve"))?,
            trajectory: dataset::read(&folder.join("trajectory"))?,
            updates,
        })
    }
}

/// Of the policy and of the critic: Adam with eps 1e-5, no weight decay, linear warm-up, linear decay to 0.
fn optimizers(params: &Params) -> ((AdamW, Schedule), (AdamW, Schedule)) {
    let adam =
        |lr| AdamW { lr, betas: (0.9, 0.999), eps: 1e-5, weight_decay: 0.0, clip: Some(params.grad_clip) };
    let total = params.updates * params.epochs * params.minibatches;
    let schedule = Schedule { warmup: params.warmup, total, decay: Decay::Linear, floor: 0.0 };
    ((adam(params.lr), schedule.clone()), (adam(params.critic_lr), schedule))
}
