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
    root
}

fn of_kind(kind: &Kind) -> Value {
    let input = |i: &stages::contract::Input| {
        let about = format!("{} ({})", i.about, i.artifact);
        (i.name.to_string(), json!({ "$ref": "#/$defs/References", "description": about }))
    };
    let inputs: Map<String, Value> = kind.inputs.iter().map(input).collect();
    let needed: Value = kind.inputs.iter().filter(|i| i.arity != Arity::Optional).map(|i| i.name).collect();
    let mut with = (kind.schema)().to_value();
    if let Some(map) = with.as_object_mut() {
        map.remove("$schema");
        map.remove("title");
        map.insert("description".into(), kind.about.into());
    }
    allow_axes(&mut with);
    let mut required = vec![];
    if needed.as_array().is_some_and(|needed| !needed.is_empty()) {
        required.push("inputs");
    }
    if with.get("required").is_some() {
        required.push("with");
    }
    json!({
        "if": { "properties": { "uses": { "const": kind.name } } },
        "then": { "required": required, "properties": {
            "inputs": { "properties": inputs, "required": needed, "additionalProperties": false },
            "with": with,
        } },
    })
}

/// `${axis}` may stand for a value of any type.
fn allow_axes(schema: &mut Value) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for property in properties.values_mut() {
        if property.get("properties").is_some() {
            allow_axes(property);
            continue;
        }
        let mut wrapped = json!({});
        for word in ["description", "default"] {
            if let Some(value) = property.as_object_mut().and_then(|map| map.remove(word)) {
                wrapped[word] = value;
            }
        }
        wrapped["anyOf"] = json!([property.take(), { "type": "string", "pattern": "\\$\\{" }]);
        *property = wrapped;
    }
}
