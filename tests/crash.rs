//! Processes that end at any moment: killed, out of memory, hanging, or not alone. Whatever happens nothing that was
//! finished is lost, no wrong result is served, and the next run comes to the bytes of one that nothing happened to.
//!
//! `PIPELINE_CRASH_KILLS` says how many runs are killed, `PIPELINE_CRASH_SEED` when.

mod common;

use std::{fs, path::Path, process::Command, thread::sleep, time::Duration};

use common::{
    Lab,
    chaos::{Dice, OTHERS, explains, many, number, signal, wait_for},
    files,
};
use serde_json::Value;

/// Kills a run, or one of its stages, at a moment that the dice choose. Half of all moments are just after an object has come
/// into the store: then results are being taken in.
fn kill_at_random(lab: &Lab, dice: &mut Dice) {
    let mut run = lab.start(&["run", "-q", "--jobs", "2", "--threads", "2"]);
    let objects = || files_in(&lab.path("cache/objects"));
    if dice.below(2) == 0 {
        sleep(Duration::from_micros(dice.next() % 150_000));
    } else {
        let (before, more) = (objects(), 1 + dice.below(3));
        while objects() < before + more && run.try_wait().unwrap().is_none() {}
        sleep(Duration::from_micros(dice.next() % 3_000));
    }
    if dice.below(4) == 0 {
        // A stage: what does not need it goes on, and then the run is killed as well, or comes to its end.
        let stages = lab.stages();
        if !stages.is_empty() {
            signal(*dice.pick(&stages), "-KILL");
        }
        if dice.below(2) == 0 {
            let output = run.wait_with_output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            let was_killed = stderr.contains("its process was killed (signal 9)");
            let soundly = if was_killed { output.status.code() == Some(1) } else { output.status.success() };
            assert!(soundly, "{stderr}");
            return;
        }
        sleep(Duration::from_micros(dice.next() % 20_000));
    }
    let _ = run.kill();
    run.wait().unwrap();
}

/// How many files and folders are below the folders of a folder.
fn files_in(folder: &Path) -> usize {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    entries(folder).map(|head| entries(&head.path()).count()).sum()
}

#[test]
fn hundreds_of_kills_at_any_moment_lose_nothing_and_change_no_byte() {
    const SIZE: usize = 8;
    let undisturbed = Lab::in_memory(&many(SIZE));
    undisturbed.run(&[]);
    let mut dice = Dice::of("kills");
    let mut lab = Lab::in_memory(&many(SIZE));
    let (mut finished, mut served) = (vec![], 0);
    for kill in 0..number("PIPELINE_CRASH_KILLS", 240) {
        kill_at_random(&lab, &mut dice);
        lab.verified();
        let now = lab.records();
        for record in &finished {
            assert!(now.contains(record), "kill {kill}: a result is lost, or was made again");
        }
        finished = now;
        served += finished.len();
        // Mostly before all is finished: the end, too, is a moment.
        if finished.len() == SIZE + OTHERS && dice.below(3) > 0 {
            let last = lab.run(&[]);
            assert_eq!((&last["ran"], &last["failed"]), (&0.into(), &0.into()), "kill {kill}");
            lab.is_as(&undisturbed);
            lab = Lab::in_memory(&many(SIZE));
            finished.clear();
        }
    }
    assert!(served > 0, "no run came to anything");
    wait_for("the end of all stages", || lab.stages().is_empty().then_some(()));
    let last = lab.run(&[]);
    let left = SIZE + OTHERS - finished.len();
    assert_eq!((&last["ran"], &last["failed"]), (&left.into(), &0.into()));
    lab.is_as(&undisturbed);
}

#[test]
fn tidying_up_that_is_killed_leaves_a_sound_cache() {
    let template = Lab::in_memory(&many(6));
    template.run(&["--only", "sft", "--set", "stages.sft.with.held_out=2"]);
    template.run(&["--only", "sft"]);
    let mut dice = Dice::of("tidying");
    for _ in 0..40 {
        let lab = Lab::in_memory(&many(6));
        let from = template.path("cache");
        assert!(Command::new("cp").arg("-a").arg(from).arg(lab.folder()).status().unwrap().success());
        let results = lab.results();
        let mut gc = lab.start(&["cache", "gc", "--keep", "1"]);
        // From the moment at which the first result goes.
        while lab.results() == results && gc.try_wait().unwrap().is_none() {}
        sleep(Duration::from_micros(dice.next() % 600));
        let _ = gc.kill();
        gc.wait().unwrap();
        lab.verified();
        assert_eq!(lab.run(&["--only", "sft"])["ran"], 0, "what the kept run needs is there");
        lab.call(&["cache", "gc", "--keep", "1"]);
        let left = fs::read_dir(lab.path("cache/work")).unwrap().count();
        assert_eq!((left, lab.results()), (0, 7), "the next one finishes the work");
    }
}

/// Starts `count` runs at once; what each of them says at its end.
fn at_once(lab: &Lab, count: usize) -> Vec<Value> {
    let start = |_| lab.start(&["run", "--json", "-q", "--jobs", "2", "--threads", "2"]);
    let runs: Vec<_> = (0..count).map(start).collect();
    let end = |run: std::process::Child| {
        let output = run.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("one line of JSON")
    };
    runs.into_iter().map(end).collect()
}

