//! Runs that were killed or interrupted, and what `gc` leaves of them.

mod common;

use std::{fs, path::PathBuf};

use common::{
    Lab, TINY,
    chaos::{signal, wait_for},
    files, sealed,
};

/// Kills a run of `sft` as soon as it has a checkpoint; `steps` says how long that would train.
fn killed(lab: &Lab, steps: &str) {
    let mut run = lab.command(&["run", "--only", "sft", "--set", steps]).spawn().unwrap();
    let within = |folder: PathBuf| {
        fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
    };
    let has_checkpoint = || {
        let mut all = within(lab.path("cache/work")).flat_map(|work| within(work.join("checkpoints")));
        all.any(|checkpoint| !checkpoint.ends_with("draft"))
    };
    wait_for("a checkpoint", || {
        assert!(run.try_wait().unwrap().is_none(), "the run has ended");
        has_checkpoint().then_some(())
    });
    run.kill().unwrap();
    run.wait().unwrap();
}

#[test]
fn what_a_killed_run_has_made_stays_until_it_is_done() {
    let lab = Lab::new(TINY);
    lab.run(&["--only", "data"]);
    let steps = "stages.sft.with.training.steps=4000";
    let gc = |keep: &[&str]| lab.call(&[&["cache", "gc", "--json"], keep].concat()).json_whole();
    let other = ["--only", "sft", "--set", steps, "--set", "stages.data.with.demonstrations=301"];
    killed(&lab, steps);
    lab.call(&["cache", "gc"]);
    assert!(lab.call(&["runs"]).stdout.contains("killed, or still running"));
    let log = || files(&lab.path("cache/logs")).into_values().map(|log| String::from_utf8(log).unwrap());
    let done = lab.run(&["--only", "sft", "--set", steps]);
    assert_eq!((&done["ran"], &done["cached"]), (&1.into(), &1.into()));
    assert!(log().any(|log| log.contains("goes on from a checkpoint")), "it began again");
    assert_eq!(lab.call(&["cache", "gc", "--json"]).json_whole()["killed_runs"], 0);
    assert!(!lab.call(&["runs"]).stdout.contains("killed"));

    // One whose experiment is never finished: with `--keep` it goes when all that is kept is younger.
    let mut run = lab.command(&[&["run"], &other[..]].concat()).spawn().unwrap();
    wait_for("a result", || (lab.results() >= 3).then_some(()));
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(lab.call(&["cache", "gc", "--json"]).json_whole()["results"], serde_json::json!([]));
    lab.run(&["--only", "data"]);
    let gone = gc(&["--keep", "1"]);
    assert_eq!((gone["results"].as_array().unwrap().len(), &gone["killed_runs"]), (0, &1.into()), "{gone}");
    lab.run(&["--only", "sft", "--set", steps]);
    let gone = gc(&["--keep", "1"]);
    assert_eq!((gone["results"].as_array().unwrap().len(), &gone["killed_runs"]), (1, &0.into()));
}

#[test]
fn an_interrupted_run_goes_on_after_gc() {
    let lab = Lab::new(TINY);
    lab.run(&["--only", "data"]);
    let steps = "stages.sft.with.training.steps=4000";
    killed(&lab, steps);
    // As if it had been interrupted: its record names the key.
    let failed =
        lab.try_call(&["run", "--only", "sft", "--set", steps, "--set", "stages.sft.needs.timeout=1ms"]);
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    fs::read_dir(lab.path("cache/runs")).unwrap().for_each(|entry| {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "begun") {
            fs::remove_file(path).unwrap();
        }
    });
    lab.call(&["cache", "gc"]);
    fs::remove_dir_all(lab.path("cache/logs")).unwrap();
    lab.run(&["--only", "sft", "--set", steps]);
    let logs = files(&lab.path("cache/logs"));
    let resumed =
        logs.values().filter(|log| String::from_utf8_lossy(log).contains("goes on from a checkpoint"));
    assert_eq!((logs.len(), resumed.count()), (1, 1), "it began again");
}

#[test]
fn a_note_beside_a_record_is_nothing_and_one_of_an_unknown_run_goes() {
    let lab = Lab::new(TINY);
    lab.run(&["--only", "data"]);
    let runs = lab.path("cache/runs");
    let record = files(&runs).into_keys().next().unwrap();
    let note = runs.join(&record).with_extension("begun");
    fs::write(&note, "").unwrap();
    assert!(!lab.call(&["runs"]).stdout.contains("killed"));
    lab.call(&["cache", "gc"]);
    assert!(!note.exists());
    // Whatever it was, as many whole runs as are kept were finished since.
    let unknown = runs.join("20200101T000000000Z-00000000.begun");
    fs::write(&unknown, "").unwrap();
    lab.call(&["cache", "gc"]);
    assert!(unknown.exists() && lab.call(&["runs"]).stdout.contains("killed, or still running"));
    lab.call(&["cache", "gc", "--keep", "1"]);
    assert!(unknown.exists(), "only a part was finished since");
    lab.run(&[]);
    lab.call(&["cache", "gc", "--keep", "1"]);
    assert!(!unknown.exists());
}

#[test]
fn what_a_killed_run_took_from_others_stays() {
    let (first, lab) = (Lab::new(TINY), Lab::new(TINY));
    let shared = tempfile::tempdir().unwrap();
    let remote = ["--remote", shared.path().to_str().unwrap()];
    first.run(&[&["--only", "data"], &remote[..]].concat());
    // A clock that goes wrong by years tells nothing of what is whose.
    let name = fs::read_dir(shared.path().join("results")).unwrap().next().unwrap().unwrap().path();
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&name).unwrap()).unwrap();
    record["provenance"]["finished"] = 1.into();
    fs::write(&name, sealed(record)).unwrap();
    lab.run(&["--only", "sft", "--set", "stages.data.with.demonstrations=301"]);
    let mut run = lab
        .command(
            &[&["run", "--only", "sft", "--set", "stages.sft.with.training.steps=20000"], &remote[..]]
                .concat(),
        )
        .spawn()
        .unwrap();
    wait_for("a stage", || fs::read_dir(lab.path("cache/work")).ok()?.next()?.ok());
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(lab.call(&["cache", "gc", "--json"]).json_whole()["results"], serde_json::json!([]));
}

#[test]
fn nothing_is_removed_under_a_run() {
    let lab = Lab::new(TINY);
    lab.run(&["--only", "data"]);
    let mut run = lab
        .command(&["run", "--only", "sft", "--set", "stages.sft.with.training.steps=20000"])
        .spawn()
        .unwrap();
    wait_for("a stage", || fs::read_dir(lab.path("cache/work")).ok()?.next()?.ok());
    for arguments in [&["cache", "gc"][..], &["cache", "verify", "--repair"]] {
        let ran = lab.try_call(arguments);
        assert!(ran.code == Some(3) && ran.stderr.contains("a run uses the cache"), "{}", ran.stderr);
    }
    lab.call(&["cache", "verify"]);
    assert!(signal(run.id(), "-INT"));
    assert_eq!(run.wait().unwrap().code(), Some(130));
    lab.call(&["cache", "gc"]);
    let is_left = || lab.path("cache/work").read_dir().unwrap().any(|_| true);
    assert!(is_left(), "the run can go on from its last checkpoint");
    lab.run(&["--only", "sft"]);
    lab.call(&["cache", "gc", "--keep", "1"]);
    assert!(!is_left(), "work of a run that is gone has gone");
}
