//! A cache that machines share: a folder, and a server that speaks S3.

mod common;
#[path = "common/s3.rs"]
mod s3;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Output},
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant, SystemTime},
};

use common::{ALL, Lab, Ran, TINY, files};
use s3::{BadWire, KEY, S3, SECRET, stuck_wire};
use serde_json::Value;

/// A command with the settings of an S3 server at an address.
fn command(lab: &Lab, server: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = lab.command(arguments);
    command.envs([
        ("PIPELINE_REMOTE", "s3://bucket/cache"),
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ENDPOINT", &format!("http://{server}")),
    ]);
    command
}

fn call(lab: &Lab, server: SocketAddr, arguments: &[&str]) -> Ran {
    let Output { status, stdout, stderr } =
        command(lab, server, arguments).output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("output is text");
    let ran = Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) };
    assert!(!ran.stdout.contains(SECRET) && !ran.stderr.contains(SECRET), "a secret is printed");
    ran
}

/// `run --json` there, which must succeed: its summary, and what it said.
fn run(lab: &Lab, server: SocketAddr) -> (Value, String) {
    let ran = call(lab, server, &["run", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    (ran.json(), ran.stderr)
}

fn assert_same(lab: &Lab, other: &Lab) {
    for folder in ["reports", "cache/objects"] {
        assert!(files(&lab.path(folder)) == files(&other.path(folder)), "{folder}");
    }
}

/// Blobs of a bucket, the largest first.
fn blobs(server: &S3) -> Vec<PathBuf> {
    let folder = server.bucket().join("cache/blobs");
    let mut found: Vec<_> = files(&folder).into_iter().map(|(name, bytes)| (bytes.len(), name)).collect();
    found.sort_unstable();
    found.into_iter().rev().map(|(_, name)| folder.join(name)).collect()
}

#[test]
fn what_one_machine_has_made_another_takes() {
    let (first, second) = (Lab::new(TINY), Lab::new(TINY));
    let shared = tempfile::tempdir().unwrap();
    let remote = ["--remote", shared.path().to_str().unwrap()];
    assert_eq!(first.run(&remote)["ran"], ALL);

    let plan = second.plan(&remote);
    assert!(plan.values().all(|(state, _)| state == "remote"), "{plan:?}");
    let summary = second.run(&remote);
    assert_eq!(
        (&summary["ran"], &summary["cached"], &summary["fetched"]),
        (&0.into(), &ALL.into(), &ALL.into())
    );
    assert_same(&first, &second);
    assert_eq!(
        second.call(&["cache", "verify", "--json"]).json_whole()["damaged"]["results"],
        serde_json::json!({})
    );
    assert_eq!(second.run(&remote)["fetched"], 0, "what is here is not fetched again");

    // Only what is new is made, and only where it may be is it sent.
    let before = files(shared.path());
    let change = ["--only", "rm", "--set", "stages.rm.with.training.steps=5"];
    assert_eq!(second.run(&[&remote[..], &change, &["--read-only"]].concat())["ran"], 2);
    assert!(files(shared.path()) == before, "nothing is sent to a cache that is read only");
    let third = Lab::new(TINY);
    let summary = third.run(&[&remote[..], &change].concat());
    assert_eq!((&summary["ran"], &summary["fetched"]), (&2.into(), &3.into()));
}

#[test]
fn a_machine_without_a_card_takes_what_one_with_a_card_has_made() {
    let needing =
        TINY.replacen("    uses: sft\n", "    uses: sft\n    needs: { gpus: 1, timeout: 20m }\n", 1);
    assert_ne!(needing, TINY);
    let (first, second) = (Lab::new(&needing), Lab::new(&needing));
    let shared = tempfile::tempdir().unwrap();
    let remote = ["--only", "preferences", "--remote", shared.path().to_str().unwrap()];
    assert_eq!(first.run(&[&remote[..], &["--gpus", "0"]].concat())["ran"], 3);
    assert_eq!(second.run(&remote)["fetched"], 3);
    let other = [&["run"], &remote[..], &["--set", "stages.sft.with.held_out=16"]].concat();
    let ran = second.try_call(&other);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("it needs 1 graphics card, and this run has 0"), "{}", ran.stderr);
}

#[test]
fn what_could_not_be_sent_the_next_run_sends() {
    let shared = tempfile::tempdir().unwrap();
    let remote = ["--only", "sft", "--remote", shared.path().to_str().unwrap()];
    let (first, second) = (Lab::new(TINY), Lab::new(TINY));
    // Where blobs should lie there is a file.
    fs::write(shared.path().join("blobs"), "in the way").unwrap();
    assert_eq!(first.run(&remote)["ran"], 2);
    assert_eq!(second.plan(&remote)["data"].0, "miss");
    fs::remove_file(shared.path().join("blobs")).unwrap();
    assert_eq!(first.run(&remote)["ran"], 0);
    assert_eq!(second.run(&remote)["fetched"], 2);
    assert_eq!(files(&first.path("cache/unsent")).len(), 0, "nothing is owed any more");
}

#[test]
fn what_another_run_works_on_is_waited_for_and_fetched() {
    let needing = TINY.replacen("    uses: sft\n", "    uses: sft\n    needs: { gpus: 1 }\n", 1);
    let (first, second) = (Lab::new(&needing), Lab::new(&needing));
    let shared = tempfile::tempdir().unwrap();
    let remote = ["--only", "sft", "--remote", shared.path().to_str().unwrap()];
    first.run(&[&remote[..], &["--gpus", "0"]].concat());
    let plan = second.call(&[&["plan", "--json"], &remote[..]].concat()).json_whole();
    let key = plan["instances"][1]["key"].as_str().unwrap().to_string();
    fs::create_dir_all(second.path("cache/locks")).unwrap();
    let lock = fs::File::create(second.path("cache/locks").join(key)).unwrap();
    lock.lock().unwrap();
    let run = second.command(&[&["run", "--json"], &remote[..]].concat()).spawn().unwrap();
    thread::sleep(Duration::from_secs(1));
    drop(lock);
    let output = run.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("another run works on it"), "{said}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["fetched"], 2);
}

#[test]
fn a_record_that_another_machine_has_written_stays() {
    let shared = tempfile::tempdir().unwrap();
    let remote = ["--only", "data", "--remote", shared.path().to_str().unwrap()];
    let (first, second) = (Lab::new(TINY), Lab::new(TINY));
    first.run(&remote[..2]);
    second.run(&remote);
    let before = files(&shared.path().join("results"));
    assert_eq!(before.len(), 1);
    first.run(&remote[..2]);
    first.call(&["cache", "push", "--remote", remote[3]]);
    assert!(files(&shared.path().join("results")) == before);
}

#[test]
fn a_whole_run_can_be_sent_and_brought() {
    let (first, second) = (Lab::new(TINY), Lab::new(TINY));
    let shared = tempfile::tempdir().unwrap();
    let remote = ["--remote", shared.path().to_str().unwrap()];
    first.run(&[]);
    for arguments in [&["cache", "push"][..], &["cache", "pull"]] {
        let refused = first.try_call(arguments);
        assert!(refused.code == Some(2) && refused.stderr.contains("PIPELINE_REMOTE"), "{}", refused.stderr);
    }
    let none = second.try_call(&[&["cache", "pull"][..], &remote].concat());
    assert!(none.code == Some(2) && none.stderr.contains("there is no run `latest`"), "{}", none.stderr);
    first.call(&[&["cache", "push"][..], &remote].concat());
    second.call(&[&["cache", "pull"][..], &remote].concat());
    second.call(&["show", "ppo[objective=binary,seed=1]"]);
    assert_eq!(second.run(&[])["ran"], 0);
    assert_same(&first, &second);
}

#[test]
fn s3_keeps_what_it_is_given_and_no_secret_is_written() {
    let server = S3::start();
    let (first, second) = (Lab::new(TINY), Lab::new(TINY));
    assert_eq!(run(&first, server.address).0["ran"], ALL);
    let (summary, _) = run(&second, server.address);
    assert_eq!((&summary["ran"], &summary["fetched"]), (&0.into(), &ALL.into()));
    assert_same(&first, &second);
    let loud = call(&first, server.address, &["run", "-vv", "--json", "--cache", "other"]);
    assert_eq!(loud.json()["fetched"], ALL);
    for folder in [first.folder(), second.folder(), server.root()] {
        for (path, bytes) in files(folder) {
            let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
            assert!(!found, "a secret is written to {}", path.display());
        }
    }
    let mut wrong = first.command(&["cache", "push"]);
    wrong.envs([("PIPELINE_REMOTE", "s3://bucket/cache"), ("AWS_ACCESS_KEY_ID", "another")]);
    wrong.envs([("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_REGION", "us-east-1"), ("AWS_ALLOW_HTTP", "true")]);
    let output = wrong.env("AWS_ENDPOINT", format!("http://{}", server.address)).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(3) && stderr.contains("hint: "), "{stderr}");
    assert!(!stderr.contains(SECRET));
}

