//! The rules of the house (ARCHITECTURE.md): who may import whom, and what library code never does.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What cargo knows of the workspace and its dependencies on this platform, without the network.
fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").expect("cargo runs this test");
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let args = ["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", &platform];
    let output = Command::new(cargo).args(args).current_dir(root()).output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

/// Names of the normal dependencies of a workspace crate.
fn dependencies(metadata: &Value, name: &str) -> Vec<String> {
    let packages = metadata["packages"].as_array().expect("a list");
    let package =
        packages.iter().find(|p| p["name"] == name && p["source"].is_null()).expect("a crate of ours");
    let normal = package["dependencies"].as_array().expect("a list").iter().filter(|d| d["kind"].is_null());
    normal.map(|d| d["name"].as_str().expect("a name").to_string()).collect()
}

/// The Rust files below a folder, with their code: comments and test modules left out.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut waiting = vec![root().join(folder)];
    let mut found = vec![];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let code =
                code.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            found.push((name, code));
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found.sort();
    found
}

/// Fails for every file below `folders` that names one of `words` and is not excused.
fn nowhere(words: &[&str], folders: &[&str], excused: &[&str]) {
    let files = folders.iter().flat_map(|f| sources(f));
    let guilty: Vec<String> = files
        .filter(|(name, _)| !excused.iter().any(|e| name.starts_with(e)))
        .flat_map(|(name, code)| {
            let found = words.iter().filter(move |w| code.contains(**w));
            found.map(move |w| format!("{name} names `{w}`")).collect::<Vec<_>>()
        })
        .collect();
    assert!(guilty.is_empty(), "{guilty:#?}");
}

#[test]
fn imports_run_one_way() {
    let metadata = metadata();
    let ours = ["pipeline", "stages", "lm"];
    let of = |name: &str| -> Vec<String> {
        dependencies(&metadata, name).into_iter().filter(|d| ours.contains(&d.as_str())).collect()
    };
    assert_eq!(of("pipeline"), ["stages"]);
    assert_eq!(of("stages"), ["lm"]);
    assert_eq!(of("lm"), [""; 0]);
}

#[test]
fn tensors_stay_in_lm_and_tables_in_the_report() {
    let metadata = metadata();
    for (name, banned) in
        [("pipeline", &["dfdx", "polars", "arrow"][..]), ("stages", &["dfdx"]), ("lm", &["polars", "arrow"])]
    {
        let dependencies = dependencies(&metadata, name);
        assert!(!banned.iter().any(|b| dependencies.iter().any(|d| d == b)), "{name}: {dependencies:?}");
    }
    nowhere(&["polars"], &["stages/src"], &["stages/src/report/"]);
}

#[test]
fn no_training_sees_gold() {
    let allowed = [
        "stages/src/oracle/",
        "stages/src/annotator.rs",
        "stages/src/preferences.rs",
        "stages/src/judge.rs",
        "stages/src/ppo_gold.rs",
        "stages/src/lib.rs",
    ];
    nowhere(&["oracle::", "annotator::"], &["stages/src", "lm/src"], &allowed);
    // Nor by way of a module that sees it.
    let modules = ["preferences::", "judge::", "ppo_gold::"];
    nowhere(&modules, &["stages/src"], &["stages/src/registry.rs"]);
}

#[test]
fn libraries_neither_print_nor_exit_nor_look_around() {
    let deeds = ["println!", "eprintln!", "print!(", "dbg!", "process::exit", "env::var", "home_dir"];
    nowhere(&deeds, &["src", "stages/src", "lm/src"], &["src/cli/", "src/main.rs"]);
}

#[test]
fn a_file_holds_one_idea() {
    let long: Vec<String> = ["src", "stages/src", "lm/src", "tests", "stages/tests", "lm/tests"]
        .iter()
        .filter(|f| root().join(f).exists())
        .flat_map(|f| rust_files(&root().join(f)))
        .filter(|f| fs::read_to_string(f).unwrap().lines().count() > 450)
        .map(|f| f.display().to_string())
        .collect();
    assert!(long.is_empty(), "more than 450 lines: {long:#?}");
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries
        .flat_map(|p| if p.is_dir() { rust_files(&p) } else { vec![p] })
        .filter(|p| p.extension().is_some_and(|e| e == "rs"))
        .collect()
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let deny = fs::read_to_string(root().join("deny.toml")).unwrap();
    let allowed: Vec<&str> =
        deny.lines().filter_map(|l| l.trim().strip_prefix('"')?.strip_suffix("\",")).collect();
    // `(MIT OR Apache-2.0) AND Unicode-3.0`: every part of an AND needs one of its ORs.
    let fits = |licence: &str| {
        let clean = licence.replace(['(', ')'], "").replace('/', " OR ");
        clean.split(" AND ").all(|part| part.split(" OR ").any(|l| allowed.contains(&l.trim())))
    };
    let metadata = metadata();
    let refused: Vec<String> = metadata["packages"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|p| !p["license"].as_str().is_some_and(fits))
        .map(|p| format!("{} {}: {}", p["name"], p["version"], p["license"]))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}
