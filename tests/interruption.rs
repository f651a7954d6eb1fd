//! Runs that are killed, interrupted, or not alone.

mod common;

use std::{
    process::Child,
    thread::sleep,
    time::{Duration, Instant},
};

use common::{ALL, Lab, TINY, chaos::signal, files};

/// Starts a run and waits until it has some results and a stage is running.
fn start(lab: &Lab, results: usize) -> Child {
    let child = lab.command(&["run", "--jobs", "1"]).spawn().expect("the program starts");
    let begun = Instant::now();
    while lab.results() < results || lab.stages().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(120), "nothing happens");
        sleep(Duration::from_millis(5));
    }
    child
}

fn gone(lab: &Lab) -> bool {
    let begun = Instant::now();
    while !lab.stages().is_empty() {
        if begun.elapsed() > Duration::from_secs(10) {
            return false;
        }
        sleep(Duration::from_millis(10));
    }
    true
}

#[test]
fn a_killed_run_loses_nothing_and_goes_on_to_the_same_bytes() {
    let undisturbed = Lab::new(TINY);
    undisturbed.run(&[]);
    let lab = Lab::new(TINY);
    for results in [1, 3, 5] {
        let mut child = start(&lab, results);
        child.kill().expect("it runs");
        child.wait().expect("it ended");
        assert!(gone(&lab), "a stage outlives the run that was killed");
        let found = lab.results();
        assert!(found >= results, "{found} results of {results} are left");
    }
    let found = lab.results() as u64;
    let last = lab.run(&[]);
    assert_eq!((&last["cached"], &last["ran"]), (&found.into(), &(ALL - found).into()));
    for folder in ["reports", "cache/objects"] {
        assert!(files(&lab.path(folder)) == files(&undisturbed.path(folder)), "{folder}");
    }
}

#[test]
fn an_interrupt_ends_the_stages_and_says_how_to_go_on() {
    for name in ["-INT", "-TERM"] {
        let lab = Lab::new(TINY);
        let child = start(&lab, 1);
        assert!(signal(child.id(), name));
        let output = child.wait_with_output().expect("it ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{stderr}");
        assert!(stderr.contains("hint: run the same command again to go on"), "{stderr}");
        assert!(lab.stages().is_empty(), "a stage outlives the run that was interrupted");
        let found = lab.results() as u64;
        assert!(found >= 1);
        assert_eq!(lab.run(&["--only", "sft"])["failed"], 0);
    }
}

#[test]
fn two_runs_at_once_share_one_cache() {
    let lab = Lab::new(TINY);
    let runs: Vec<Child> =
        (0..2).map(|_| lab.command(&["run", "--json", "--jobs", "1"]).spawn().expect("it starts")).collect();
    let mut ran = 0;
    for run in runs {
        let output = run.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let line = String::from_utf8(output.stdout).expect("text");
        let summary: serde_json::Value = serde_json::from_str(line.lines().last().expect("a line")).unwrap();
        assert_eq!(summary["total"], ALL);
        ran += summary["ran"].as_u64().expect("a number");
    }
    assert_eq!(ran, ALL, "each instance runs once, in one of the two");
}