/// Google's storage can be spoken to as S3 is, with settings of its own, and so this server stands in for it.
#[test]
fn a_bucket_of_google_is_a_shared_cache_too() {
    let server = S3::open();
    let run = |lab: &Lab| {
        let mut command = lab.command(&["run", "--json", "--only", "sft", "--remote", "gs://bucket/cache"]);
        command.envs([
            ("GOOGLE_BASE_URL", format!("http://{}", server.address).as_str()),
            ("GOOGLE_BEARER_TOKEN", SECRET),
            ("GOOGLE_ALLOW_HTTP", "true"),
        ]);
        let Output { stdout, stderr, .. } = command.output().expect("the program starts");
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(!stderr.contains("warning") && !stderr.contains(SECRET), "{stderr}");
        let summary: Value = serde_json::from_slice(&stdout).expect("a summary");
        (summary["ran"].clone(), summary["fetched"].clone())
    };
    let (first, second) = (Lab::new(TINY), Lab::new(TINY));
    assert_eq!(run(&first), (2.into(), 0.into()));
    assert_eq!(run(&second), (0.into(), 2.into()));
    assert!(files(&first.path("cache/objects")) == files(&second.path("cache/objects")));
}

#[test]
fn a_folder_that_is_not_there_is_not_taken_for_an_empty_cache() {
    let lab = Lab::new(TINY);
    for command in ["run", "plan"] {
        let ran = lab.try_call(&[command, "--remote", "mistyped"]);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains("there is no folder `mistyped`"), "{}", ran.stderr);
    }
    let url = format!("file://{}", lab.path("mistyped").display());
    let ran = lab.try_call(&["run", "--remote", &url]);
    assert!(ran.code == Some(2) && ran.stderr.contains("there is no folder"), "{}", ran.stderr);
    assert!(!lab.path("mistyped").exists());
}

