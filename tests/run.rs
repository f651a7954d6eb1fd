//! What reruns, and what does not.

mod common;

use std::fs;

use common::{ALL, Lab, TINY, files};

#[test]
fn a_second_run_does_nothing_and_an_edit_reruns_what_it_reaches() {
    let lab = Lab::new(TINY);
    let first = lab.run(&["--jobs", "1"]);
    assert_eq!((&first["total"], &first["ran"], &first["cached"]), (&ALL.into(), &ALL.into(), &0.into()));
    assert_eq!((&first["failed"], &first["skipped"]), (&0.into(), &0.into()));
    for name in ["index.html", "report.md", "results.csv", "verdicts.csv"] {
        assert!(lab.path("reports/tiny").join(name).exists(), "{name}");
    }
    let table = fs::read_to_string(lab.path("reports/tiny/results.csv")).unwrap();
    assert_eq!(table.lines().next(), Some("task,arm,split,seed,metric,value"));

    // Nothing to do: no process is started, and nothing is written, not even a log, but that there was a run and what it has
    // verified.
    let records =
        |path: &std::path::PathBuf| ["cache/runs", "cache/stamps"].iter().any(|f| path.starts_with(f));
    let without_records =
        || files(lab.folder()).into_iter().filter(|(path, _)| !records(path)).collect::<Vec<_>>();
    let before = without_records();
    let second = lab.call(&["run", "--json", "-v"]);
    assert_eq!((&second.json()["ran"], &second.json()["cached"]), (&0.into(), &ALL.into()));
    assert!(!second.stderr.contains("started"), "{}", second.stderr);
    assert!(without_records() == before);

    // What is not in a key.
    let mut lines: Vec<&str> = TINY.lines().collect();
    let at = lines.iter().position(|l| l.contains("uses: sft")).unwrap();
    lines.swap(at, at + 1);
    lines.insert(at, "    # a comment");
    lab.write(
        &lines.join("\n").replace("{ world: summary, prompts: 80 }", "{ prompts: 80, world: \"summary\" }"),
    );
    assert!(lab.stale(&["--jobs", "2"]).is_empty());
    fs::rename(lab.path("cache"), lab.path("elsewhere")).unwrap();
    assert_eq!(lab.run(&["--cache", "elsewhere", "--jobs", "2"])["ran"], 0);
    fs::rename(lab.path("elsewhere"), lab.path("cache")).unwrap();

    // One reward model's parameter: that one, what depends on it, nothing else.
    let set = ["--set", "stages.rm.with.identity=0.5"];
    let plan = lab.plan(&set);
    let (state, reason) = &plan["rm[objective=sequence,seed=1]"];
    assert_eq!((state.as_str(), reason.as_str()), ("miss", "with.identity 1 -> 0.5"));
    let reached = [
        "answers-ppo[objective=sequence,seed=1]",
        "judge[seed=1]",
        "ppo[objective=sequence,seed=1]",
        "report",
        "rm[objective=sequence,seed=1]",
    ];
    assert_eq!(lab.stale(&set), reached);
    // What the plan calls `maybe` runs too, unless what it reads comes out the same (early cutoff).
    let third = lab.call(&[&["run", "--json"][..], &set].concat());
    let started: Vec<&str> =
        third.stderr.lines().filter_map(|l| Some(l.split_once("  started")?.0)).collect();
    assert!(started.iter().all(|name| reached.contains(name)), "{started:?}");
    for name in ["rm[objective=sequence,seed=1]", "ppo[objective=sequence,seed=1]", "report"] {
        assert!(started.contains(&name), "{name} did not run: {started:?}");
    }
    assert_eq!(third.json()["ran"], started.len());
    assert_eq!(lab.run(&set)["ran"], 0);
    // And back: both are remembered.
    assert_eq!(lab.run(&[])["ran"], 0);

    // More prompts than there are: the stage reruns, gives the same bytes, and nothing below it reruns.
    let cut_off = lab.run(&["--set", "stages.preferences.with.prompts=1000"]);
    assert_eq!((&cut_off["ran"], &cut_off["cached"]), (&1.into(), &(ALL - 1).into()));

    // Only one stage, and what it needs.
    assert_eq!(lab.run(&["--only", "preferences"])["total"], 3);
}

#[test]
fn the_job_count_changes_no_byte() {
    let outputs = |jobs: &str| {
        let lab = Lab::new(TINY);
        lab.run(&["--jobs", jobs, "--threads", "2"]);
        let results: Vec<_> = files(&lab.path("cache/results")).into_keys().collect();
        (files(&lab.path("reports")), files(&lab.path("cache/objects")), results)
    };
    let (one, two) = (outputs("1"), outputs("2"));
    assert!(one.1.keys().any(|path| path.ends_with("model.safetensors")));
    assert!(one == two);
}

