//! Care for the cache: what is damaged is found, what is needed is kept.

mod common;

use std::{fs, path::PathBuf};

use common::{Lab, TINY, files, sealed};

/// The files of models in the cache.
fn models(lab: &Lab) -> Vec<PathBuf> {
    let all = files(&lab.path("cache/objects")).into_keys();
    all.filter(|path| path.ends_with("model.safetensors"))
        .map(|path| lab.path("cache/objects").join(path))
        .collect()
}

/// Changes one bit of a file that is read-only.
fn flip_a_bit(path: &PathBuf, bit: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = bit / 8 % bytes.len();
    bytes[at] ^= 1 << (bit % 8);
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn damage_anywhere_is_found_and_repaired() {
    let lab = Lab::new(TINY);
    lab.run(&["--only", "preferences"]);
    let sound = lab.call(&["cache", "verify", "--json"]).json_whole();
    assert_eq!((&sound["results"], &sound["damaged"]["objects"]), (&3.into(), &serde_json::json!({})));

    flip_a_bit(&models(&lab)[0], 12_345);
    let ran = lab.try_call(&["cache", "verify"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.contains("its content has changed on disk"), "{}", ran.stdout);
    assert!(ran.stdout.contains("of its output `model`") && ran.stderr.contains("hint: "), "{}", ran.stdout);
    // A record, too: a bit of a number in it, which is still JSON.
    let record = files(&lab.path("cache/results")).into_iter().find_map(|(path, bytes)| {
        let text = String::from_utf8(bytes).unwrap();
        text.contains("\"data\"").then(|| (lab.path("cache/results").join(path), text))
    });
    let (path, text) = record.expect("the record of `data`");
    fs::write(&path, text.replacen("\"seed\": ", "\"seed\": 1", 1)).unwrap();
    let report = lab.try_call(&["cache", "verify", "--json"]).json_whole();
    let why = report["damaged"]["results"].to_string();
    assert!(why.contains("its content has changed on disk"), "{why}");

    assert_eq!(lab.try_call(&["cache", "verify", "--repair"]).code, Some(0));
    let sound = lab.call(&["cache", "verify", "--json"]).json_whole();
    assert_eq!(sound["damaged"], serde_json::json!({ "objects": {}, "results": {}, "runs": {} }));
    let again = lab.run(&["--only", "preferences"]);
    assert_eq!((&again["ran"], &again["cached"]), (&2.into(), &1.into()));
}

#[test]
fn what_no_kept_run_needs_goes_and_nothing_else() {
    let lab = Lab::new(TINY);
    let refused = lab.try_call(&["cache", "gc"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("no run is recorded"), "{}", refused.stderr);
    let other = ["--only", "rm", "--set", "stages.rm.with.training.steps=5"];
    lab.run(&other);
    lab.run(&["--only", "rm"]);
    let before = files(&lab.path("cache"));

    // All runs are kept: only what a crash has left goes.
    fs::write(lab.path("cache/results/.tmpDraft"), "half").unwrap();
    fs::write(lab.path("cache/results").join("0a".repeat(32) + ".json"), "").unwrap();
    fs::create_dir_all(lab.path("cache/work")).unwrap();
    std::os::unix::fs::symlink(lab.path("cache/results"), lab.path("cache/work/link")).unwrap();
    lab.call(&["cache", "gc"]);
    assert!(files(&lab.path("cache")).into_keys().eq(before.keys().cloned()));
    assert!(fs::symlink_metadata(lab.path("cache/work/link")).is_err());

    // Nor does a stray file among the folders disturb it.
    for folder in ["cache/objects", "cache/unsent"] {
        fs::create_dir_all(lab.path(folder)).unwrap();
        fs::write(lab.path(folder).join("stray"), "").unwrap();
    }
    lab.call(&["cache", "gc"]);
    for folder in ["cache/objects", "cache/unsent"] {
        fs::remove_file(lab.path(folder).join("stray")).unwrap();
    }

    let dry = lab.call(&["cache", "gc", "--keep", "1", "--dry-run", "--json"]).json_whole();
    assert!(files(&lab.path("cache")).into_keys().eq(before.keys().cloned()), "a dry run removes nothing");
    let gone = lab.call(&["cache", "gc", "--keep", "1", "--json"]).json_whole();
    for key in ["runs", "results", "objects", "bytes"] {
        assert_eq!(dry[key], gone[key], "{key}");
    }
    assert_eq!((gone["results"].as_array().unwrap().len(), gone["runs"].as_array().unwrap().len()), (2, 1));
    let after = files(&lab.path("cache"));
    assert!(after.len() < before.len() && after.iter().all(|(path, bytes)| before.get(path) == Some(bytes)));
    assert_eq!(lab.run(&["--only", "rm"])["ran"], 0, "what the kept run needs is there");
    assert_eq!(lab.run(&other)["ran"], 2, "and what it does not is gone");
}

#[test]
fn runs_of_a_part_and_unfinished_ones_cost_a_finished_one_nothing() {
    let lab = Lab::new(TINY);
    lab.run(&["--only", "rm"]);
    lab.run(&["--only", "data"]);
    let failed = lab.try_call(&["run", "--only", "rm", "--set", "stages.sft.with.held_out=300"]);
    assert_eq!(failed.code, Some(1));
    let gone = lab.call(&["cache", "gc", "--keep", "1", "--json"]).json_whole();
    assert_eq!((gone["kept_runs"].as_u64(), gone["results"].as_array().unwrap().len()), (Some(3), 0));
    lab.run(&["--only", "rm"]);
    let gone = lab.call(&["cache", "gc", "--keep", "1", "--json"]).json_whole();
    assert_eq!(gone["runs"].as_array().unwrap().len(), 2, "what is older than the finished one goes");
}

#[test]
fn what_is_written_is_as_readable_as_any_file() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new(TINY);
    lab.run(&["--only", "data"]);
    lab.call(&["cache", "export", "latest", "run.tar"]);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let usual = mode(&lab.path("pipeline.yaml"));
    assert_eq!(mode(&lab.path("run.tar")), usual);
    for folder in ["cache/results", "cache/runs", "cache/code"] {
        for name in files(&lab.path(folder)).into_keys() {
            assert_eq!(mode(&lab.path(folder).join(&name)), usual, "{folder} {}", name.display());
        }
    }
}

#[test]
fn a_damaged_record_of_a_run_is_found_and_set_aside() {
    let lab = Lab::new(TINY);
    lab.run(&["--only", "data"]);
    let run = lab.run(&["--only", "data"]);
    let path = lab.path("cache/runs").join(format!("{}.json", run["run"].as_str().unwrap()));
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let found = lab.try_call(&["cache", "verify"]);
    assert!(found.code == Some(1) && found.stdout.contains("run "), "{}", found.stdout);
    lab.call(&["cache", "verify", "--repair"]);
    lab.call(&["cache", "verify"]);
    lab.call(&["cache", "gc"]);
    assert!(!path.exists());

    // One of another program is as that left it; what it needs is not known.
    let mut other: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    other["format"] = 99.into();
    other.as_object_mut().unwrap().remove("instances");
    fs::write(&path, sealed(other)).unwrap();
    lab.call(&["cache", "verify", "--repair"]);
    let gc = lab.try_call(&["cache", "gc"]);
    assert!(gc.code == Some(3) && gc.stderr.contains("has the format 99, expected 1"), "{}", gc.stderr);
    assert!(path.exists());
}

#[test]
fn an_import_replaces_no_sound_result() {
    let lab = Lab::new(TINY);
    lab.run(&["--only", "rm"]);
    lab.call(&["cache", "export", "latest", "run.tar"]);
    let before = files(&lab.path("cache/results"));
    // The archive says something else of one of them, and is sound.
    let mut archive = tar::Archive::new(fs::File::open(lab.path("run.tar")).unwrap());
    let mut forged = tar::Builder::new(fs::File::create(lab.path("forged.tar")).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let (path, mut bytes) = (entry.path().unwrap().into_owned(), vec![]);
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        if path.starts_with("results") {
            let mut record: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            record["provenance"]["seconds"] = 1.2e19.into();
            bytes = sealed(record);
        }
        let mut header = entry.header().clone();
        header.set_size(bytes.len() as u64);
        forged.append_data(&mut header, path, bytes.as_slice()).unwrap();
    }
    forged.finish().unwrap();
    lab.call(&["cache", "import", "forged.tar"]);
    assert!(files(&lab.path("cache/results")) == before);
    // Elsewhere it is taken in; that it took longer than time lasts does no harm.
    let other = Lab::new(TINY);
    fs::copy(lab.path("forged.tar"), other.path("forged.tar")).unwrap();
    other.call(&["cache", "import", "forged.tar"]);
    other.run(&["--only", "rm", "--set", "stages.sft.with.held_out=33"]);
}

#[test]
fn an_archive_that_is_larger_than_it_may_be_is_refused() {
    let lab = Lab::new(TINY);
    let mut header = tar::Header::new_gnu();
    header.set_path("results/name").unwrap();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(40 << 30);
    header.set_cksum();
    let file = fs::File::create(lab.path("large.tar")).unwrap();
    std::io::Write::write_all(&mut &file, header.as_bytes()).unwrap();
    file.set_len(41 << 30).unwrap();
    let ran = lab.try_call(&["cache", "import", "large.tar"]);
    assert!(ran.code == Some(3) && ran.stderr.contains("is too large"), "{}", ran.stderr);
}

#[test]
fn what_stands_where_a_file_should_hangs_nothing_and_leads_nowhere() {
    let lab = Lab::new(TINY);
    lab.run(&["--only", "sft"]);
    let outside = lab.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "mine").unwrap();
    let fifo = |path: &std::path::Path| {
        let _ = fs::remove_file(path);
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    let name = files(&lab.path("cache/results")).into_keys().next().unwrap();
    fifo(&lab.path("cache/results").join(name));
    fs::create_dir_all(lab.path("cache/stamps")).unwrap();
    fifo(&lab.path("cache/stamps/tiny.json"));
    lab.run(&["--only", "sft"]);
    // A file where a folder of objects belongs, a folder where a record does.
    let object = files(&lab.path("cache/objects")).into_keys().next().unwrap();
    let head = lab.path("cache/objects").join(object.components().next().unwrap());
    fs::remove_dir_all(&head).unwrap();
    fs::write(&head, "stray").unwrap();
    for name in files(&lab.path("cache/results")).into_keys() {
        let path = lab.path("cache/results").join(name);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
    }
    assert_eq!(lab.run(&["--only", "sft"])["failed"], 0);
    let [work, log] = ["cache/work", "cache/logs"].map(|name| lab.path(name));
    fs::remove_dir_all(&work).unwrap();
    std::os::unix::fs::symlink(&outside, &work).unwrap();
    lab.call(&["cache", "gc"]);
    assert!(outside.join("precious").exists(), "gc followed a link");
    fs::remove_file(&work).unwrap();
    for name in files(&log).into_keys() {
        fs::remove_file(log.join(&name)).unwrap();
        std::os::unix::fs::symlink(outside.join("precious"), log.join(&name)).unwrap();
    }
    fs::remove_dir_all(lab.path("cache/results")).unwrap();
    lab.run(&["--only", "sft"]);
    assert_eq!(fs::read_to_string(outside.join("precious")).unwrap(), "mine");
}

#[test]
fn the_space_is_told_by_stage() {
    let lab = Lab::new(TINY);
    lab.run(&["--only", "rm"]);
    let du = lab.call(&["cache", "du", "--json"]).json_whole();
    let stages = du["stages"].as_array().unwrap();
    let results: Vec<(&str, u64)> =
        stages.iter().map(|s| (s["stage"].as_str().unwrap(), s["results"].as_u64().unwrap())).collect();
    let mut names = results.clone();
    names.sort_unstable();
    assert_eq!(names, [("data", 1), ("preferences", 1), ("rm", 2), ("sft", 1)]);
    let bytes: u64 = files(&lab.path("cache/objects")).values().map(|bytes| bytes.len() as u64).sum();
    assert_eq!((&du["objects"], &du["unused"]), (&bytes.into(), &0.into()));
    assert!(lab.call(&["cache", "du"]).stdout.starts_with("STAGE"));
}

#[test]
fn a_run_can_be_handed_on_as_one_file() {
    let lab = Lab::new(TINY);
    lab.run(&[]);
    lab.call(&["cache", "export", "latest", "all.tar"]);
    let there = lab.try_call(&["cache", "export", "latest", "all.tar"]);
    assert!(
        there.code == Some(3) && there.stderr.contains("there is a file of that name"),
        "{}",
        there.stderr
    );
    let other = ["--cache", "other"];
    lab.call(&[&["cache", "import", "all.tar"][..], &other].concat());
    lab.call(&[&["cache", "import", "all.tar"][..], &other].concat());
    let again = lab.run(&[&other[..], &["--reports", "elsewhere"]].concat());
    assert_eq!(again["ran"], 0, "nothing is left to do");
    assert!(files(&lab.path("elsewhere")) == files(&lab.path("reports")), "and the report is the same");
    assert_eq!(
        lab.call(&[&["runs", "--json"][..], &other].concat()).json_whole()["runs"].as_array().unwrap().len(),
        2
    );

    // A bit that is flipped anywhere: nothing unsound gets in.
    let sound = fs::read(lab.path("all.tar")).unwrap();
    for part in 1..12 {
        let mut bytes = sound.clone();
        let at = bytes.len() / 12 * part;
        bytes[at] ^= 1 << (part % 8);
        fs::write(lab.path("bad.tar"), &bytes).unwrap();
        let cache = format!("bad-{part}");
        let ran = lab.try_call(&["cache", "import", "bad.tar", "--cache", &cache]);
        assert!([Some(0), Some(3)].contains(&ran.code), "{}", ran.stderr);
        let verified = lab.call(&["cache", "verify", "--json", "--cache", &cache]).json_whole();
        assert_eq!(verified["damaged"], serde_json::json!({ "objects": {}, "results": {}, "runs": {} }));
    }
    // What ends too early says so.
    fs::write(lab.path("short.tar"), "").unwrap();
    let short = lab.try_call(&["cache", "import", "short.tar", "--cache", "short"]);
    assert!(short.code == Some(3) && short.stderr.contains("it was cut short"), "{}", short.stderr);
}
