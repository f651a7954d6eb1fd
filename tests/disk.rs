//! Disks that are full, read-only or wrong, and clocks that go back: no wrong result is served, nothing that was finished is
//! lost, and the next run comes to the bytes of one that nothing happened to.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use common::{
    Lab,
    chaos::{Dice, OTHERS, explains, many, number, overwrite},
    files, sealed,
};
use serde_json::Value;

const SIZE: usize = 3;

/// A lab of [`many`] in which all is finished.
fn finished() -> Lab {
    let lab = Lab::in_memory(&many(SIZE));
    lab.run(&[]);
    lab
}

/// Runs a script of the shell in namespaces of its own, where it may mount what nobody else sees: `$0` is the program.
/// None where the system allows no such thing.
fn in_namespace(lab: &Lab, script: &str) -> Option<()> {
    let unshared = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
        command.arg(env!("CARGO_BIN_EXE_pipeline")).current_dir(lab.folder()).output()
    };
    if !unshared("mount -t tmpfs tmpfs /mnt").is_ok_and(|output| output.status.success()) {
        eprintln!("not tested: this system lets nobody mount in a namespace of their own");
        return None;
    }
    let output = unshared(&format!("set -e\n{script}")).expect("it started before");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(())
}

fn text(lab: &Lab, name: &str) -> String {
    fs::read_to_string(lab.path(name)).unwrap()
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let undisturbed = finished();
    let mut dice = Dice::of("full");
    let mut told = 0;
    // The first fails at the first step, the last at one of the last; a disk can be out of files, too.
    let mut sizes: Vec<String> =
        (0..7).map(|i| format!("size={}k", 4 * (2 + i * 9 + dice.below(9)))).collect();
    sizes.extend([20, 50].map(|least| format!("nr_inodes={}", least + dice.below(30))));
    for size in sizes {
        let lab = Lab::in_memory(&many(SIZE));
        fs::create_dir(lab.path("cache")).unwrap();
        let script = format!(
            "mount -t tmpfs -o {size} tmpfs cache
            set +e
            $0 run --jobs 2 --threads 2 > out 2> err; echo $? > code
            $0 run --jobs 2 --threads 2 --retries 1 > out-again 2> err-again; echo $? > code-again
            $0 cache verify > verified 2>&1 || exit 1
            ls cache/results 2> /dev/null | grep -c json > before
            mount -o remount,size=64m,nr_inodes=0 cache
            set -e
            $0 run --json -q > last
            $0 cache verify >> verified 2>&1
            cp -r cache kept"
        );
        let Some(()) = in_namespace(&lab, &script) else { return };
        let last: Value = serde_json::from_str(&text(&lab, "last")).unwrap();
        for attempt in ["", "-again"] {
            let [code, err] = ["code", "err"].map(|name| text(&lab, &format!("{name}{attempt}")));
            match code.trim() {
                // Only what nobody needs had no room.
                "0" => {}
                "1" | "3" => {
                    let explained = |failed: &str| {
                        ["hint: make room", "hint: the whole log is"]
                            .iter()
                            .any(|words| failed.contains(words))
                    };
                    let all = err.split("\nfailed: ").skip(1).all(explained);
                    assert!(
                        all && err.contains("No space left on device") && err.contains("hint: "),
                        "{size}: {err}"
                    );
                    told += 1;
                }
                code => panic!("{size}: exit code {code}: {err}"),
            }
        }
        let before: u64 = text(&lab, "before").trim().parse().unwrap();
        assert_eq!((&last["cached"], &last["failed"]), (&before.into(), &0.into()), "{size}: {last}");
        fs::remove_dir(lab.path("cache")).unwrap();
        fs::rename(lab.path("kept"), lab.path("cache")).unwrap();
        lab.is_as(&undisturbed);
    }
    assert!(told >= 8, "only {told} runs had no room");
}

