//! The code fingerprint: what changes it, and what does not.

#[path = "../build/fingerprint.rs"]
mod fingerprint;

use std::{collections::BTreeMap, fs};

use fingerprint::Code;

/// A small workspace: `ppo` reaches `helper` and the library, `judge` neither.
const FILES: [(&str, &str); 8] = [
    ("stages/src/lib.rs", "pub mod helper; pub mod judge; pub mod ppo; pub mod words;"),
    ("stages/src/ppo/mod.rs", "mod inner;\npub use inner::run;"),
    (
        "stages/src/ppo/inner.rs",
        "use crate::{helper::gae, words};\nuse lm::Model;\npub fn run() { gae(); words::say!(1) }",
    ),
    (
        "stages/src/helper.rs",
        "/// Advantages.\npub fn gae() { let x = 1; }\n#[cfg(test)]\nmod tests { #[test] fn a() {} }",
    ),
    (
        "stages/src/words.rs",
        "macro_rules! say { ($x:expr) => { $crate::deep::er($x) } }\npub(crate) use say;",
    ),
    ("stages/src/judge.rs", "pub fn run() -> &'static str { include_str!(\"rules.txt\") }"),
    ("stages/src/rules.txt", "ties count half"),
    ("lm/src/lib.rs", "pub struct Model;"),
];
const LOCK: &str = "[[package]]\nname = \"stages\"\nversion = \"0.1.0\"\ndependencies = [\n \"lm\",\n \"rand\",\n]\n\n\
    [[package]]\nname = \"lm\"\nversion = \"0.1.0\"\ndependencies = [\n \"gemm\",\n]\n\n\
    [[package]]\nname = \"gemm\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"rand\"\nversion = \"1.0.0\"\n";

/// Fingerprints of the workspace with some of its files changed.
fn prints(edits: &[(&str, &str)], lock: &str) -> BTreeMap<String, Code> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in FILES.iter().chain(edits) {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::write(dir.path().join("Cargo.lock"), lock).unwrap();
    fingerprint::of_stages(dir.path(), b"rustc 1").unwrap()
}

/// Which of the two stages an edit reaches. The parts say the same as the fingerprint.
fn reached(edits: &[(&str, &str)]) -> Vec<&'static str> {
    let (before, after) = (prints(&[], LOCK), prints(edits, LOCK));
    let reaches = |stage: &&str| {
        let (before, after) = (&before[*stage], &after[*stage]);
        assert_eq!(before.fingerprint == after.fingerprint, before.parts == after.parts);
        before.fingerprint != after.fingerprint
    };
    ["judge", "ppo"].into_iter().filter(reaches).collect()
}

#[test]
fn the_parts_name_what_changed() {
    let (before, after) = (prints(&[], LOCK), prints(&[("stages/src/helper.rs", "pub fn gae() {}")], LOCK));
    let (before, after) = (&before["ppo"].parts, &after["ppo"].parts);
    let changed: Vec<&String> = before.keys().filter(|part| before[*part] != after[*part]).collect();
    assert_eq!(changed, ["stages::helper"]);
    let names: Vec<&str> = before.keys().map(String::as_str).collect();
    let expected = [
        "compiler",
        "crate gemm",
        "crate lm",
        "lm",
        "stages::helper",
        "stages::ppo",
        "stages::ppo::inner",
        "stages::words",
    ];
    assert_eq!(names, expected);
}

#[test]
fn comments_white_space_and_tests_change_nothing() {
    let helper = "// A comment.\n/// Other words.\npub fn gae() {\n    let x = 1;\n}\n#[cfg(test)]\nmod tests { #[test] fn b() {} }";
    assert!(reached(&[("stages/src/helper.rs", helper)]).is_empty());
}

#[test]
fn an_edit_reaches_the_stages_that_reach_it() {
    assert_eq!(reached(&[("stages/src/helper.rs", "pub fn gae() { let x = 2; }")]), ["ppo"]);
    assert_eq!(reached(&[("stages/src/ppo/inner.rs", "pub fn run() {}")]), ["ppo"]);
    assert_eq!(
        reached(&[("stages/src/words.rs", "macro_rules! say { ($x:expr) => { $x } }\npub(crate) use say;")]),
        ["ppo"]
    );
    assert_eq!(reached(&[("lm/src/lib.rs", "pub struct Model(u8);")]), ["ppo"]);
    assert_eq!(reached(&[("stages/src/rules.txt", "ties count nothing")]), ["judge"]);
    assert_eq!(reached(&[("stages/src/judge.rs", "pub fn run() -> &'static str { \"\" }")]), ["judge"]);
    assert!(
        reached(&[(
            "stages/src/lib.rs",
            "pub mod helper; pub mod judge; pub mod ppo; pub mod words; pub mod z;"
        )])
        .is_empty()
    );
}

#[test]
fn a_dependency_reaches_the_stages_that_use_it_and_the_compiler_all() {
    let before = prints(&[], LOCK);
    let after = prints(
        &[],
        &LOCK.replace("name = \"gemm\"\nversion = \"1.0.0\"", "name = \"gemm\"\nversion = \"1.0.1\""),
    );
    assert_ne!(before["ppo"].fingerprint, after["ppo"].fingerprint, "by way of the library");
    assert_eq!(before["judge"].fingerprint, after["judge"].fingerprint);
}
