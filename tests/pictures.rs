//! The graph as a picture, and the schema.

mod common;

use common::{Lab, TINY};

#[test]
fn the_graph_is_drawn_stage_by_stage() {
    let lab = Lab::new(TINY);
    insta::assert_snapshot!("mermaid", lab.call(&["graph"]).stdout);
    insta::assert_snapshot!("dot", lab.call(&["graph", "--format", "dot", "--only", "sft"]).stdout);
}

#[test]
fn changes_are_no_part_of_a_picture() {
    let list = TINY.replace("seed: [1]", "seed: [1, two]");
    let map = TINY.replace("seed: [1]", "seed: { 1: , two: { sft: { held_out: 16 } } }");
    for format in ["dot", "mermaid"] {
        let [list, map] =
            [&list, &map].map(|text| Lab::new(text).call(&["graph", "--format", format]).stdout);
        assert_eq!(list, map);
    }
}

#[test]
fn the_schema_knows_every_kind_and_its_parameters() {
    let schema = Lab::new(TINY).call(&["schema"]).json_whole();
    let stage = &schema["$defs"]["StageSpec"];
    let kinds: Vec<&str> =
        stage["properties"]["uses"]["enum"].as_array().unwrap().iter().map(|k| k.as_str().unwrap()).collect();
    for kind in ["data", "sft", "preferences", "reward-model", "ppo", "ppo-gold", "sample", "judge", "report"]
    {
        assert!(kinds.contains(&kind), "{kind}");
    }
    let cases = stage["allOf"].as_array().unwrap();
    let of = |kind: &str| {
        let is = |case: &&serde_json::Value| case["if"]["properties"]["uses"]["const"] == kind;
        &cases.iter().find(is).unwrap()["then"]["properties"]
    };
    assert!(of("ppo")["with"]["properties"]["kl"]["anyOf"].is_array());
    assert_eq!(of("ppo")["with"]["additionalProperties"], false);
    assert!(of("sft")["with"]["properties"]["training"]["properties"]["lr"].is_object());
    assert_eq!(of("reward-model")["inputs"]["required"], serde_json::json!(["init", "pairs"]));
    // An axis is a list of values, or a map from each to what it changes.
    let [list, map] = schema["$defs"]["Axis"]["anyOf"].as_array().unwrap().as_slice() else {
        panic!("{schema}")
    };
    assert_eq!((&list["type"], &list["items"]["$ref"]), (&"array".into(), &"#/$defs/AxisValue".into()));
    let changes = &map["additionalProperties"];
    assert_eq!((&map["type"], &changes["type"]), (&"object".into(), &serde_json::json!(["object", "null"])));
    assert_eq!(changes["additionalProperties"]["type"], serde_json::json!(["object", "null"]));
    assert!(stage["properties"]["seeded_by"].is_object());
    // No reference leads nowhere.
    let text = schema.to_string();
    for target in text.split("\"$ref\":\"#/$defs/").skip(1) {
        let name = target.split('"').next().unwrap();
        assert!(schema["$defs"][name].is_object(), "{name}");
    }
}

#[test]
fn the_default_experiment_is_sound() {
    let root = env!("CARGO_MANIFEST_DIR");
    let lab = Lab::new(TINY);
    for profile in [&[][..], &["--profile", "full"]] {
        let file = format!("{root}/pipeline.yaml");
        let plan = lab.plan(&[&["-f", &file], profile].concat());
        assert!(plan.len() > 60 && plan.contains_key("report"), "{}", plan.len());
    }
}