#[test]
fn what_is_damaged_in_the_cache_is_made_again() {
    let lab = Lab::new(TINY);
    lab.run(&["--only", "sft"]);
    let model =
        files(&lab.path("cache/objects")).into_keys().find(|p| p.ends_with("model.safetensors")).unwrap();
    let path = lab.path("cache/objects").join(model);
    let mut bytes = fs::read(&path).unwrap();
    let sound = bytes.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let _ = fs::remove_file(&path);
    fs::write(&path, bytes).unwrap();
    let (state, reason) = &lab.plan(&["--only", "sft"])["sft[seed=1]"];
    assert_eq!(state, "miss");
    assert!(reason.contains("damaged") && reason.contains("`model` has changed on disk"), "{reason}");
    assert_eq!(lab.run(&["--only", "sft"])["ran"], 1);
    assert!(fs::read(&path).unwrap() == sound);
    // A record that was cut off is no result.
    for entry in fs::read_dir(lab.path("cache/results")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() / 2]).unwrap();
    }
    assert_eq!(lab.run(&["--only", "sft"])["ran"], 2);
    assert_eq!(lab.run(&["--only", "sft"])["ran"], 0);
}

#[test]
fn a_failure_takes_down_only_what_depends_on_it() {
    let lab = Lab::new(TINY);
    // No demonstration is left to train on: the stage finds out when it runs.
    let ran = lab.try_call(&["run", "--json", "--set", "stages.sft.with.held_out=300"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let summary = ran.json();
    assert_eq!((&summary["ran"], &summary["failed"]), (&1.into(), &1.into()));
    assert_eq!(summary["skipped"], ALL - 2);
    assert!(ran.stderr.contains("failed: sft[seed=1]"), "{}", ran.stderr);
    assert!(ran.stderr.contains("300 demonstrations leave none to train on"), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: make more demonstrations"), "{}", ran.stderr);
    // What was finished is kept.
    let again = lab.try_call(&["run", "--json", "--set", "stages.sft.with.held_out=300"]);
    assert_eq!(again.json()["cached"], 1);
}

#[test]
fn the_first_failure_ends_a_run_that_is_to_fail_fast_and_no_other() {
    let lab = Lab::new(
        r#"
name: two
stages:
  data:
    uses: data
    with: { world: summary, demonstrations: 300, prompts: 1, evaluation: 1 }
  bad:
    uses: sft
    inputs: { demonstrations: data }
    with: { held_out: 300 }
  good:
    uses: sft
    inputs: { demonstrations: data }
    with: { training: { steps: 300 }, held_out: 32, model: { width: 32, layers: 2, heads: 2 } }
"#,
    );
    let figures = |how: &str| {
        let ran = lab.try_call(&["run", "--json", "--jobs", "2", "--threads", "2", how]);
        assert!(ran.code == Some(1) && ran.stderr.contains("failed: bad"), "{}", ran.stderr);
        let figures = ["ran", "cached", "failed", "skipped", "unfinished"];
        (ran.stderr.contains("1 unfinished"), figures.map(|figure| ran.json()[figure].as_u64().unwrap()))
    };
    assert_eq!(figures("--fail-fast"), (true, [1, 0, 1, 0, 1]));
    assert_eq!(figures("--keep-going"), (false, [1, 1, 1, 0, 0]));
    let both = lab.try_call(&["run", "--keep-going", "--fail-fast"]);
    assert_eq!(both.code, Some(2), "{}", both.stderr);
}

/// SFT as it is, under two names, and shorter; all from the same random numbers.
fn variants(sft: &str) -> String {
    let axis = format!("axes:\n  variant: {{ paper: , same: {{ sft: {{}} }}, short: {{ sft: {sft} }} }}");
    let seeds = "over: [variant, seed]\n    seeded_by: [seed]";
    TINY.replace("axes:", &axis).replace("over: [seed]", seeds).replace(
        "over: [objective, seed]",
        "over: [variant, objective, seed]\n    seeded_by: [objective, seed]",
    )
}

#[test]
fn instances_with_one_key_run_once() {
    let lab = Lab::new(&variants("{ training: { steps: 10 } }"));
    let only = ["--only", "preferences"];
    let state = |name: &str| lab.plan(&only)[name].clone();
    lab.run(&["--only", "data"]);
    assert_eq!(state("sft[seed=1,variant=paper]").0, "miss");
    let shared = ("shared".to_string(), "has the same key as sft[seed=1,variant=paper]".to_string());
    assert_eq!(state("sft[seed=1,variant=same]"), shared);
    assert_eq!(state("sft[seed=1,variant=short]").0, "miss");
    assert_eq!(state("preferences[seed=1,variant=same]").0, "maybe");
    let said = lab.call(&["plan", "--only", "preferences"]).stderr;
    assert!(said.contains("7 instances: 1 cached, 2 to run (1 more with the same keys), 3 that"), "{said}");

    // Side by side, and with a place to spare: the second of a key does not start.
    let ran = lab.call(&[&["run", "--json", "-v", "--jobs", "3", "--threads", "3"][..], &only].concat());
    let summary = ran.json();
    assert_eq!((&summary["ran"], &summary["cached"]), (&4.into(), &3.into()), "{}", ran.stderr);
    assert_eq!((&summary["failed"], &summary["skipped"]), (&0.into(), &0.into()));
    assert!(!ran.stderr.contains("another run"), "{}", ran.stderr);
    let started = |name: &str| ran.stderr.contains(&format!("{name}  started"));
    assert!(started("preferences[seed=1,variant=paper]") && started("sft[seed=1,variant=short]"));
    assert!(!started("sft[seed=1,variant=same]") && !started("preferences[seed=1,variant=same]"));
    assert!(lab.stale(&only).is_empty());
    // As if there were no variants.
    lab.write(TINY);
    assert!(lab.stale(&only).is_empty());
}

#[test]
fn arms_that_share_results_are_told_apart_where_their_parameters_name_them() {
    let lab = Lab::new(
        &variants("{ training: { steps: 10 } }").replace("ppo-${objective}", "${objective}-${variant}"),
    );
    let summary = lab.run(&["--only", "answers-ppo", "--jobs", "2", "--threads", "2"]);
    // `same` shares all but its name: SFT, preferences and two reward models.
    assert_eq!((&summary["total"], &summary["cached"]), (&(1 + 3 * 8).into(), &4.into()));
}

#[test]
fn what_fails_for_one_instance_of_a_key_is_not_tried_for_the_others() {
    let lab = Lab::new(&variants("{ held_out: 20 }"));
    let set = ["--set", "stages.sft.with.held_out=300", "--only", "preferences", "--jobs", "2"];
    let ran = lab.try_call(&[&["run", "--json"][..], &set].concat());
    let summary = ran.json();
    assert_eq!((&summary["ran"], &summary["failed"], &summary["skipped"]), (&3.into(), &2.into(), &2.into()));
    let said = "failed: sft[seed=1,variant=same]\nit has the same key as `sft[seed=1,variant=paper]`, which has failed";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    assert!(ran.stderr.contains("leave none to train on"), "{}", ran.stderr);
}

#[test]
fn reports_that_cannot_be_written_stop_a_run_before_it_starts() {
    let lab = Lab::new(TINY);
    std::fs::write(lab.path("reports"), "a file").unwrap();
    let ran = lab.try_call(&["run"]);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("cannot write the report") && ran.stderr.contains("--reports"),
        "{}",
        ran.stderr
    );
    assert_eq!(lab.results(), 0, "{}", ran.stderr);
}

#[test]
fn a_standard_error_that_nobody_reads_costs_no_result() {
    let lab = Lab::new(TINY);
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    for (ran, cached) in [(ALL, 0), (0, ALL)] {
        let output = lab.command(&["run", "--json"]).stderr(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&summary["ran"], &summary["cached"]), (&ran.into(), &cached.into()));
    }
    let status = lab.command(&["run", "-f", "nowhere.yaml"]).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn every_command_lists_what_it_should() {
    let lab = Lab::new(TINY);
    lab.run(&["--only", "sft"]);
    let list = lab.call(&["cache", "ls", "--json"]).json_whole();
    let mut names: Vec<&str> =
        list["results"].as_array().unwrap().iter().map(|r| r["instance"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["data", "sft[seed=1]"]);
    assert!(lab.call(&["cache", "ls"]).stdout.contains("sft[seed=1]"));
    let logs = files(&lab.path("cache/logs"));
    assert_eq!(logs.len(), 2);
    assert!(logs.values().all(|log| String::from_utf8_lossy(log).contains("finished")));
    // Machine-readable logs.
    let ran = lab.call(&["run", "--log-format", "json", "--only", "preferences"]);
    let wrong = lab.try_call(&["run", "--log-format", "json", "--only", "preference"]);
    assert_eq!(wrong.code, Some(2));
    for line in ran.stderr.lines().chain(wrong.stderr.lines()) {
        serde_json::from_str::<serde_json::Value>(line).expect("a JSON line");
    }
    assert!(wrong.stderr.contains("did you mean"), "{}", wrong.stderr);
    assert!(ran.stderr.contains("3 instances: 1 ran, 2 cached"), "{}", ran.stderr);
    assert!(ran.stderr.contains("\"instance\":\"preferences[seed=1]\""), "{}", ran.stderr);
}

#[test]
fn a_plan_tells_scripts_by_its_exit_code_whether_something_would_run() {
    let lab = Lab::new(TINY);
    let code = |arguments: &[&str]| lab.try_call(&[&["plan"], arguments].concat()).code;
    assert_eq!((code(&["--exit-code"]), code(&[])), (Some(4), Some(0)));
    lab.run(&["--only", "data"]);
    assert_eq!(code(&["--exit-code", "--only", "data"]), Some(0));
    // What is wrong is told apart from what is stale.
    assert_eq!(code(&["--exit-code", "--only", "dat"]), Some(2));

    let edited = ["--exit-code", "--json", "--only", "data", "--set", "stages.data.with.prompts=81"];
    let ran = lab.try_call(&[&["plan"][..], &edited].concat());
    assert_eq!((ran.code, &ran.json_whole()["instances"][0]["state"]), (Some(4), &"miss".into()));
}
