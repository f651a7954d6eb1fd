//! Every stage on a tiny configuration, through the contract: what it leaves can be read, makes sense, and is
//! the same however often, with however many threads and after whatever kills it is made.

mod common;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use common::Workshop;
use serde_json::json;
use stages::{
    contract::StageError,
    dataset::{self, CurvePoint, Demonstration, Measurement, Pair, Prompt},
};

/// All outputs of a small run of one world.
struct Run {
    workshop: Workshop,
    data: PathBuf,
    sft: PathBuf,
    pairs: PathBuf,
    rm: BTreeMap<&'static str, PathBuf>,
    ppo: BTreeMap<&'static str, PathBuf>,
    judge: PathBuf,
}

fn training(steps: usize) -> serde_json::Value {
    json!({ "steps": steps, "batch": 16, "lr": 3e-3, "warmup": 5 })
}

fn ppo_params(arm: &str) -> serde_json::Value {
    json!({ "arm": arm, "updates": 3, "batch": 16, "epochs": 2, "minibatches": 2, "calibration": 32 })
}

fn run(world: &str) -> Run {
    let w = Workshop::new();
    let params = json!({ "world": world, "demonstrations": 400, "prompts": 120, "evaluation": 12 });
    let data = w.run("data", "data", params, &[]);
    let one = |path: PathBuf| vec![path];
    let params = json!({
        "training": training(60), "held_out": 32,
        "model": { "width": 32, "layers": 2, "heads": 2, "kv_heads": 1, "feed_forward": 48 },
    });
    let sft = w.run("sft", "sft", params, &[("demonstrations", one(data.join("demonstrations")))]);
    let evaluation = ("evaluation", one(data.join("evaluation")));
    let prompts = ("prompts", one(data.join("prompts")));
    let policy = ("policy", one(sft.join("model")));
    let params = json!({ "world": world, "prompts": 100 });
    let pairs = w.run("pairs", "preferences", params, &[policy.clone(), prompts.clone(), evaluation]);

    let (mut rm, mut ppo, mut answers) = (BTreeMap::new(), BTreeMap::new(), vec![]);
    let answer = |name: &str, arm: &str, model: PathBuf| {
        let inputs = [
            ("policy", one(model)),
            ("reference", one(sft.join("model"))),
            ("prompts", one(data.join("evaluation"))),
        ];
        w.run(name, "sample", json!({ "arm": arm }), &inputs).join("responses")
    };
    answers.push(answer("answers-sft", "sft", sft.join("model")));
    for objective in ["binary", "sequence"] {
        let inputs = [("init", one(sft.join("model"))), ("pairs", one(pairs.join("pairs")))];
        let params = json!({ "objective": objective, "training": training(20) });
        let reward = w.run(&format!("rm-{objective}"), "reward-model", params, &inputs);
        let inputs = [policy.clone(), ("reward", one(reward.join("reward"))), prompts.clone()];
        let arm = format!("ppo-{objective}");
        let trained = w.run(&arm, "ppo", ppo_params(&arm), &inputs);
        answers.push(answer(&format!("answers-{objective}"), &arm, trained.join("model")));
        rm.insert(objective, reward);
        ppo.insert(objective, trained);
    }
    let params = json!({ "world": world, "ppo": ppo_params("ppo-gold") });
    let gold = w.run("ppo-gold", "ppo-gold", params, &[policy, prompts]);
    answers.push(answer("answers-gold", "ppo-gold", gold.join("model")));
    ppo.insert("gold", gold);
    let params = json!({ "world": world, "baselines": ["sft", "ppo-binary"] });
    let judge = w.run("judge", "judge", params, &[("responses", answers)]);
    Run { workshop: w, data, sft, pairs, rm, ppo, judge }
}

fn read<R: dataset::Row>(path: PathBuf) -> Vec<R> {
    dataset::read(&path).unwrap()
}

fn values(rows: &[Measurement], arm: &str, metric: &str) -> Vec<f32> {
    rows.iter().filter(|m| m.arm == arm && m.metric == metric).map(|m| m.value).collect()
}