#[test]
fn a_wire_that_breaks_costs_time_and_nothing_else() {
    let server = S3::start();
    let first = Lab::new(TINY);
    first.run(&[]);
    // Whatever a call leaves undone the next one goes on with.
    let wire = BadWire::to(server.address);
    let calls = |lab: &Lab, arguments: &[&str]| {
        (1..30)
            .find(|_| call(lab, wire.address, arguments).code == Some(0))
            .expect("it gets there in the end")
    };
    calls(&first, &["cache", "push"]);
    let second = Lab::new(TINY);
    calls(&second, &["cache", "pull"]);
    let cuts = wire.cuts.load(Ordering::Relaxed);
    assert!(cuts >= 5, "the wire was cut {cuts} times");
    assert_eq!(second.run(&[])["ran"], 0);
    assert_same(&first, &second);
}

#[test]
fn a_large_file_that_was_sent_in_part_goes_on_from_there() {
    let large = TINY
        .replace("width: 32, layers: 2, heads: 2", "width: 256, layers: 1, heads: 2")
        .replace("feed_forward: 48", "feed_forward: 8192")
        .replace("steps: 30, batch: 16", "steps: 1, batch: 1");
    let (first, second, server) = (Lab::new(&large), Lab::new(&large), S3::start());
    first.run(&["--only", "sft"]);
    let pieces = || -> BTreeMap<PathBuf, SystemTime> {
        let folder = server.bucket().join("cache/pieces");
        if !folder.exists() {
            return BTreeMap::new();
        }
        let written = |name: &PathBuf| fs::metadata(folder.join(name)).unwrap().modified().unwrap();
        files(&folder).into_keys().map(|name| (name.clone(), written(&name))).collect()
    };
    // The first of its four pieces of 8 MiB gets through.
    let wire = stuck_wire(server.address, 12 << 20);
    let mut push = command(&first, wire, &["cache", "push"]).spawn().unwrap();
    let begun = Instant::now();
    while pieces().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60) && push.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(100));
    }
    push.kill().unwrap();
    push.wait().unwrap();
    let before = pieces();

    assert_eq!(call(&first, server.address, &["cache", "push"]).code, Some(0));
    let after = pieces();
    assert!(before.len() < after.len(), "{before:?} {after:?}");
    assert!(before.iter().all(|(name, written)| after[name] == *written), "{before:?} {after:?}");
    assert_eq!(call(&second, server.address, &["cache", "pull"]).code, Some(0));
    assert!(files(&first.path("cache/objects")) == files(&second.path("cache/objects")));
}

