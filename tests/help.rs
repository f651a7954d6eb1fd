//! What helps to begin: a starter, descriptions of stages, completions, the manual page.

mod common;

use common::{Lab, TINY};

#[test]
fn a_starter_can_be_planned_and_overwrites_nothing() {
    let lab = Lab::new(TINY);
    let refused = lab.try_call(&["init"]);
    assert!(
        refused.code == Some(3) && refused.stderr.contains("hint: name another file"),
        "{}",
        refused.stderr
    );
    lab.call(&["init", "starter.yaml"]);
    assert!(lab.call(&["plan", "-f", "starter.yaml"]).stderr.contains("12 instances"));
    lab.call(&["plan", "-f", "starter.yaml", "-p", "full"]);
    lab.call(&["run", "-f", "starter.yaml", "--only", "data"]);
}

#[test]
fn every_kind_is_described() {
    let lab = Lab::new(TINY);
    let listed = lab.call(&["stages"]).stdout;
    let kinds = lab.call(&["stages", "--json"]).json_whole();
    let kinds = kinds["kinds"].as_array().unwrap();
    assert_eq!(kinds.len() + 1, listed.lines().count());
    for kind in kinds {
        let name = kind["kind"].as_str().unwrap();
        let text = lab.call(&["stages", name]).stdout;
        assert!(text.starts_with(&format!("{name}: ")), "{text}");
        for parameter in kind["parameters"].as_array().unwrap() {
            assert_ne!(parameter["type"], "any", "{name}: {parameter}");
        }
    }
    let judge = kinds.iter().find(|kind| kind["kind"] == "judge").unwrap();
    assert_eq!(
        (&judge["inputs"][0]["name"], &judge["inputs"][0]["takes"]),
        (&"responses".into(), &"many".into())
    );
    insta::assert_snapshot!("stages_sft", lab.call(&["stages", "sft"]).stdout);
    let unknown = lab.try_call(&["stages", "sfft"]);
    assert!(unknown.code == Some(2) && unknown.stderr.contains("did you mean `sft`?"), "{}", unknown.stderr);
}

#[test]
fn shells_and_man_know_every_command() {
    let lab = Lab::new(TINY);
    for shell in ["bash", "zsh", "fish"] {
        let script = lab.call(&["completions", shell]).stdout;
        assert!(
            script.contains("pipeline") && script.contains("why") && script.contains("dry-run"),
            "{shell}"
        );
    }
    let page = lab.call(&["man"]).stdout;
    assert!(page.contains(".TH pipeline 1") && page.contains("pipeline\\-why(1)"), "{page}");
    let gc = lab.call(&["man", "cache", "gc"]).stdout;
    assert!(gc.contains("pipeline\\-cache\\-gc") && gc.contains("dry\\-run"), "{gc}");
    let wrong = lab.try_call(&["man", "cache", "gx"]);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("did you mean `gc`?"), "{}", wrong.stderr);
}