#[test]
fn a_read_only_cache_is_read_and_a_run_says_what_is_in_its_way() {
    let lab = finished();
    let before = files(&lab.path("cache"));
    fs::remove_dir_all(lab.path("reports")).unwrap();
    let script = "
        mount --bind cache cache
        mount -o remount,bind,ro cache
        $0 plan --json > plan
        $0 why report > why
        $0 show report --json > show
        $0 runs --json > runs
        for what in ls du verify; do $0 cache $what > $what; done
        $0 cache gc --keep 1 --dry-run > dry
        $0 run --json > run 2> run-err
        set +e
        $0 run --set stages.data.with.demonstrations=17 > more 2> more-err; echo $? > more-code
        $0 cache gc > gc 2> gc-err; echo $? > gc-code";
    let Some(()) = in_namespace(&lab, script) else { return };
    let total = (SIZE + OTHERS) as u64;
    let plan: Value = serde_json::from_str(&text(&lab, "plan")).unwrap();
    let hits = plan["instances"].as_array().unwrap().iter().filter(|i| i["state"] == "hit").count();
    assert_eq!(hits as u64, total);
    assert!(text(&lab, "why").contains("hit") && text(&lab, "show").contains("\"state\": \"ran\""));
    assert!(text(&lab, "ls").contains("report") && text(&lab, "du").contains("sft"));
    // All is there: the report is written, and that the run cannot be recorded is only said.
    let run: Value = serde_json::from_str(&text(&lab, "run")).unwrap();
    assert_eq!((&run["cached"], &run["failed"], &run["run"]), (&total.into(), &0.into(), &Value::Null));
    assert!(text(&lab, "run-err").contains("warning: cannot write the run's record"));
    assert!(lab.path("reports/many/index.html").exists());
    for what in ["more", "gc"] {
        let (code, err) = (text(&lab, &format!("{what}-code")), text(&lab, &format!("{what}-err")));
        assert!(code.trim() == "3" && err.contains("Read-only file system"), "{what}: {code}{err}");
        assert!(err.contains("hint: name another folder with `--cache DIR`"), "{err}");
    }
    assert!(files(&lab.path("cache")) == before);
}

/// The files of a folder of the cache that are not drafts.
fn stored(lab: &Lab, folder: &str) -> Vec<PathBuf> {
    let folder = lab.path("cache").join(folder);
    files(&folder).into_keys().map(|name| folder.join(name)).collect()
}

/// Flips one bit of a file; says which.
fn flip(path: &Path, dice: &mut Dice) -> String {
    let mut bytes = fs::read(path).unwrap();
    let (at, bit) = (dice.below(bytes.len()), dice.below(8));
    bytes[at] ^= 1 << bit;
    overwrite(path, &bytes);
    format!("bit {bit} of byte {at} of {}", path.display())
}

#[test]
fn any_bit_that_flips_in_a_result_is_found_and_mended() {
    let undisturbed = finished();
    let lab = finished();
    let mut dice = Dice::of("flips");
    for i in 0..number("PIPELINE_CRASH_FLIPS", 60) {
        let in_record = i % 2 == 1;
        let path = dice.pick(&stored(&lab, if in_record { "results" } else { "objects" })).clone();
        let flipped = flip(&path, &mut dice);
        let stale = lab.stale(&[]);
        let verified = lab.try_call(&["cache", "verify", "--json"]);
        assert_eq!(verified.code == Some(0), stale.is_empty(), "{flipped}: `verify` and `plan` differ");
        // Only in the name of the hash that ends a record nobody sees it: then all that it names is as it was.
        assert!(in_record || !stale.is_empty(), "{flipped}: nobody sees it");
        let ran = lab.run(&["-q"]);
        assert_eq!((&ran["failed"], ran["ran"] == 0), (&0.into(), stale.is_empty()), "{flipped}");
        lab.verified();
        lab.is_as(&undisturbed);
    }
}

#[test]
fn a_record_that_ends_anywhere_is_no_result() {
    let undisturbed = finished();
    let lab = finished();
    let mut dice = Dice::of("lengths");
    let record = dice.pick(&stored(&lab, "results")).clone();
    let bytes = fs::read(&record).unwrap();
    let some = (0..10).map(|_| dice.below(bytes.len() - 2)).collect::<Vec<_>>();
    for length in [0, 1, bytes.len() / 2, bytes.len() - 2].into_iter().chain(some) {
        overwrite(&record, &bytes[..length]);
        let stale = lab.plan(&[]).into_values().filter(|(state, _)| state == "miss").collect::<Vec<_>>();
        assert!(stale.len() == 1 && stale[0].1.contains("its record cannot be read"), "{length}: {stale:?}");
        let verified = lab.try_call(&["cache", "verify", "--json"]);
        assert_eq!(verified.code, Some(1), "{length}");
        assert_eq!(lab.run(&["-q"])["ran"], 1, "{length}");
        lab.verified();
        lab.is_as(&undisturbed);
    }
}

