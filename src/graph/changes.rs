//! A stage's parameters at a point: its `with`, and over it what the values of its axes change.

use std::{collections::BTreeMap, iter};

use serde_json::{Map, Value};
use stages::contract::{Kind, ParamError};

use super::substitute::{Slip, names, substitute};
use crate::{
    error::{Error, Result},
    experiment::{AxisValue, Document, Experiment, did_you_mean},
};

/// A point of a stage's axes.
pub type Point<'a> = BTreeMap<&'a str, &'a AxisValue>;

/// Checks that the axes' values change stages that there are and that vary over them.
///
/// # Errors
/// The first change that reaches no instance.
pub fn check_changes(experiment: &Experiment, document: &Document) -> Result<()> {
    for (axis, values) in &experiment.axes {
        for (value, changes) in values.changes.iter().flatten() {
            for stage in changes.keys() {
                let refuse = |message: String, hint: String| {
                    let place = document.key_place(&["axes", axis, value, stage]);
                    Err(Error::experiment(message).hint(hint).at(place))
                };
                let Some(spec) = experiment.stages.get(stage) else {
                    let known = experiment.stages.keys().map(String::as_str);
                    return refuse(format!("there is no stage `{stage}`"), did_you_mean(stage, known));
                };
                if !spec.over.contains(axis) {
                    return refuse(
                        format!("stage `{stage}` does not vary over the axis `{axis}`, and this changes it"),
                        format!("add `{axis}` to `over` of `{stage}`"),
                    );
                }
            }
        }
    }
    Ok(())
}

/// Where parameters come from, and what they are there.
struct Source {
    path: Vec<String>,
    params: Value,
}

/// The axes on which a stage's parameters can depend: those that its texts name, and those whose values change it.
pub fn shaping<'a>(stage: &str, experiment: &'a Experiment) -> Vec<&'a str> {
    let changes = |axis: &str| {
        let values = experiment.axes[axis].changes.iter().flat_map(|changes| changes.values());
        values.filter_map(|stages| stages.get(stage)).collect::<Vec<_>>()
    };
    let spec = &experiment.stages[stage];
    let raw: Vec<_> = iter::once(&spec.with).chain(spec.over.iter().flat_map(|axis| changes(axis))).collect();
    let is_named = |axis: &str| raw.iter().any(|with| with.values().any(|value| names(value, axis)));
    let over = spec.over.iter().map(String::as_str);
    over.filter(|axis| is_named(axis) || !changes(axis).is_empty()).collect()
}

/// Canonical parameters of a stage at a point. Changes are merged in the order of the axes' names.
///
/// # Errors
/// If a text has a bad `${…}`, two axes disagree, or the kind refuses what results; each where it stands in the file.
pub fn params(
    stage: &str,
    point: &Point,
    kind: &Kind,
    experiment: &Experiment,
    document: &Document,
) -> Result<Value> {
    let source = |path: &[&str], raw: &Map<String, Value>| {
        let params = substitute(&Value::Object(raw.clone()), point).map_err(|(below, slip)| {
            let path: Vec<&str> = path.iter().copied().chain(below.iter().map(String::as_str)).collect();
            slipped(slip, stage, point, experiment).at(document.place(&path))
        })?;
        Ok(Source { path: path.iter().map(ToString::to_string).collect(), params })
    };
    let mut sources = vec![source(&["stages", stage, "with"], &experiment.stages[stage].with)?];
    for (axis, value) in point {
        let value = value.to_string();
        let changes = experiment.axes[*axis].changes.as_ref().and_then(|changes| changes[&value].get(stage));
        if let Some(change) = changes {
            let source = source(&["axes", axis, &value, stage], change)?;
            for other in &sources[1..] {
                if let Some(path) = disagreement(&other.params, &source.params) {
                    return Err(disagree(stage, other, &source, &path, document));
                }
            }
            sources.push(source);
        }
    }
    (kind.canonical)(merged(&sources)).map_err(|e| {
        let path = origin(&sources, kind, &e).path.iter().map(String::as_str);
        let path =
            path.chain(e.path.split(['.', '[', ']'])).filter(|part| !part.is_empty()).map(String::from);
        let error = document.refusal(path.collect(), &e.message);
        Error { hint: e.hint.or(error.hint), ..error }
    })
}

