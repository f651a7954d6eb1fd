//! What runs beside what, what is tried again, and what is ended.

mod common;

use common::{Lab, TINY};

/// [`TINY`] with something that a stage needs.
fn needing(stage: &str, needs: &str) -> String {
    let uses = format!("    uses: {stage}\n");
    assert!(TINY.contains(&uses), "{stage}");
    TINY.replacen(&uses, &format!("{uses}    needs: {needs}\n"), 1)
}

#[test]
fn what_an_instance_needs_reruns_nothing() {
    let lab = Lab::new(TINY);
    lab.run(&["--only", "rm"]);
    lab.write(&needing("sft", "{ threads: 1, memory: 1 GiB, timeout: 1h, retries: 2 }"));
    assert_eq!(lab.run(&["--only", "rm"])["ran"], 0);
}

#[test]
fn what_does_not_fit_side_by_side_runs_one_after_the_other() {
    // Two reward models fit in two jobs, but not in the memory.
    let lab = Lab::new(&needing("reward-model", "{ memory: 3 GiB }"));
    lab.run(&["--only", "preferences"]);
    let ran = lab.call(&["run", "--only", "rm", "--jobs", "2", "--threads", "2", "--memory", "4 GiB"]);
    let events: Vec<&str> = ran.stderr.lines().filter(|l| l.starts_with("rm[")).collect();
    let started = |line: &&str| line.contains("  started");
    assert!(events.len() == 4 && [0, 2].iter().all(|i| started(&events[*i])), "{events:?}");
    assert!([1, 3].iter().all(|i| events[*i].contains("  done in")), "{events:?}");
}

#[test]
fn what_can_never_start_fails_alone() {
    for (needs, arguments, why) in [
        ("{ gpus: 2 }", &["--gpus", "0"][..], "it needs 2 graphics cards, and this run has 1"),
        ("{ memory: 2 GiB }", &["--memory", "1 GiB"], "it needs 2.0 GiB of memory, and this run has 1.0 GiB"),
        ("{ threads: 3 }", &["--threads", "2"], "it needs 3 threads, and this run has 2"),
    ] {
        let lab = Lab::new(&needing("reward-model", needs));
        let ran = lab.try_call(&[&["run", "--json", "--only", "rm"], arguments].concat());
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        assert!(ran.stderr.contains(why) && ran.stderr.contains("hint: "), "{}", ran.stderr);
        assert_eq!((&ran.json()["failed"], &ran.json()["ran"]), (&2.into(), &3.into()));
        // And is said before anything starts; not where nothing needs to.
        let warned = ran.stderr.find("warning: rm  will fail where no cache has its result");
        assert!(warned.is_some_and(|at| at < ran.stderr.find("data  started").unwrap()), "{}", ran.stderr);
        let again = lab.try_call(&[&["run", "--only", "sft"], arguments].concat());
        assert!(!again.stderr.contains("warning"), "{}", again.stderr);
    }
}

#[test]
fn a_card_is_seen_by_whom_it_was_given_to_alone() {
    let lab = Lab::new(&needing("sft", "{ gpus: 1 }"));
    let mut run = lab.command(&[
        "run",
        "--only",
        "sft",
        "--gpus",
        "7,3",
        "--set",
        "stages.sft.with.training.steps=20000",
    ]);
    let mut run = run.spawn().unwrap();
    let begun = std::time::Instant::now();
    let cards = loop {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "the stage does not start");
        let cards = processes().into_iter().find(|(command, _)| {
            command.contains("exec") && command.contains(&lab.path("cache").display().to_string())
        });
        let is_sft = |key: &str| std::fs::read_to_string(key).is_ok_and(|m| m.contains("\"kind\": \"sft\""));
        match cards.filter(|(command, _)| command.split('\0').any(is_sft)) {
            Some((_, environment)) => break environment,
            None => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    };
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(cards.split('\0').any(|variable| variable == "CUDA_VISIBLE_DEVICES=3"), "{cards}");
}

/// Command lines and environments of the processes that can be seen.
fn processes() -> Vec<(String, String)> {
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let folder = entry.ok()?.path();
        let text =
            |name: &str| Some(String::from_utf8_lossy(&std::fs::read(folder.join(name)).ok()?).into_owned());
        Some((text("cmdline")?, text("environ")?))
    };
    std::fs::read_dir("/proc").expect("Linux").filter_map(read).collect()
}

#[test]
fn what_fails_is_tried_again_as_often_as_it_may_be() {
    let lab = Lab::new(TINY);
    let failing = ["--only", "sft", "--set", "stages.sft.with.held_out=300"];
    let ran = lab.try_call(&[&["run", "--json", "--retries", "2"][..], &failing].concat());
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.stderr.matches("sft[seed=1]  started").count(), 3, "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("failed, and is tried again").count(), 2);
    assert_eq!((&ran.json()["failed"], &ran.json()["ran"]), (&1.into(), &1.into()));
}

#[test]
fn what_takes_too_long_is_ended_and_goes_on_later() {
    let lab = Lab::new(&needing("sft", "{ timeout: 1s }"));
    let long = ["--only", "sft", "--set", "stages.sft.with.training.steps=20000"];
    let ran = lab.try_call(&[&["run"][..], &long].concat());
    assert_eq!(ran.code, Some(1));
    let said = "it was ended after its timeout of 1s\nthe end of its log:\n";
    assert!(ran.stderr.contains(said) && ran.stderr.contains("hint: run again to go on"), "{}", ran.stderr);
    let quiet = lab.try_call(&[&["run", "-q", "--only", "preferences"], &long[2..]].concat());
    assert!(quiet.stderr.contains(said) && !quiet.stderr.contains("skipped"), "{}", quiet.stderr);
    let wrong = Lab::new(&needing("sft", "{ timeout: soon }")).try_call(&["plan"]);
    assert!(
        wrong.code == Some(2) && wrong.stderr.contains("expected a time such as `90s`"),
        "{}",
        wrong.stderr
    );
    assert!(wrong.stderr.contains("pipeline.yaml:") && wrong.stderr.contains("^^^^"), "{}", wrong.stderr);
}

#[test]
fn a_timeout_that_no_clock_reaches_is_none() {
    let lab = Lab::new(&needing("data", "{ timeout: 5000000000000000h }"));
    assert_eq!(lab.run(&["--only", "data"])["ran"], 1);
}