#[test]
fn a_damaged_record_of_a_run_is_never_read_as_another() {
    let lab = finished();
    let mut dice = Dice::of("runs");
    lab.run(&["--only", "sft", "--set", "stages.sft.with.held_out=2"]);
    let runs = stored(&lab, "runs");
    let (older, newer) = (&runs[0], &runs[1]);
    let (sound, shown) = (fs::read(newer).unwrap(), lab.call(&["show", "data", "--json"]).stdout);
    let before = files(&lab.path("cache/objects"));
    for i in 0..40 {
        let what = if i % 4 == 0 {
            let length = dice.below(sound.len() - 2);
            overwrite(newer, &sound[..length]);
            format!("cut at {length}")
        } else {
            flip(newer, &mut dice)
        };
        let listed = lab.call(&["runs", "--json"]);
        let count = listed.json_whole()["runs"].as_array().unwrap().len();
        let gc = lab.try_call(&["cache", "gc", "--keep", "1"]);
        if count == 2 {
            // The bit is in the words that stand before the hash: what is hashed is sound.
            assert_eq!((gc.code, &lab.call(&["show", "data", "--json"]).stdout), (Some(0), &shown), "{what}");
        } else {
            assert!(
                listed.stderr.contains("warning: cannot read the run's record"),
                "{what}: {}",
                listed.stderr
            );
            assert_eq!(gc.code, Some(3), "{what}: what it names is not known, so nothing goes");
            explains(&gc, "cannot read the run's record");
            let show = lab.call(&["show", "data", "--json"]);
            let id = older.file_stem().unwrap().to_str().unwrap();
            assert!(show.stdout.contains(id), "{what}: the latest that can be read is shown");
        }
        assert!(files(&lab.path("cache/objects")) == before, "{what}: a result is gone");
        overwrite(newer, &sound);
    }
}

/// Moves a run to another time, as a clock that was wrong would have named it.
fn move_in_time(lab: &Lab, path: &Path, id: &str, started: u64) {
    let mut record: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let map = record.as_object_mut().unwrap();
    map.insert("id".into(), id.into());
    map.insert("started".into(), started.into());
    fs::write(lab.path("cache/runs").join(format!("{id}.json")), sealed(record)).unwrap();
    fs::remove_file(path).unwrap();
}

#[test]
fn a_clock_that_goes_back_confuses_no_order_of_runs() {
    let undisturbed = finished();
    let lab = Lab::in_memory(&many(SIZE));
    let others = ["--set", "stages.data.with.demonstrations=17"];
    lab.run(&others);
    // The clock was years ahead; once it did not even know what a year is.
    let future = "29991231T235959999Z-0000000a";
    move_in_time(&lab, &stored(&lab, "runs")[0], future, u64::MAX);
    for (path, bytes) in lab.records() {
        let mut record: Value = serde_json::from_slice(&bytes).unwrap();
        record["provenance"]["finished"] = u64::MAX.into();
        fs::write(path, sealed(record)).unwrap();
    }
    for arguments in [
        &["runs"][..],
        &["why", "data"],
        &["why", "report"],
        &["show", "report"],
        &["cache", "ls"],
        &["plan"],
    ] {
        let ran = lab.call(arguments);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    }
    assert_eq!(lab.run(&others)["ran"], 0, "when a result was made is no part of its key");

    // What runs now is the latest all the same: it is what is shown and kept.
    let now = lab.run(&[])["run"].as_str().unwrap().to_string();
    let runs = lab.call(&["runs", "--json"]).json_whole();
    let ids: Vec<&str> = runs["runs"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
    assert_eq!((ids[0], ids[2], ids.len()), (now.as_str(), future, 3));
    let shown = lab.call(&["show", "report", "--run", "latest", "--json"]).json_whole();
    assert_eq!(shown["run"], now.as_str());
    let started = runs["runs"][0]["started"].as_u64().unwrap();
    assert!(started < 32_000_000_000, "when it began is told as the clock said: {started}");
    let gone = lab.call(&["cache", "gc", "--keep", "1", "--json"]).json_whole();
    assert_eq!(gone["runs"].as_array().unwrap().len(), 2);
    assert_eq!(lab.run(&[])["ran"], 0, "the run that was the last has all its results");
    lab.verified();
    lab.is_as(&undisturbed);
}