fn slipped(slip: Slip, stage: &str, point: &Point, experiment: &Experiment) -> Error {
    let (message, hint) = match slip {
        Slip::Open => ("`${` has no `}`".to_string(), "write `${axis}`, or `$${` for `${` itself".into()),
        Slip::Unknown(axis) => (
            format!("`${{{axis}}}` is no axis of stage `{stage}`"),
            if experiment.axes.contains_key(&axis) {
                format!("add `{axis}` to `over` of `{stage}`")
            } else {
                did_you_mean(&axis, point.keys().copied())
            },
        ),
    };
    Error::experiment(message).hint(hint)
}

fn merged(sources: &[Source]) -> Value {
    let Some((with, changes)) = sources.split_first() else { return Value::Null };
    let mut params = with.params.clone();
    changes.iter().for_each(|change| merge(&mut params, &change.params));
    params
}

/// As profiles are merged, and `null` takes away also what is not there.
fn merge(base: &mut Value, change: &Value) {
    let Value::Object(change) = change else {
        base.clone_from(change);
        return;
    };
    if !base.is_object() {
        *base = Value::Object(Map::new());
    }
    for (key, value) in change {
        match base.as_object_mut() {
            Some(base) if value.is_null() => drop(base.remove(key)),
            Some(base) => merge(base.entry(key.as_str()).or_insert(Value::Null), value),
            None => unreachable!("it was made a map"),
        }
    }
}

/// The first path that both change, and not to the same.
fn disagreement(a: &Value, b: &Value) -> Option<Vec<String>> {
    let (Value::Object(a), Value::Object(b)) = (a, b) else { return (a != b).then(Vec::new) };
    a.iter().find_map(|(key, value)| {
        let mut path = disagreement(value, b.get(key)?)?;
        path.insert(0, key.clone());
        Some(path)
    })
}

fn disagree(stage: &str, one: &Source, other: &Source, path: &[String], document: &Document) -> Error {
    let whole = |source: &Source| [&source.path, path].concat();
    let place = |path: &[String]| document.key_place(&path.iter().map(String::as_str).collect::<Vec<_>>());
    let value = |source: &Source| {
        let value = path.iter().fold(&source.params, |value, key| &value[key]);
        if value.is_null() { "nothing".into() } else { value.to_string() }
    };
    let ((one, old), (other, new)) = ((whole(one), value(one)), (whole(other), value(other)));
    let at = place(&one).map_or_else(String::new, |place| format!(" ({place})"));
    Error::experiment(format!(
        "`{}` makes `{}` of stage `{stage}` {new}, and `{}`{at} makes it {old}",
        other.join("."),
        path.join("."),
        one.join("."),
    ))
    .hint("two axes must not change the same parameter: take it out of one, or make one axis of both")
    .at(place(&other))
}

/// Whose fault an error is: the first with whom it appears when they are merged one by one.
fn origin<'a>(sources: &'a [Source], kind: &Kind, error: &ParamError) -> &'a Source {
    let fails_alike = |upto: &usize| {
        let found = (kind.canonical)(merged(&sources[..*upto])).err();
        found.is_some_and(|found| found.path == error.path && found.message == error.message)
    };
    let first = (1..sources.len()).find(fails_alike).unwrap_or(sources.len());
    &sources[first - 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_are_merged_key_by_key_and_null_takes_away() {
        let mut params = json!({ "a": { "b": 1, "c": [1, 2] }, "d": 2, "e": 3 });
        merge(&mut params, &json!({ "a": { "c": [3] }, "d": null, "x": null, "e": { "f": null, "g": 1 } }));
        assert_eq!(params, json!({ "a": { "b": 1, "c": [3] }, "e": { "g": 1 } }));
    }

    #[test]
    fn changes_disagree_where_both_say_something_else() {
        let a = json!({ "a": { "b": 1, "c": [1, 2] }, "d": null });
        for (b, expected) in [
            (json!({ "a": { "b": 1, "x": 5 }, "d": null, "e": 3 }), None),
            (json!({ "a": { "c": [1] } }), Some("a.c")),
            (json!({ "a": { "b": 1.5 } }), Some("a.b")),
            (json!({ "a": 3 }), Some("a")),
            (json!({ "d": 3 }), Some("d")),
        ] {
            assert_eq!(disagreement(&a, &b).map(|path| path.join(".")).as_deref(), expected, "{b}");
            assert_eq!(disagreement(&b, &a).map(|path| path.join(".")).as_deref(), expected, "{b}");
        }
    }
}
