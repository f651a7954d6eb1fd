//! What was verified once and has not changed since is not read again to be a hit; what has is; and what is handed on always.

mod common;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use common::{Lab, Ran, TINY, files, sealed};
use serde_json::Value;

/// An experiment that has run, and run again when all of it had settled.
fn settled(arguments: &[&str]) -> Lab {
    let lab = Lab::new(TINY);
    lab.run(arguments);
    std::thread::sleep(Duration::from_millis(2200));
    assert_eq!(lab.run(arguments)["ran"], 0);
    assert!(stamps(&lab).exists(), "what was verified is remembered");
    lab
}

fn stamps(lab: &Lab) -> PathBuf {
    lab.path("cache/stamps/tiny.json")
}

/// Changes one bit of a read-only file where it lies.
fn flip_a_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Makes the stamps say that a file of the cache was like this when it was verified: as if a bit had rotten on the disk.
fn forge(lab: &Lab, file: &Path) {
    let objects = lab.path("cache/objects");
    let object = |content: &str| objects.join(&content[..2]).join(&content[2..]);
    let mut all: Value = serde_json::from_slice(&fs::read(stamps(lab)).unwrap()).unwrap();
    let mut forged = 0;
    for (key, seen) in all["results"].as_object_mut().unwrap() {
        // An output is its content and the names of its files.
        let outputs = seen["outputs"].as_object().unwrap().values();
        let paths = outputs.flat_map(|output| {
            let object = object(output[0]["content"].as_str().unwrap());
            let path = move |name: &Value| match name.as_str().unwrap() {
                "" => object.clone(),
                name => object.join(name),
            };
            output[1].as_array().unwrap().iter().map(path)
        });
        let record = lab.path("cache/results").join(format!("{key}.json"));
        let paths: Vec<PathBuf> = std::iter::once(record).chain(paths).collect();
        if paths.iter().any(|path| path == file) {
            seen["sum"] = sum(&paths).to_string().into();
            forged += 1;
        }
    }
    assert!(forged > 0, "the file was stamped");
    fs::write(stamps(lab), sealed(all)).unwrap();
}

fn sum(paths: &[PathBuf]) -> blake3::Hash {
    let mut hash = blake3::Hasher::new();
    for meta in paths.iter().map(|path| fs::metadata(path).unwrap()) {
        hash.update(&meta.ino().to_le_bytes()).update(&meta.size().to_le_bytes());
        for time in [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()] {
            hash.update(&time.to_le_bytes());
        }
    }
    hash.finalize()
}

fn explains(ran: &Ran, what: &str) {
    assert!(ran.stderr.contains(what) && ran.stderr.contains("run again"), "{}", ran.stderr);
}

#[test]
fn whatever_has_changed_is_read_again() {
    let only = ["--only", "sft"];
    let lab = settled(&only);
    assert_eq!(lab.stale(&only), [""; 0]);
    for folder in ["cache/objects", "cache/results"] {
        for name in files(&lab.path(folder)).into_keys() {
            let path = lab.path(folder).join(name);
            flip_a_bit(&path);
            assert!(!lab.stale(&only).is_empty(), "a bit of {} has flipped", path.display());
            flip_a_bit(&path);
            assert_eq!(lab.stale(&only), [""; 0], "and flipped back");
        }
    }
    // Without stamps, and with what are none, everything is read.
    for content in ["", "{}", "no JSON", r#"{ "results": 1 }"#] {
        fs::write(stamps(&lab), content).unwrap();
        assert_eq!(lab.run(&only)["ran"], 0, "{content}");
    }
}

#[test]
fn what_rots_unseen_is_not_handed_on() {
    let lab = settled(&[]);
    let sound = files(&lab.path("cache/objects"));
    let shown = fs::read(lab.path("reports/tiny/index.html")).unwrap();
    let (name, _) = sound.iter().find(|(_, bytes)| **bytes == shown).expect("the report is in the cache");
    let report = lab.path("cache/objects").join(name);
    flip_a_bit(&report);
    forge(&lab, &report);
    assert_eq!(lab.stale(&[]), [""; 0], "a glance is enough");
    fs::remove_dir_all(lab.path("reports")).unwrap();
    let ran = lab.try_call(&["run"]);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    explains(&ran, "cannot write the report");
    assert_eq!(lab.run(&[])["ran"], 1, "it is made again");
    assert_eq!(fs::read(lab.path("reports/tiny/index.html")).unwrap(), shown);

    let change = ["--only", "rm", "--set", "stages.rm.with.training.steps=5"];
    let models = sound.keys().filter(|name| name.ends_with("model.safetensors"));
    for model in models.map(|name| lab.path("cache/objects").join(name)) {
        flip_a_bit(&model);
        forge(&lab, &model);
    }
    let ran = lab.try_call(&[&["run"], &change[..]].concat());
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    explains(&ran, "its input `init` has changed on disk");
    assert_eq!(lab.run(&change)["ran"], 3, "what they need is made again, and then they");

    lab.call(&["cache", "verify", "--repair"]);
    lab.run(&[]);
    let all = files(&lab.path("cache/objects"));
    assert!(sound.iter().all(|(name, bytes)| all.get(name) == Some(bytes)), "all is as it was");
}
