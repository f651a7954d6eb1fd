//! The arms beside PPO with a binary and a sequence reward model, and what compares them, through the contract.

mod common;

use std::path::{Path, PathBuf};

use common::{Given, Workshop};
use lm::Model;
use serde_json::{Value, json};
use stages::{
    contract::{Artifact, Coordinates, derive_seed},
    dataset::{self, CurvePoint, Demonstration, Measurement, Pair, Response, Row, Snapshot},
    dpo::Margins,
    episode::Episode,
    reward::{self, binary, bradley_terry::BradleyTerry, dense, extraction::Extraction, totals},
    text::{Codec, Policy},
    training::Task,
};

const WORLD: &str = "summary";

/// A small world, a policy that has learnt a little, and pairs.
struct Start {
    workshop: Workshop,
    data: PathBuf,
    sft: PathBuf,
    pairs: PathBuf,
}

fn one(path: PathBuf) -> Vec<PathBuf> {
    vec![path]
}

fn training(steps: usize) -> Value {
    json!({ "steps": steps, "batch": 16, "lr": 3e-3, "warmup": 5 })
}

impl Start {
    fn new() -> Self {
        let w = Workshop::new();
        let params = json!({ "world": WORLD, "demonstrations": 400, "prompts": 120, "evaluation": 12 });
        let data = w.run("data", "data", params, &[]);
        let params = json!({
            "training": training(60), "held_out": 32,
            "model": { "width": 32, "layers": 2, "heads": 2, "kv_heads": 1, "feed_forward": 48 },
        });
        let sft = w.run("sft", "sft", params, &[("demonstrations", one(data.join("demonstrations")))]);
        let mut start = Self { workshop: w, data, sft, pairs: PathBuf::new() };
        start.pairs = start.preferences("pairs", json!({}));
        start
    }

    fn policy(&self) -> Given<'static> {
        ("policy", one(self.sft.join("model")))
    }

    fn prompts(&self) -> Given<'static> {
        ("prompts", one(self.data.join("prompts")))
    }

    fn evaluation(&self) -> Given<'static> {
        ("evaluation", one(self.data.join("evaluation")))
    }

    fn preferences(&self, name: &str, more: Value) -> PathBuf {
        let params = merged(json!({ "world": WORLD, "prompts": 100 }), more);
        let inputs = [self.policy(), self.prompts(), self.evaluation()];
        self.workshop.run(name, "preferences", params, &inputs)
    }

    fn reward_model(&self, name: &str, params: Value) -> PathBuf {
        let params = merged(json!({ "arm": name, "training": training(20) }), params);
        let inputs = [("init", one(self.sft.join("model"))), ("pairs", one(self.pairs.join("pairs")))];
        self.workshop.run(name, "reward-model", params, &inputs)
    }

    /// PPO that answers the evaluation prompts on its way.
    fn ppo(&self, name: &str, reward: &Path, updates: usize) -> PathBuf {
        let params = json!({
            "arm": name, "updates": updates, "batch": 16, "calibration": 32, "evaluate_every": 2, "lr": 3e-3,
        });
        let inputs =
            [self.policy(), ("reward", one(reward.join("reward"))), self.prompts(), self.evaluation()];
        self.workshop.run(name, "ppo", params, &inputs)
    }

    fn codec(&self) -> Codec {
        Codec::load(&self.sft.join("model")).expect("a tokenizer")
    }
}

fn merged(mut under: Value, over: Value) -> Value {
    let (Some(all), Value::Object(over)) = (under.as_object_mut(), over) else { unreachable!("objects") };
    all.extend(over);
    under
}

fn read<R: Row>(path: PathBuf) -> Vec<R> {
    dataset::read(&path).expect("a dataset")
}

fn mean(values: impl Iterator<Item = f32>) -> f32 {
    let values: Vec<f32> = values.collect();
    values.iter().sum::<f32>() / values.len() as f32
}

