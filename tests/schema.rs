//! The schema by which editors complete and check experiment files.

mod common;

use std::{fs, path::Path};

use common::Lab;

#[test]
fn the_schema_in_the_repository_is_what_the_program_prints() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipeline.schema.json");
    let kept = fs::read_to_string(file).expect("the schema is in the repository");
    let printed = Lab::new("").call(&["schema"]).stdout;
    assert!(kept == printed, "write it again: `just schema`");
}

#[test]
fn every_experiment_in_the_repository_names_the_schema() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schema = root.join("pipeline.schema.json").canonicalize().expect("it is there");
    let more = fs::read_dir(root.join("experiments")).expect("a folder").map(|entry| entry.unwrap().path());
    for file in more.chain([root.join("pipeline.yaml")]) {
        let text = fs::read_to_string(&file).unwrap();
        let named = text.lines().next().and_then(|l| l.strip_prefix("# yaml-language-server: $schema="));
        let named = named.unwrap_or_else(|| panic!("{} names no schema in its first line", file.display()));
        assert_eq!(file.with_file_name(named).canonicalize().unwrap(), schema, "{}", file.display());
    }
}

#[test]
fn a_starter_names_a_schema_that_is_there_and_none_is_overwritten() {
    let lab = Lab::new("");
    fs::create_dir(lab.path("new")).unwrap();
    lab.call(&["init", "new/starter.yaml"]);
    let starter = fs::read_to_string(lab.path("new/starter.yaml")).unwrap();
    assert_eq!(starter.lines().next(), Some("# yaml-language-server: $schema=pipeline.schema.json"));
    let written = fs::read_to_string(lab.path("new/pipeline.schema.json")).unwrap();
    assert_eq!(written, lab.call(&["schema"]).stdout);

    fs::write(lab.path("new/pipeline.schema.json"), "{}").unwrap();
    lab.call(&["init", "new/another.yaml"]);
    assert_eq!(fs::read_to_string(lab.path("new/pipeline.schema.json")).unwrap(), "{}");
    // Nothing is written beside an experiment that was not.
    assert_eq!(lab.try_call(&["init"]).code, Some(3));
    assert!(!lab.path("pipeline.schema.json").exists());
}
