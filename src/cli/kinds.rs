//! `pipeline stages`: what can stand after `uses:`, from the types that read it.

use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;
use stages::contract::{Arity, Input, Kind, Output, Registry};

use super::{args::StagesOptions, output};
use crate::{
    error::{Error, Result},
    experiment::did_you_mean,
    key::short,
};

#[derive(Serialize)]
struct Described {
    kind: &'static str,
    about: &'static str,
    inputs: Vec<In>,
    outputs: Vec<Out>,
    parameters: Vec<Parameter>,
}

#[derive(Serialize)]
struct In {
    name: &'static str,
    artifact: &'static str,
    /// `one`, `optional` or `many`.
    takes: &'static str,
    about: &'static str,
}

#[derive(Serialize)]
struct Out {
    name: &'static str,
    artifact: &'static str,
    about: &'static str,
}

/// One value under `with:`.
#[derive(Serialize)]
struct Parameter {
    path: String,
    r#type: String,
    /// None where it must be given, or stands for something that depends on the others.
    default: Option<Value>,
    about: String,
}

pub fn run(options: &StagesOptions, registry: &Registry) -> Result<ExitCode> {
    let kinds: Vec<&Kind> = match &options.kind {
        None => registry.iter().collect(),
        Some(name) => match registry.get(name) {
            Some(kind) => vec![kind],
            None => {
                let known = registry.iter().map(|kind| kind.name);
                let error = Error::experiment(format!("there is no stage kind `{name}`"));
                return Err(error.hint(did_you_mean(name, known)));
            }
        },
    };
    let described: Vec<Described> = kinds.into_iter().map(Described::of).collect();
    if options.json {
        return output::json(&serde_json::json!({ "kinds": described }));
    }
    match (options.kind.is_some(), described.as_slice()) {
        (true, [one]) => output::text(&one.text()),
        _ => {
            let row = |d: &Described| vec![d.kind.to_string(), d.about.to_string()];
            output::text(&output::table(
                &["KIND", "WHAT IT DOES"],
                &described.iter().map(row).collect::<Vec<_>>(),
            ))
        }
    }
}

impl Described {
    fn of(kind: &Kind) -> Self {
        let input = |i: &Input| In {
            name: i.name,
            artifact: i.artifact,
            takes: match i.arity {
                Arity::One => "one",
                Arity::Optional => "optional",
                Arity::Many => "many",
            },
            about: i.about,
        };
        let output = |o: &Output| Out { name: o.name, artifact: o.artifact, about: o.about };
        let mut parameters = vec![];
        let schema = Value::from((kind.schema)());
        list("", &schema, None, &mut parameters);
        Self {
            kind: kind.name,
            about: kind.about,
            inputs: kind.inputs.iter().map(input).collect(),
            outputs: kind.outputs.iter().map(output).collect(),
            parameters,
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{}: {}\n", self.kind, self.about);
        let mut section = |heading: [&str; 4], rows: Vec<Vec<String>>| {
            if !rows.is_empty() {
                text.push_str(&format!("\n{}", output::table(&heading, &rows)));
            }
        };
        let cells = |cells: [&str; 4]| cells.map(String::from).to_vec();
        let inputs = self.inputs.iter().map(|i| cells([i.name, i.artifact, i.takes, i.about]));
        section(["INPUT", "TYPE", "TAKES", ""], inputs.collect());
        let outputs = self.outputs.iter().map(|o| cells([o.name, o.artifact, "", o.about]));
        section(["OUTPUT", "TYPE", "", ""], outputs.collect());
        let default = |p: &Parameter| p.default.as_ref().map_or("-".into(), short);
        let parameters = self.parameters.iter().map(|p| cells([&p.path, &p.r#type, &default(p), &p.about]));
        section(["PARAMETER", "TYPE", "DEFAULT", ""], parameters.collect());
        text
    }
}

/// The leaves of a schema of an object. `default` is the object's own, which says more than its leaves do.
fn list(path: &str, schema: &Value, default: Option<&Value>, found: &mut Vec<Parameter>) {
    let Some(properties) = schema["properties"].as_object() else {
        found.push(Parameter {
            path: path.into(),
            r#type: type_of(schema),
            default: default.filter(|value| !value.is_null()).cloned(),
            about: schema["description"].as_str().unwrap_or_default().replace('\n', " "),
        });
        return;
    };
    for (name, property) in properties {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let default = default.and_then(|d| d.get(name)).or_else(|| property.get("default"));
        list(&path, property, default, found);
    }
}

/// In a word or two.
fn type_of(schema: &Value) -> String {
    let of_list = |list: &Vec<Value>| {
        let mut types: Vec<String> = list.iter().map(type_of).filter(|t| t != "null").collect();
        types.dedup();
        types.join(" or ")
    };
    if let Some(list) = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array()) {
        return of_list(list);
    }
    if let Some(value) = schema.get("const") {
        return short(value);
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(short).collect::<Vec<_>>().join(" or ");
    }
    match &schema["type"] {
        Value::String(name) if name == "array" => format!("list of {}", type_of(&schema["items"])),
        Value::String(name) => name.clone(),
        Value::Array(names) => {
            let names: Vec<&str> = names.iter().filter_map(Value::as_str).filter(|n| *n != "null").collect();
            names.join(" or ")
        }
        _ => "any".into(),
    }
}