#[test]
fn what_is_damaged_there_is_made_here_and_sent_again() {
    let server = S3::start();
    let first = Lab::new(TINY);
    run(&first, server.address);
    let largest = blobs(&server);
    let sound = files(&server.bucket().join("cache"));
    // Cut short, changed in one bit, gone.
    let whole = fs::read(&largest[0]).unwrap();
    fs::write(&largest[0], &whole[..whole.len() / 2]).unwrap();
    let mut flipped = fs::read(&largest[1]).unwrap();
    flipped[100] ^= 8;
    fs::write(&largest[1], flipped).unwrap();
    fs::remove_file(&largest[2]).unwrap();

    let second = Lab::new(TINY);
    let (summary, said) = run(&second, server.address);
    let ran = summary["ran"].as_u64().unwrap();
    assert!((1..ALL).contains(&ran), "{summary}");
    assert!(said.contains("is missing or damaged"), "{said}");
    assert_same(&first, &second);
    assert!(files(&server.bucket().join("cache")) == sound, "it is whole again");

    // Records too: of another key, none at all.
    let results = server.bucket().join("cache/results");
    let mut names: Vec<PathBuf> = fs::read_dir(&results).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    fs::copy(&names[0], &names[1]).unwrap();
    fs::write(&names[2], "{").unwrap();
    let third = Lab::new(TINY);
    assert_eq!(run(&third, server.address).0["ran"], 2);
    assert_same(&first, &third);
}

#[test]
fn a_run_goes_on_without_a_shared_cache_that_does_not_answer() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let lab = Lab::new(TINY);
    let ran = call(&lab, nobody, &["run", "--json", "--only", "preferences"]);
    assert_eq!((ran.code, &ran.json()["ran"]), (Some(0), &3.into()), "{}", ran.stderr);
    for what in ["fetch nothing", "send nothing"] {
        assert_eq!(
            ran.stderr.matches(&format!("the run goes on and will {what} more")).count(),
            1,
            "{}",
            ran.stderr
        );
    }
    let plan = call(&lab, nobody, &["plan"]);
    assert!(plan.code == Some(3) && plan.stderr.contains("hint: "), "{}", plan.stderr);
}