#[test]
fn two_and_eight_runs_at_once_do_everything_once() {
    const SIZE: usize = 8;
    let undisturbed = Lab::in_memory(&many(SIZE));
    undisturbed.run(&[]);
    for count in [2, 8] {
        let lab = Lab::in_memory(&many(SIZE));
        let summaries = at_once(&lab, count);
        let ran: u64 = summaries.iter().map(|s| s["ran"].as_u64().unwrap()).sum();
        assert_eq!(ran as usize, SIZE + OTHERS, "each instance runs once, in one of the {count} runs");
        lab.verified();
        lab.is_as(&undisturbed);
        let runs = lab.call(&["runs", "--json"]).json_whole();
        assert_eq!(runs["runs"].as_array().unwrap().len(), count);
        // Reports that all of them write at once, over one that is damaged, and damage that all of them find at once.
        fs::write(lab.path("reports/many/index.html"), "damaged").unwrap();
        let objects = files(&lab.path("cache/objects")).into_keys();
        for object in objects.map(|name| lab.path("cache/objects").join(name)) {
            common::chaos::overwrite(&object, b"damaged");
        }
        at_once(&lab, count);
        lab.verified();
        lab.is_as(&undisturbed);
    }
}

#[test]
fn out_of_memory_one_instance_fails_and_says_so() {
    let sizes = "size: { small: {}, large: { sft: { model: { width: 1024, feed_forward: 4096 } } } }";
    let experiment = many(1).replacen("i: [1]", sizes, 1).replacen("over: [i]", "over: [size]", 1);
    let lab = Lab::in_memory(&experiment.replacen("arm-${i}", "arm-${size}", 1));
    // What is tried: a limit under which the large one fails in the middle of its work, and one that leaves hardly a byte for
    // the message.
    for limit in ["300000", "240000"] {
        let limited = format!("ulimit -v {limit}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.arg("-c").arg(limited).arg(env!("CARGO_BIN_EXE_pipeline"));
        command.args(["run", "--json", "--jobs", "1", "--threads", "2"]).current_dir(lab.folder());
        let output = command.env("RUST_BACKTRACE", "1").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let says = ["memory allocation of ", "OutOfMemory"].iter().any(|words| stderr.contains(words));
        assert!(says && stderr.contains("hint: the whole log is "), "{stderr}");
        assert!(stderr.contains("failed: sft[size=large]"), "{stderr}");
        assert_eq!(lab.results(), 2, "the data and the small model");
        lab.verified();
    }
    let last = lab.run(&[]);
    assert_eq!((&last["cached"], &last["ran"], &last["failed"]), (&2.into(), &2.into(), &0.into()));
}

/// [`many`], with stages that a signal finds at work.
fn lasting(size: usize) -> String {
    many(size).replacen("steps: 1,", "steps: 4000,", 1)
}

#[test]
fn a_stage_that_is_killed_takes_down_what_needs_it_and_nothing_else() {
    let undisturbed = Lab::in_memory(&lasting(3));
    undisturbed.run(&[]);
    let lab = Lab::in_memory(&lasting(3));
    lab.run(&["--only", "data"]);
    let run = lab.start(&["run", "--json", "--jobs", "1", "--threads", "1"]);
    let stage = wait_for("a stage", || lab.stages().first().copied());
    signal(stage, "-STOP"); // so that it does not end before
    signal(stage, "-KILL");
    let output = run.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("its process was killed (signal 9): perhaps the memory ran out"), "{stderr}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let counts = ["ran", "failed", "skipped"].map(|count| summary[count].as_u64().unwrap());
    assert_eq!(counts, [2, 1, 1], "the report needs it, the other two do not");
    assert_eq!(lab.run(&[])["ran"], 2);
    lab.is_as(&undisturbed);
}

#[test]
fn a_stage_that_hangs_is_ended_by_its_timeout() {
    let undisturbed = Lab::in_memory(&lasting(2));
    undisturbed.run(&[]);
    let lab =
        Lab::in_memory(&lasting(2).replacen("uses: sft\n", "uses: sft\n    needs: { timeout: 3s }\n", 1));
    lab.run(&["--only", "data"]);
    let run = lab.start(&["run", "--jobs", "1", "--threads", "1"]);
    let stage = wait_for("a stage", || lab.stages().first().copied());
    assert!(signal(stage, "-STOP"));
    let output = run.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let ran = common::Ran { code: output.status.code(), stdout: String::new(), stderr };
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    explains(&ran, "it was ended after its timeout of 3s");
    assert!(lab.stages().is_empty(), "it is gone");
    lab.run(&["--set", "stages.sft.needs.timeout=1h"]);
    lab.is_as(&undisturbed);
}

#[test]
fn what_hangs_when_its_run_is_killed_is_waited_for_and_the_log_says_so() {
    let undisturbed = Lab::in_memory(&lasting(1));
    undisturbed.run(&[]);
    let lab = Lab::in_memory(&lasting(1));
    lab.run(&["--only", "data"]);
    let mut first = lab.start(&["run", "-q", "--jobs", "1", "--threads", "1"]);
    let orphan = wait_for("a stage", || lab.stages().first().copied());
    let work = wait_for("its lock", || {
        let work = fs::read_dir(lab.path("cache/work")).ok()?.next()?.ok()?.path();
        work.join("out").exists().then_some(work)
    });
    assert!(signal(orphan, "-STOP"));
    first.kill().unwrap();
    first.wait().unwrap();
    let second = lab.start(&["run", "-q"]);
    let log = lab.path("cache/logs").join(work.file_name().unwrap()).with_extension("log");
    // Where the system ends what was stopped and lost its parent there is nothing to wait for.
    let waits = wait_for("the second run", || {
        let says =
            fs::read_to_string(&log).is_ok_and(|log| log.contains("waits for a process of an earlier"));
        if says { Some(true) } else { (!lab.stages().contains(&orphan)).then_some(false) }
    });
    if waits {
        assert!(signal(orphan, "-CONT"));
    }
    let output = second.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    lab.is_as(&undisturbed);
}