#[test]
fn every_stage_of_every_world_leaves_what_it_declares() {
    for world in ["safety", "summary", "dialogue"] {
        let run = run(world);
        let demonstrations: Vec<Demonstration> = read(run.data.join("demonstrations"));
        assert_eq!(demonstrations.len(), 400);
        let evaluation: Vec<Prompt> = read(run.data.join("evaluation"));
        let count = |split: &str| evaluation.iter().filter(|p| p.split == split).count();
        assert_eq!((count("in"), count("out"), evaluation.len()), (12, 12, 24), "{world}");

        let curve: Vec<CurvePoint> = read(run.sft.join("curve"));
        assert!(curve.last().unwrap().value < 0.8 * curve[0].value, "{world}: SFT does not learn: {curve:?}");

        let pairs: Vec<Pair> = read(run.pairs.join("pairs"));
        assert!(pairs.iter().all(|p| p.chosen != p.rejected));
        assert!(["train", "in", "out"].iter().all(|s| pairs.iter().any(|p| p.split == *s)), "{world}");

        for (objective, folder) in &run.rm {
            let rows: Vec<Measurement> = read(folder.join("evaluation"));
            let accuracy = values(&rows, &format!("rm-{objective}"), "accuracy");
            assert_eq!(accuracy.len(), pairs.iter().filter(|p| p.split != "train").count());
            assert!(accuracy.iter().all(|a| [0.0, 0.5, 1.0].contains(a)));
        }
        for (name, arm) in &run.ppo {
            let curve: Vec<CurvePoint> = read(arm.join("curve"));
            let of = |metric: &str| -> Vec<f32> {
                curve.iter().filter(|p| p.metric == metric).map(|p| p.value).collect()
            };
            // Old and new log-probabilities come from the same kernels: exactly 1, not nearly.
            assert_eq!(of("first_ratio_deviation"), [0.0; 3], "{world}");
            assert_eq!(of("kl")[0], 0.0, "{world}: the policy starts as the reference");
            // Only a reward model that writes diverges, within what the policy has written.
            let (divergence, length) = (of("first_divergence"), of("length"));
            assert_eq!(divergence.len(), if *name == "sequence" { 3 } else { 0 }, "{world} {name}");
            assert!(
                divergence.iter().zip(&length).all(|(d, l)| (0.0..=*l).contains(d)),
                "{divergence:?} {length:?}"
            );
            assert!(of("ratio_variance").iter().all(|v| *v > 0.0), "{world}: the policy does not move");
        }
        let verdicts: Vec<Measurement> = read(run.judge.join("verdicts"));
        for arm in ["sft", "ppo-binary", "ppo-sequence", "ppo-gold"] {
            for metric in ["gold", "chance", "length", "kl", "ended"] {
                assert_eq!(values(&verdicts, arm, metric).len(), 24, "{world} {arm} {metric}");
            }
            let judged = values(&verdicts, arm, "refusal").len() + values(&verdicts, arm, "harm").len();
            assert_eq!(judged, 24, "{world} {arm}: each prompt is harmless or harmful");
            let summaries = if world == "summary" { 24 } else { 0 };
            assert_eq!(values(&verdicts, arm, "recall").len(), summaries, "{world} {arm}");
        }
        assert!(values(&verdicts, "sft", "kl").iter().all(|kl| *kl == 0.0));
        assert!(values(&verdicts, "ppo-gold", "kl").iter().sum::<f32>() > 0.0);
        // Who wins against the other loses against oneself.
        let wins: f32 = values(&verdicts, "ppo-binary", "win_vs_sft").iter().sum();
        let losses: f32 = values(&verdicts, "sft", "win_vs_ppo-binary").iter().sum();
        assert_eq!(wins + losses, 24.0);
        // Also at equal length, item by item.
        let wins = values(&verdicts, "ppo-binary", "lc_win_vs_sft");
        let losses = values(&verdicts, "sft", "lc_win_vs_ppo-binary");
        assert_eq!((wins.len(), losses.len()), (24, 24));
        assert!(wins.iter().zip(&losses).all(|(w, l)| (w + l - 1.0).abs() < 1e-3), "{wins:?} {losses:?}");
    }
}

