//! What is remembered of runs, and what is said of them.

mod common;

use std::fs;

use common::{Lab, TINY};
use serde_json::Value;

const JUDGE: [&str; 2] = ["--only", "judge"];
const LESS: [&str; 2] = ["--set", "stages.rm.with.correction=0.5"];

/// A lab with two runs: in the second the sequence reward model is trained otherwise.
fn two_runs() -> Lab {
    let lab = Lab::new(TINY);
    lab.run(&JUDGE);
    lab.run(&[JUDGE, LESS].concat());
    lab
}

fn runs(lab: &Lab) -> Vec<Value> {
    let runs = lab.call(&["runs", "--json"]).json_whole();
    runs["runs"].as_array().expect("a list").clone()
}

/// Lines for people, without what differs from run to run: ids, times, hashes, figures.
fn redacted(text: &str) -> String {
    let hex = |word: &str| word.len() >= 12 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let id = |word: &str| word.len() == 28 && word.as_bytes()[8] == b'T' && hex(&word[20..].repeat(2));
    let figure =
        |word: &str| word.contains('.') && word.trim_start_matches(['+', '-']).parse::<f64>().is_ok();
    let moment =
        |word: &str| word.len() >= 8 && word.bytes().all(|b| b.is_ascii_digit() || b"-:".contains(&b));
    let word = |word: &str| match word.trim_matches([',', ')', '(', ':']) {
        bare if id(bare) => word.replace(bare, "[run]"),
        bare if hex(bare) || bare.starts_with("cache/") => word.replace(bare, "[hash]"),
        bare if figure(bare) => word.replace(bare, "[x]"),
        bare if moment(bare) => word.replace(bare, "[time]"),
        _ => word.into(),
    };
    let line = |line: &str| match line.trim_start() {
        made if made.starts_with("made ") => "made [when]".into(),
        line => line.split(' ').map(word).filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" "),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_run_leaves_a_record() {
    let lab = two_runs();
    let interrupted = lab.try_call(&["run", "--only", "judge", "--set", "stages.sft.with.held_out=300"]);
    assert_eq!(interrupted.code, Some(1));
    let runs = runs(&lab);
    let figures =
        |run: &Value| ["total", "ran", "cached", "failed", "skipped"].map(|k| run[k].as_u64().unwrap());
    let total = figures(&runs[0])[0];
    assert_eq!(figures(&runs[2]), [total, total, 0, 0, 0]);
    assert_eq!(figures(&runs[1]), [total, 4, total - 4, 0, 0], "the sequence model and what follows it");
    assert_eq!(figures(&runs[0]), [total, 0, 1, 1, total - 2]);
    assert_eq!((&runs[1]["set"][0], &runs[1]["only"][0]), (&LESS[1].into(), &"judge".into()));
    let id = |i: usize| runs[i]["id"].as_str().unwrap();
    assert!(id(0) > id(1) || runs[0]["started"] == runs[1]["started"], "the newest comes first");

    // A record says what became of each instance, and never changes.
    let path = lab.path("cache/runs").join(format!("{}.json", id(0)));
    let record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let of =
        |name: &str| record["instances"].as_array().unwrap().iter().find(|i| i["instance"] == name).unwrap();
    assert_eq!(of("data")["state"], "cached");
    assert!(of("sft[seed=1]")["message"].as_str().unwrap().contains("held_out"), "{}", of("sft[seed=1]"));
    assert!(of("judge[seed=1]")["key"].is_null() && of("judge[seed=1]")["state"] == "skipped");
    assert_eq!(record["resolved"]["stages"]["sft"]["with"]["held_out"], 300);
    assert!(record["git"].is_null(), "the lab is in no repository");
    let before = fs::read(&path).unwrap();
    lab.run(&JUDGE);
    assert!(fs::read(&path).unwrap() == before);
}

#[test]
fn a_record_that_did_not_reach_the_disk_is_none() {
    let lab = Lab::new(TINY);
    let made = lab.run(&JUDGE);
    let (made, nothing) = (made["run"].as_str().unwrap(), lab.run(&JUDGE));
    let path = lab.path("cache/runs").join(format!("{}.json", nothing["run"].as_str().unwrap()));
    fs::write(&path, "").unwrap();
    assert_eq!(runs(&lab).len(), 1);
    let shown = lab.call(&["show", "judge[seed=1]", "--json"]).json_whole();
    assert_eq!(shown["run"], made);
    // It may have been one that counts: what was made since then stays, until all that is kept is younger.
    lab.call(&["cache", "gc"]);
    assert!(path.exists());
    lab.run(&[]);
    lab.call(&["cache", "gc", "--keep", "1"]);
    assert!(!path.exists());

    // Nor does it keep the same record from coming back.
    let nothing = lab.run(&JUDGE);
    let path = lab.path("cache/runs").join(format!("{}.json", nothing["run"].as_str().unwrap()));
    lab.call(&["cache", "export", "latest", "run.tar"]);
    let record = fs::read(&path).unwrap();
    fs::write(&path, "").unwrap();
    lab.call(&["cache", "import", "run.tar"]);
    assert!(fs::read(&path).unwrap() == record);
    assert_eq!(lab.run(&JUDGE)["ran"], 0);
}

#[test]
fn an_instance_is_shown_with_all_that_is_remembered() {
    let lab = two_runs();
    let name = "rm[objective=sequence,seed=1]";
    insta::assert_snapshot!("show", redacted(&lab.call(&["show", name]).stdout));
    let shown = lab.call(&["show", name, "--json"]).json_whole();
    let made = &shown["result"];
    assert_eq!((&made["params"]["correction"], &made["made_by"]), (&0.5.into(), &name.into()));
    assert_eq!(made["inputs"][0]["from"], "sft[seed=1]");
    assert!(made["metrics"]["rm-sequence/in/accuracy"].as_f64().is_some_and(|x| (0.0..=1.0).contains(&x)));
    assert!(lab.path(made["outputs"][2]["path"].as_str().unwrap()).exists());
    assert!(fs::read_to_string(lab.path(shown["log"].as_str().unwrap())).is_ok());
    let first = lab.call(&["show", name, "--json", "--run", "latest~1"]).json_whole();
    assert_eq!((&first["result"]["params"]["correction"], &first["state"]), (&1.0.into(), &"ran".into()));

    // What it says to type brings just this up to date: nothing is left to do.
    let command = shown["command"].as_str().unwrap();
    assert_eq!(
        command,
        "pipeline run -f pipeline.yaml --set stages.rm.with.correction=0.5 --only 'rm[objective=sequence,seed=1]'"
    );
    let again = lab.run(&["--only", name, LESS[0], LESS[1]]);
    assert_eq!((&again["ran"], &again["total"]), (&0.into(), &4.into()));
}

#[test]
fn runs_are_compared() {
    let lab = two_runs();
    let diff = lab.call(&["diff", "latest~1", "--json"]).json_whole();
    assert_eq!(diff["settings"], serde_json::json!(["stages.rm.with.correction nothing -> 0.5"]));
    let of = |name: &str| {
        diff["instances"]
            .as_array()
            .unwrap()
            .iter()
            .find(|i| i["instance"] == name)
            .expect("it differs")
            .clone()
    };
    let rm = of("rm[objective=sequence,seed=1]");
    assert_eq!(rm["reasons"], serde_json::json!(["with.correction 1 -> 0.5"]));
    assert!(rm["outputs"].as_array().unwrap().contains(&"reward".into()), "{rm}");
    let reasons = of("ppo[objective=sequence,seed=1]")["reasons"].to_string();
    assert!(
        reasons.contains("input reward: the object differs, made by rm[objective=sequence,seed=1]"),
        "{reasons}"
    );
    let metrics = diff["metrics"].as_array().unwrap();
    let loss = metrics.iter().find(|m| {
        m["metric"]
            .as_str()
            .unwrap()
            .starts_with("rm[objective=sequence,seed=1]/rm-sequence/in/correction_loss")
    });
    assert!(loss.is_some_and(|m| m["before"] != m["after"]), "{metrics:?}");

    let text = lab.call(&["diff", "latest~1"]).stdout;
    assert!(text.contains("instances that differ\n") && text.contains("METRIC "), "{text}");
    let same = lab.call(&["diff", "latest", "latest", "--json"]).json_whole();
    assert_eq!(
        (same["instances"].as_array().unwrap().len(), same["metrics"].as_array().unwrap().len()),
        (0, 0)
    );
}

#[test]
fn why_names_what_differs_or_what_was_hit() {
    let lab = two_runs();
    let why = |arguments: &[&str]| lab.call(&[&["why"], arguments].concat()).stdout;
    let name = "rm[objective=sequence,seed=1]";
    let hit = why(&[name]);
    assert!(
        hit.starts_with(&format!("{name}: hit\n  result ")) && hit.contains(&format!("made by {name} at ")),
        "{hit}"
    );
    let miss = why(&[
        name,
        "--set",
        "stages.rm.with={objective: sequence, correction: 0.25, training: {steps: 20, batch: 8}}",
    ]);
    // Both results are as near; which is later may be a matter of less than a second.
    assert!(miss.starts_with(&format!("{name}: miss\n  with.correction ")), "{miss}");
    assert!(miss.contains(" -> 0.25\n  with.training.batch 16 -> 8\ncompared with result "), "{miss}");
    let maybe = why(&["judge[seed=1]", "--set", "stages.rm.with.correction=0.25"]);
    assert!(maybe.starts_with("judge[seed=1]: maybe\n  depends on "), "{maybe}");
    assert!(why(&["report"]).contains("  no earlier result\n"), "nothing of its kind");
}

#[test]
fn why_of_what_waits_names_all_that_is_known() {
    let lab = two_runs();
    let changes = ["--set", "stages.rm.with.correction=0.25", "--set", "stages.judge.with.baselines=[sft]"];
    let changes = [&changes[..], &["--set", "stages.rm.with.training.batch=8"]].concat();
    let text = lab.call(&[&["why", "judge[seed=1]"], &changes[..]].concat()).stdout;
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("compared with")).collect();
    let answers = ["binary", "sequence"].map(|o| format!("  depends on answers-ppo[objective={o},seed=1]"));
    assert_eq!(lines.len(), 7, "{text}");
    assert_eq!(lines[..3], ["judge[seed=1]: maybe", &answers[0], &answers[1]], "{text}");
    assert!(lines[3].starts_with("  with.baselines ") && lines[4] == "must run before it", "{text}");
    assert!(lines[5].contains("with.training.batch 16 -> 8"), "{text}");
    assert!(lines[6].starts_with("  rm[objective=sequence,seed=1]  with.correction "), "{text}");
}