/// The gradient of a task's loss at random outputs against central differences.
fn check_gradient(task: &impl Task, examples: &[usize]) {
    let rows = task.batch(examples).rows();
    let random = |i: usize| derive_seed(3, &i.to_string()) as f32 / u64::MAX as f32 * 4.0 - 2.0;
    let at: Vec<f32> = (0..rows).map(random).collect();
    let (_, gradient) = task.loss(examples, &at);
    assert_eq!(gradient.len(), rows);
    for i in 0..rows {
        let shifted = |h: f32| {
            let mut x = at.clone();
            x[i] += h;
            f64::from(task.loss(examples, &x).0)
        };
        let numeric = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
        assert!((numeric - f64::from(gradient[i])).abs() < 1e-3, "{i}: {numeric} {}", gradient[i]);
    }
}

#[test]
fn gradients_of_pair_losses_agree_with_finite_differences() {
    let start = Start::new();
    let (codec, pairs) = (start.codec(), read::<Pair>(start.pairs.join("pairs")));
    let policy = Policy::load(&start.sft.join("model")).expect("a policy");
    let margins = Margins::new(&policy.model, &codec, &pairs, 0.3).expect("margins");
    let examples = [5, 0, 3];
    check_gradient(&margins, &examples);
    for rows in [binary::rows, dense::rows] {
        check_gradient(&BradleyTerry::new(&codec, &pairs, rows).expect("pairs"), &examples);
    }

    // A policy that is the reference prefers nothing.
    let log_probs = policy.model.log_probs(&margins.batch(&examples)).expect("log-probabilities");
    assert!((margins.loss(&examples, &log_probs).0 - std::f32::consts::LN_2).abs() < 1e-5);
}

#[test]
fn dpo_makes_the_chosen_responses_likelier() {
    let start = Start::new();
    let inputs = [start.policy(), ("pairs", one(start.pairs.join("pairs")))];
    let params = json!({ "training": training(40), "beta": 0.1 });
    let dpo = start.workshop.run("dpo", "dpo", params, &inputs);
    let curve: Vec<CurvePoint> = read(dpo.join("curve"));
    assert!((curve[0].value - std::f32::consts::LN_2).abs() < 0.01, "it starts at the reference: {curve:?}");
    assert!(curve.last().is_some_and(|p| p.value < 0.6), "{curve:?}");
}

#[test]
fn a_dense_reward_model_scores_every_token_and_learns_from_the_sums() {
    let start = Start::new();
    let dense = start.reward_model("rm-dense", json!({ "objective": "dense", "training": training(60) }));
    let codec = start.codec();
    let pairs: Vec<Pair> = read(start.pairs.join("pairs"));
    let pairs: Vec<Pair> = pairs.into_iter().filter(|p| p.split == "train").collect();
    let episodes = Episode::pairs(&codec, &pairs).expect("episodes").concat();
    let reward = reward::load(&dense.join("reward"), Extraction::default()).expect("a reward model");
    let scores = reward.scores(&episodes).expect("scores");
    assert!(scores.iter().zip(&episodes).all(|(s, e)| s.len() == e.response.len()));
    assert!(scores.iter().flatten().filter(|s| **s != 0.0).count() > scores.len());
    let right = totals(&scores).chunks_exact(2).filter(|both| both[0] > both[1]).count();
    assert!(right as f32 > 0.7 * pairs.len() as f32, "{right} of {}", pairs.len());
    start.ppo("ppo-dense", &dense, 2);
}

