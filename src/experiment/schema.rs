//! The JSON Schema of experiment files, from the types that parse them.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use stages::contract::{Arity, Kind, Registry};

use super::Experiment;

/// For editors: each stage's `inputs` and `with` are checked by the stage's kind.
pub fn schema(registry: &Registry) -> Value {
    let settings = SchemaSettings::draft2020_12();
    let mut root = settings.into_generator().into_root_schema_for::<Experiment>().to_value();
    root["title"] = json!("A pipeline experiment");
    let stage = &mut root["$defs"]["StageSpec"];
    stage["properties"]["uses"]["enum"] = registry.iter().map(|kind| kind.name).collect();
    stage["allOf"] = registry.iter().map(of_kind).collect();
    // What must be given can also come from what a value of an axis changes.
    root["$defs"]["WholeStage"] = json!({ "allOf": registry.iter().filter_map(whole).collect::<Value>() });
    root["if"] = json!({ "properties": { "axes": { "additionalProperties": { "type": "array" } } } });
    root["then"] = json!({ "properties": { "stages": {
        "additionalProperties": { "$ref": "#/$defs/WholeStage" },
    } } });
    root
}

/// What holds for stages of a kind.
fn where_it_is(kind: &Kind, then: Value) -> Value {
    json!({ "if": { "properties": { "uses": { "const": kind.name } }, "required": ["uses"] }, "then": then })
}

fn of_kind(kind: &Kind) -> Value {
    let input = |i: &stages::contract::Input| {
        let about = format!("{} ({})", i.about, i.artifact);
        (i.name.to_string(), json!({ "$ref": "#/$defs/References", "description": about }))
    };
    let inputs: Map<String, Value> = kind.inputs.iter().map(input).collect();
    let needed: Vec<_> = kind.inputs.iter().filter(|i| i.arity != Arity::Optional).map(|i| i.name).collect();
    let mut with = (kind.schema)().to_value();
    if let Some(map) = with.as_object_mut() {
        ["$schema", "title", "required"].iter().for_each(|word| drop(map.remove(*word)));
        map.insert("description".into(), kind.about.into());
        map.insert("type".into(), json!(["object", "null"]));
    }
    allow_axes(&mut with);
    let mut then = json!({ "properties": {
        "inputs": { "properties": inputs, "required": needed, "additionalProperties": false },
        "with": with,
    } });
    if !needed.is_empty() {
        then["required"] = json!(["inputs"]);
        then["properties"]["inputs"]["type"] = json!("object");
    }
    where_it_is(kind, then)
}

/// The parameters that a kind cannot do without.
fn whole(kind: &Kind) -> Option<Value> {
    let needed = (kind.schema)().get("required")?.clone();
    let with = json!({ "type": "object", "required": needed });
    Some(where_it_is(kind, json!({ "required": ["with"], "properties": { "with": with } })))
}

/// `${axis}` may stand for a value of any type, also within lists and optional maps.
fn allow_axes(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    let properties = map.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flatten().for_each(|(_, property)| allow_axis(property));
    map.get_mut("items").into_iter().for_each(allow_axis);
    let choices = map.get_mut("anyOf").and_then(Value::as_array_mut);
    choices.into_iter().flatten().for_each(allow_axes);
}

fn allow_axis(schema: &mut Value) {
    allow_axes(schema);
    if schema.get("properties").is_some() {
        return;
    }
    let mut wrapped = json!({});
    for word in ["description", "default"] {
        if let Some(value) = schema.as_object_mut().and_then(|map| map.remove(word)) {
            wrapped[word] = value;
        }
    }
    wrapped["anyOf"] = json!([schema.take(), { "type": "string", "pattern": "\\$\\{" }]);
    *schema = wrapped;
}