/// All files below a folder with their bytes.
fn bytes(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = PathBuf::from(path.file_name().unwrap());
        if path.is_dir() {
            files.extend(bytes(&path).into_iter().map(|(file, bytes)| (name.join(file), bytes)));
        } else {
            files.insert(name, std::fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn the_thread_count_changes_no_byte() {
    let with_threads = |n: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        let run = pool.install(|| run("summary"));
        let folders = [&run.data, &run.sft, &run.pairs, &run.judge].into_iter();
        let folders = folders.chain(run.rm.values()).chain(run.ppo.values());
        folders.map(|f| bytes(f)).collect::<Vec<_>>()
    };
    assert!(with_threads(1) == with_threads(2));
}

#[test]
fn a_killed_training_goes_on_to_the_same_bytes() {
    let run = run("dialogue");
    let w = &run.workshop;
    let one = |path: PathBuf| vec![path];

    let inputs = [("init", one(run.sft.join("model"))), ("pairs", one(run.pairs.join("pairs")))];
    let params = json!({ "objective": "sequence", "training": training(20) });
    w.run_and_kill("rm-again", "reward-model", params.clone(), &inputs, 17);
    let again = w.run("rm-again", "reward-model", params, &inputs);
    assert!(bytes(&again) == bytes(&run.rm["sequence"]));

    let inputs = [
        ("policy", one(run.sft.join("model"))),
        ("reward", one(run.rm["binary"].join("reward"))),
        ("prompts", one(run.data.join("prompts"))),
        ("evaluation", one(run.data.join("evaluation"))),
    ];
    let params = || {
        let mut params = ppo_params("ppo-binary");
        params["evaluate_every"] = json!(1);
        params
    };
    let whole = w.run("ppo-whole", "ppo", params(), &inputs);
    w.run_and_kill("ppo-again", "ppo", params(), &inputs, 3);
    assert!(bytes(&w.run("ppo-again", "ppo", params(), &inputs)) == bytes(&whole));
    // Being watched changes nothing.
    assert!(bytes(&whole.join("model")) == bytes(&run.ppo["binary"].join("model")));
}

#[test]
fn early_stopping_keeps_the_model_with_the_lowest_held_out_loss() {
    let run = run("dialogue");
    let w = &run.workshop;
    let one = |path: PathBuf| vec![path];
    let inputs = [("init", one(run.sft.join("model"))), ("pairs", one(run.pairs.join("pairs")))];
    // So high a rate that the loss soon rises again.
    let params = |steps: usize, early_stop: serde_json::Value| {
        let training =
            json!({ "steps": steps, "batch": 16, "lr": 0.3, "warmup": 0, "early_stop": early_stop });
        json!({ "objective": "sequence", "training": training })
    };
    let early = json!({ "every": 1, "patience": 12, "held_out": 32 });
    let stopped = w.run("rm-early", "reward-model", params(40, early.clone()), &inputs);
    let curve: Vec<CurvePoint> = dataset::read(&stopped.join("curve")).expect("a curve");
    let held_out: Vec<f32> = curve.iter().filter(|p| p.metric == "held_out_loss").map(|p| p.value).collect();
    let lowest = held_out.iter().copied().fold(f32::INFINITY, f32::min);
    let at = held_out.iter().position(|l| *l == lowest).expect("a lowest") + 1;
    assert!(at > 1, "{held_out:?}");
    assert_eq!(held_out.len(), at + 12, "{held_out:?}");
    assert!(held_out.len() < 40, "it was to stop early: {held_out:?}");

    // Nor do kills change that, before the lowest loss and, past a checkpoint, after it; nor what they damage.
    for (name, kill, damaged) in [
        ("before", at, None),
        ("after", at + 11, None),
        ("best", at + 11, Some("best")),
        ("seen", at + 11, Some("held_out")),
    ] {
        w.run_and_kill(name, "reward-model", params(40, early.clone()), &inputs, kill);
        let checkpoints = w.folder.path().join(name).join("checkpoints");
        assert!(kill <= 10 || !bytes(&checkpoints).is_empty(), "{name}: no checkpoint");
        if let Some(damaged) = damaged {
            let files: Vec<_> = bytes(&checkpoints)
                .into_iter()
                .filter(|(f, _)| f.to_string_lossy().contains(damaged))
                .collect();
            assert!(!files.is_empty(), "there is no {damaged}");
            files.iter().for_each(|(f, _)| std::fs::write(checkpoints.join(f), "damaged").expect("a file"));
        }
        let again = w.run(name, "reward-model", params(40, early.clone()), &inputs);
        assert!(bytes(&again) == bytes(&stopped), "{name}: killed at step {kill}, it ends at other bytes");
    }
    // The same steps with looks from the lowest loss on: it is that model, not the last one.
    let patient = json!({ "every": at, "patience": 40, "held_out": 32 });
    let patient = w.run("rm-patient", "reward-model", params(40, patient), &inputs);
    assert!(
        bytes(&patient.join("reward")) == bytes(&stopped.join("reward")),
        "not the model of the lowest loss"
    );

    let none = json!({ "every": 1, "patience": 4, "held_out": 1_000_000 });
    let error =
        w.try_run("rm-none", "reward-model", params(40, none), &inputs).expect_err("no examples").to_string();
    assert!(error.contains("leave none to train on"), "{error}");
}

#[test]
fn a_checkpoint_may_fall_on_any_step() {
    let run = run("dialogue");
    let w = &run.workshop;
    let pairs = [("init", vec![run.sft.join("model")]), ("pairs", vec![run.pairs.join("pairs")])];
    // A point of the curve is the mean of two steps: between them a loss waits.
    let params = || json!({ "objective": "sequence", "training": training(100) });
    let whole = w.run("rm-whole", "reward-model", params(), &pairs);
    w.run_and_kill("rm-often", "reward-model", params(), &pairs, 17);
    assert!(w.folder.path().join("rm-often/checkpoints/00000033").exists(), "a checkpoint after each step");
    assert!(bytes(&w.run("rm-often", "reward-model", params(), &pairs)) == bytes(&whole));
}

#[test]
fn a_damaged_checkpoint_is_left_behind() {
    let run = run("dialogue");
    let w = &run.workshop;
    type Damage = fn(&mut Vec<u8>);
    let truncated: Damage = |bytes| *bytes = b"no checkpoint".into();
    // One bit of a weight: it can be read, and nothing but its hash tells.
    let flipped: Damage = |bytes| {
        let middle = bytes.len() / 2;
        bytes.get_mut(middle).into_iter().for_each(|byte| *byte ^= 1);
    };
    let damage = |name: &str, damage: Damage| {
        let checkpoints = w.folder.path().join(name).join("checkpoints");
        let files = bytes(&checkpoints);
        assert!(!files.is_empty(), "{name} has made no checkpoint");
        for (file, mut bytes) in files {
            damage(&mut bytes);
            std::fs::write(checkpoints.join(file), bytes).expect("a file");
        }
    };
    let one = |path: PathBuf| vec![path];
    let pairs = [("init", one(run.sft.join("model"))), ("pairs", one(run.pairs.join("pairs")))];
    let ppo = [
        ("policy", one(run.sft.join("model"))),
        ("reward", one(run.rm["binary"].join("reward"))),
        ("prompts", one(run.data.join("prompts"))),
    ];
    for (how, act) in [("truncated", truncated), ("flipped", flipped)] {
        let params = json!({ "objective": "sequence", "training": training(20) });
        let name = format!("rm-{how}");
        w.run_and_kill(&name, "reward-model", params.clone(), &pairs, 17);
        damage(&name, act);
        assert!(bytes(&w.run(&name, "reward-model", params, &pairs)) == bytes(&run.rm["sequence"]), "{name}");

        let (name, params) = (format!("ppo-{how}"), ppo_params("ppo-binary"));
        w.run_and_kill(&name, "ppo", params.clone(), &ppo, 3);
        damage(&name, act);
        assert!(bytes(&w.run(&name, "ppo", params, &ppo)) == bytes(&run.ppo["binary"]), "{name}");
    }
}

#[test]
fn what_cannot_work_is_said_plainly() {
    let run = run("summary");
    let w = &run.workshop;
    let says = |result: Result<PathBuf, StageError>, parts: &[&str]| {
        let e = result.expect_err("it should fail");
        let source = e.source.as_ref().map(ToString::to_string).unwrap_or_default();
        let text = format!("{} {source} {}", e.message, e.hint.unwrap_or_default());
        assert!(parts.iter().all(|p| text.contains(p)), "{text:?} lacks one of {parts:?}");
    };
    let demonstrations = vec![run.data.join("demonstrations")];
    let inputs = [("demonstrations", demonstrations.clone())];
    says(w.try_run("a", "sft", json!({ "held_out": 400 }), &inputs), &["400 demonstrations", "held_out"]);
    says(w.try_run("b", "sft", json!({ "training": { "lr": -1.0 } }), &inputs), &["training.lr", "-1"]);
    says(w.try_run("c", "sft", json!({ "model": { "heads": 0 } }), &inputs), &["heads", "0"]);
    says(w.try_run("d", "sft", json!({ "modle": {} }), &inputs), &["modle", "model"]);
    let huge = json!({ "tokenizer": { "bpe": u64::MAX } });
    says(w.try_run("d", "sft", huge, &inputs), &["tokenizer.bpe", "between"]);
    says(w.try_run("e", "data", json!({ "world": "sumary" }), &[]), &["sumary", "summary"]);
    let wrong = [("demonstrations", vec![run.data.join("prompts")])];
    says(w.try_run("f", "sft", json!({}), &wrong), &["expected the columns", "response"]);
    let twice = vec![
        run.workshop
            .run(
                "answers-other",
                "sample",
                json!({ "arm": "sft" }),
                &[
                    ("policy", vec![run.sft.join("model")]),
                    ("reference", vec![run.sft.join("model")]),
                    ("prompts", vec![run.data.join("evaluation")]),
                ],
            )
            .join("responses"),
    ];
    let params = json!({ "world": "summary", "baselines": ["sfft"] });
    says(w.try_run("g", "judge", params, &[("responses", twice.clone())]), &["sfft", "`sft`", "baselines"]);
    let params = json!({ "world": "dialogue", "baselines": [] });
    says(w.try_run("h", "judge", params, &[("responses", twice)]), &["no prompt of the world `dialogue`"]);
    let inputs = [
        ("policy", vec![run.sft.join("model")]),
        ("reward", vec![run.rm["binary"].join("reward")]),
        ("prompts", vec![run.data.join("evaluation")]),
    ];
    says(
        w.try_run("i", "ppo", json!({}), &inputs),
        &["the split `in`", "no training prompt", "data.prompts"],
    );
}