#[test]
fn a_reward_model_is_refused_with_another_recipe_or_with_none() {
    let start = Start::new();
    let binary = start.reward_model("rm-binary", json!({ "objective": "binary" })).join("reward");
    let load = || reward::load(&binary, Extraction::default()).err().expect("refused").to_string();
    std::fs::write(binary.join("reward.json"), r#"{ "objective": "sequence" }"#).expect("a file");
    assert!(load().contains("another head"), "{}", load());
    std::fs::write(binary.join("reward.json"), r#"{ "objective": "binnary" }"#).expect("a file");
    assert!(load().contains("recipe"), "{}", load());
    std::fs::remove_file(binary.join("reward.json")).expect("a file");
    assert!(load().contains("recipe"), "{}", load());
}

#[test]
fn the_best_of_more_earns_more() {
    let start = Start::new();
    let binary = start.reward_model("rm-binary", json!({ "objective": "binary", "training": training(60) }));
    let earned = |n: usize| {
        let inputs = [start.policy(), ("reward", one(binary.join("reward"))), start.prompts()];
        let name = format!("best-of-{n}");
        let best = start.workshop.run(&name, "best-of-n", json!({ "n": n, "prompts": 80 }), &inputs);
        let rows: Vec<Demonstration> = read(best.join("best"));
        assert!(rows.len() <= 80 && rows.len() > 40, "{}", rows.len());
        let codec = start.codec();
        let episode = |d: &Demonstration| Episode::of(&codec, &d.prompt, &d.response).expect("an episode");
        let episodes: Vec<Episode> = rows.iter().map(episode).collect();
        let reward = reward::load(&binary.join("reward"), Extraction::default()).expect("a reward model");
        let totals = totals(&reward.scores(&episodes).expect("scores"));
        (totals.iter().sum::<f32>() / totals.len() as f32, best)
    };
    let ((few, _), (many, best)) = (earned(1), earned(8));
    assert!(many > few + 0.1, "{many} {few}");

    // Rejection-sampling fine-tuning: `sft` goes on from the policy with them.
    let inputs = [("demonstrations", one(best.join("best"))), ("init", one(start.sft.join("model")))];
    let params = json!({ "arm": "rft", "training": training(5), "held_out": 8 });
    start.workshop.run("rft", "sft", params, &inputs);
}

#[test]
fn pairs_of_several_candidates_are_extreme_or_near() {
    let start = Start::new();
    let distance = |folder: &Path| {
        let pairs: Vec<Pair> = read(folder.join("pairs"));
        let words = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        let edits = |p: &Pair| strsim::generic_levenshtein(&words(&p.chosen), &words(&p.rejected));
        pairs.iter().map(edits).sum::<usize>() as f32 / pairs.len() as f32
    };
    let agreement = |folder: &Path| {
        let audit: Vec<Measurement> = read(folder.join("audit"));
        let agrees: Vec<f32> = audit.iter().filter(|m| m.metric == "label_agrees").map(|m| m.value).collect();
        agrees.iter().sum::<f32>() / agrees.len() as f32
    };
    let sure = json!({ "candidates": 6, "flip": 0.0, "bias": 0.0, "temperature": 1e-3 });
    let extreme = start.preferences("extreme", sure.clone());
    let near = start.preferences("near", merged(sure.clone(), json!({ "pairing": "nearest" })));
    let near_best = start.preferences("near-best", merged(sure, json!({ "pairing": "near-best" })));
    assert!(distance(&near_best) < distance(&extreme), "{} {}", distance(&near_best), distance(&extreme));
    assert!(agreement(&near_best) > 0.95, "{}", agreement(&near_best));
    assert!(distance(&near) + 1.0 < distance(&extreme), "{} {}", distance(&near), distance(&extreme));
    assert!(agreement(&extreme) > 0.95 && agreement(&near) > 0.5, "{}", agreement(&extreme));

    let pairs: Vec<Pair> = read(near.join("pairs"));
    let chosen: Vec<Demonstration> = read(near.join("chosen"));
    let expected: Vec<Demonstration> = pairs
        .into_iter()
        .filter(|p| p.split == "train")
        .map(|p| Demonstration { prompt: p.prompt, response: p.chosen })
        .collect();
    assert_eq!(chosen, expected, "what is to be imitated is what was chosen, and nothing held out");
}

#[test]
fn trajectories_are_compared_at_the_same_kl_and_judged_on_their_way() {
    let start = Start::new();
    let w = &start.workshop;
    let mut trajectories = vec![];
    for (objective, updates) in [("binary", 5), ("sequence", 2)] {
        let reward = start.reward_model(&format!("rm-{objective}"), json!({ "objective": objective }));
        let ppo = start.ppo(&format!("ppo-{objective}"), &reward, updates);
        let rows: Vec<Snapshot> = read(ppo.join("trajectory"));
        let mut steps: Vec<u32> = rows.iter().map(|r| r.step).collect();
        steps.dedup();
        assert_eq!(steps, if updates == 5 { vec![0, 2, 4, 5] } else { vec![0, 2] });
        assert!(rows.iter().filter(|r| r.step == 0).all(|r| r.kl == 0.0), "it starts at the reference");
        assert_eq!(rows.len(), 24 * steps.len());
        trajectories.push(ppo.join("trajectory"));
    }
    let judged = w.run(
        "way",
        "overoptimization",
        json!({ "world": WORLD }),
        &[("trajectories", trajectories.clone())],
    );
    let curve: Vec<CurvePoint> = read(judged.join("curve"));
    for metric in ["gold_in", "gold_out", "proxy_in", "kl_out"] {
        let of = |arm: &str| curve.iter().filter(|p| p.arm == arm && p.metric == metric).count();
        assert_eq!((of("ppo-binary"), of("ppo-sequence")), (4, 2), "{metric}");
    }
    assert_eq!(read::<Measurement>(judged.join("fall")).len(), 48);

    let matched = w.run("matched", "match-kl", json!({}), &[("trajectories", trajectories.clone())]);
    let responses: Vec<Response> = read(matched.join("responses"));
    assert_eq!(responses.len(), 48);
    // In each split the one stops on its way where the other ends.
    let bracket: Vec<Measurement> = read(matched.join("bracket"));
    for split in ["in", "out"] {
        let kl =
            |arm: &str| mean(responses.iter().filter(|r| r.arm == arm && r.split == split).map(|r| r.kl));
        let at = |arm: &str, metric: &str| {
            let is = |m: &&Measurement| m.arm == arm && m.split == split && m.metric == metric;
            bracket.iter().find(is).expect("a bracket").value
        };
        let reach = ["ppo-binary@kl", "ppo-sequence@kl"].map(|arm| at(arm, "kl_after"));
        let target = reach[0].min(reach[1]);
        let ends_there = |arm: &&str| (kl(arm) - target).abs() < 1e-5 * target;
        assert!(target > 0.0 && ["ppo-binary@kl", "ppo-sequence@kl"].iter().any(ends_there));
        assert!(["ppo-binary@kl", "ppo-sequence@kl"].iter().all(|arm| at(arm, "kl_before") <= target));
    }
    let params = json!({ "world": WORLD, "baselines": ["ppo-binary@kl"] });
    w.run("judge", "judge", params, &[("responses", one(matched.join("responses")))]);

    // Without evaluation prompts there is nothing to compare, and that is said.
    let inputs =
        [start.policy(), ("reward", one(w.folder.path().join("rm-binary/out/reward"))), start.prompts()];
    let params = json!({ "updates": 1, "batch": 16, "calibration": 32 });
    let blind = w.run("unwatched", "ppo", params, &inputs).join("trajectory");
    let error =
        w.try_run("nothing", "match-kl", json!({}), &[("trajectories", one(blind))]).expect_err("empty");
    assert!(error.hint.is_some_and(|hint| hint.contains("evaluation")), "{}", error.message);
    for stage in ["match-kl", "overoptimization"] {
        let params = if stage == "match-kl" { json!({}) } else { json!({ "world": WORLD }) };
        let refused = |name: &str, trajectories: Vec<PathBuf>| {
            let name = format!("{stage}-{name}");
            let result = w.try_run(&name, stage, params.clone(), &[("trajectories", trajectories)]);
            result.expect_err("nothing to compare").message
        };
        let twice = vec![trajectories[0].clone(); 2];
        assert!(refused("twice", twice).contains("two trajectories are of the arm `ppo-binary`"));
        let mut diverged: Vec<Snapshot> = read(trajectories[0].clone());
        diverged[3].kl = f32::NAN;
        let path = w.folder.path().join("diverged");
        dataset::write(&path, &diverged).expect("a file");
        let message = refused("diverged", vec![path, trajectories[1].clone()]);
        assert!(message.contains("the arm `ppo-binary` has a KL of NaN"), "{message}");
    }
    let alone = w.try_run("alone", "match-kl", json!({}), &[("trajectories", one(trajectories[1].clone()))]);
    assert!(alone.expect_err("one arm").message.contains("nothing to match the arm `ppo-sequence` with"));
}

#[test]
fn the_trial_that_is_best_without_gold_is_selected() {
    let start = Start::new();
    let w = &start.workshop;
    let trial = |lr: f32| {
        let params = json!({
            "objective": "sequence", "training": { "steps": 20, "batch": 16, "lr": lr, "warmup": 5 },
        });
        start.reward_model(&format!("lr-{lr}"), params)
    };
    let trials = [0.5, 1e-3, 0.2].map(|lr| (lr, trial(lr)));
    let at = |output: &str| {
        let artifact = |(lr, folder): &(f32, PathBuf)| Artifact {
            path: folder.join(output),
            coordinates: Coordinates::from([("lr".to_string(), lr.to_string())]),
        };
        trials.iter().map(artifact).collect::<Vec<_>>()
    };
    let inputs = [("rewards", at("reward")), ("evaluations", at("evaluation"))];
    let params = json!({ "criterion": "correction-loss" });
    let selected = w.try_gather("selected", "select-reward", params, &inputs).expect("a selection");
    let weights = |folder: &Path| std::fs::read(folder.join("reward/model.safetensors")).expect("weights");
    assert!(weights(&selected) == weights(&trials[1].1), "the one that has not diverged");
    Model::load(selected.join("reward")).expect("a whole model");
    let rows: Vec<Measurement> = read(selected.join("trials"));
    assert_eq!(rows.iter().map(|m| m.arm.as_str()).collect::<Vec<_>>(), ["lr=0.5", "lr=0.001", "lr=0.2"]);

    let params = json!({ "criterion": "accuracy" });
    let other = [("rewards", at("reward")), ("evaluations", vec![])];
    let error = w.try_gather("nothing", "select-reward", params, &other).expect_err("no evaluation");
    assert!(error.message.contains("lr=0.5"), "{}", error.message);

    let policies = [0.0, 2.0].map(|kl| {
        let reward = trials[1].1.join("reward");
        let params = json!({ "updates": 3, "batch": 16, "calibration": 32, "kl": kl });
        let inputs = [start.policy(), ("reward", one(reward)), start.prompts()];
        (kl, w.run(&format!("kl-{kl}"), "ppo", params, &inputs))
    });
    let at = |output: &str| {
        let artifact = |(kl, folder): &(f64, PathBuf)| Artifact {
            path: folder.join(output),
            coordinates: Coordinates::from([("kl".to_string(), kl.to_string())]),
        };
        policies.iter().map(artifact).collect::<Vec<_>>()
    };
    let inputs = [("policies", at("model")), ("curves", at("curve"))];
    let selected = w.try_gather("policy", "select-policy", json!({}), &inputs).expect("a selection");
    Policy::load(&selected.join("model")).expect("a whole policy");
    let rows: Vec<Measurement> = read(selected.join("trials"));
    let worth: Vec<f32> = rows.iter().map(|m| m.value).collect();
    let best = if worth[0] >= worth[1] { 0 } else { 1 };
    let bytes = |folder: &Path| std::fs::read(folder.join("model/model.safetensors")).expect("weights");
    assert!(bytes(&selected) == bytes(&policies[best].1));
}