#[test]
fn why_tells_of_the_latest_failure() {
    let lab = two_runs();
    let change = ["--only", "sft", "--set", "stages.sft.with.held_out=300"];
    let ran = lab.try_call(&[&["run"], &change[..]].concat());
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let why = |arguments: &[&str]| lab.call(&[&["why", "sft[seed=1]"], arguments].concat()).stdout;
    let id = &runs(&lab)[0]["id"];
    let failed = format!("failed in run {}: ", id.as_str().unwrap());
    assert!(why(&change[2..]).contains(&failed), "{}", why(&change[2..]));
    let other = ["--set", "stages.sft.with.held_out=33"];
    assert!(!why(&other).contains("failed"), "that was another one: {}", why(&other));
    assert!(!why(&[]).contains("failed"), "a hit has not failed");
}

#[test]
fn of_what_is_damaged_no_figure_is_shown() {
    let lab = two_runs();
    let name = "rm[objective=sequence,seed=1]";
    let shown = lab.call(&["show", name, "--json"]).json_whole();
    let outputs = shown["result"]["outputs"].as_array().unwrap();
    let curve = outputs.iter().find(|output| output["name"] == "curve").unwrap();
    let path = lab.folder().join(curve["path"].as_str().unwrap());
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    for (arguments, code) in [(&["show", name][..], 0), (&["diff", "latest~1", "latest"], 3)] {
        let ran = lab.try_call(arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.stderr);
        assert!(!ran.stdout.contains("rm-sequence/loss"), "{}", ran.stdout);
        assert!(
            ran.stderr.contains("has changed on disk") && !ran.stderr.contains("panicked"),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn what_failed_before_is_not_the_same() {
    let lab = Lab::new(TINY);
    let rm = ["--only", "rm"];
    let failed = lab.try_call(&[&["run"], &rm[..], &["--set", "stages.rm.needs.gpus=1"]].concat());
    assert_eq!(failed.code, Some(1));
    lab.run(&rm);
    let diff = lab.call(&["diff", "latest~1"]).stdout;
    assert!(diff.contains("rm[objective=binary,seed=1]  failed -> ran"), "{diff}");
    assert!(diff.contains("3 instances are the same in both, 2 differ"), "{diff}");
}

#[test]
fn a_result_of_another_name_explains_what_has_none() {
    let lab = two_runs();
    let text = lab.call(&["why", "sft[seed=2]", "--set", "axes.seed=[1,2]"]).stdout;
    assert!(text.contains("no earlier result; nearest is that of `sft[seed=1]`\n  another seed"), "{text}");
    let report = lab.call(&[
        "why",
        "judge[seed=1]",
        "--set",
        "stages.rm.with.correction=0.25",
        "--set",
        "stages.judge.inputs.responses=[answers-ppo]",
        "--set",
        "stages.judge.with.baselines=[ppo-binary]",
    ]);
    assert!(report.stdout.contains("input responses has 2 artifacts instead of 3"), "{}", report.stdout);
}

#[test]
fn a_stage_of_many_instances_is_none() {
    let lab = Lab::new(TINY);
    let ran = lab.try_call(&["why", "rm"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    let hint = "hint: `rm` is a stage; name one of its instances: `rm[objective=binary,seed=1]`, `rm[";
    assert!(ran.stderr.contains(hint), "{}", ran.stderr);
}

#[test]
fn what_is_not_there_is_said_with_what_is() {
    let lab = two_runs();
    for (arguments, message, hint) in [
        (vec!["why", "rm[seed=1]"], "there is no instance `rm[seed=1]`", "hint: "),
        (
            vec!["show", "rm[seed=1]"],
            "none of the 2 runs of this cache has an instance `rm[seed=1]`",
            "hint: ",
        ),
        (vec!["show", "data", "--run", "x"], "there is no run `x`", "`pipeline runs` lists the runs"),
        (vec!["diff", "latest~2"], "there is no run `latest~2`: this cache has 2 of them", "`pipeline runs`"),
        (vec!["diff", "2"], "may be the run", "write more of the id"),
        (vec!["diff", "latest~x"], "expected the beginning of a run's id", ""),
        (vec!["plan", "--only", "data[seed=1]"], "there is no such stage or instance", "hint: "),
    ] {
        let ran = lab.try_call(&arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(message) && ran.stderr.contains(hint), "{arguments:?}: {}", ran.stderr);
    }
    // A record that cannot be read hides no other.
    fs::write(lab.path("cache/runs/20990101T000000Z-00000000.json"), "{").unwrap();
    let ran = lab.call(&["runs"]);
    assert!(
        ran.stderr.contains("cannot read the run's record") && ran.stdout.lines().count() == 3,
        "{}",
        ran.stderr
    );
}
