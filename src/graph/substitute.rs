//! `${axis}` in a stage's parameters.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::experiment::AxisValue;

/// What is wrong with a `${…}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slip {
    /// This is no axis of the point.
    Unknown(String),
    /// The `}` is missing.
    Open,
}

/// Replaces `${axis}` everywhere in a value. A text that is nothing else becomes the axis' value with its type;
/// within a longer text it becomes text; `$${` stands for `${`.
///
/// # Errors
/// The path of the text at fault, and what is wrong with it.
pub fn substitute(value: &Value, point: &BTreeMap<&str, &AxisValue>) -> Result<Value, (Vec<String>, Slip)> {
    let deeper = |key: String| {
        move |(mut path, slip): (Vec<String>, Slip)| {
            path.insert(0, key);
            (path, slip)
        }
    };
    Ok(match value {
        Value::String(text) => of_text(text, point).map_err(|slip| (vec![], slip))?,
        Value::Array(items) => {
            let each = |(i, item)| substitute(item, point).map_err(deeper(usize::to_string(&i)));
            Value::Array(items.iter().enumerate().map(each).collect::<Result<_, _>>()?)
        }
        Value::Object(map) => {
            let each = |(key, item): (&String, _)| {
                Ok((key.clone(), substitute(item, point).map_err(deeper(key.clone()))?))
            };
            Value::Object(map.iter().map(each).collect::<Result<_, _>>()?)
        }
        other => other.clone(),
    })
}

/// Whether a text in a value names an axis.
pub fn names(value: &Value, axis: &str) -> bool {
    match value {
        Value::String(text) => text.contains(&format!("${{{axis}}}")),
        Value::Array(items) => items.iter().any(|item| names(item, axis)),
        Value::Object(map) => map.values().any(|item| names(item, axis)),
        _ => false,
    }
}

fn of_text(text: &str, point: &BTreeMap<&str, &AxisValue>) -> Result<Value, Slip> {
    let get = |name: &str| point.get(name).copied().ok_or_else(|| Slip::Unknown(name.to_string()));
    if let Some(name) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'))
        && !name.contains(['$', '{', '}'])
    {
        return Ok(get(name)?.0.clone());
    }
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        let end = after.find('}').ok_or(Slip::Open)?;
        out.push_str(before);
        out.push_str(&get(&after[..end])?.to_string());
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(Value::String(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_axis_value_keeps_its_type_and_text_takes_it_in() {
        let (task, seed) = (AxisValue(json!("safety")), AxisValue(json!(3)));
        let point = BTreeMap::from([("task", &task), ("seed", &seed)]);
        let with = json!({ "a": "${seed}", "b": ["x-${task}-${seed}", "$${task}", 0.5], "c": "${task" });
        assert_eq!(substitute(&with, &point).unwrap_err(), (vec!["c".to_string()], Slip::Open));
        let with = json!({ "a": "${seed}", "b": ["x-${task}-${seed}", "$${task}", 0.5] });
        let expected = json!({ "a": 3, "b": ["x-safety-3", "${task}", 0.5] });
        assert_eq!(substitute(&with, &point).unwrap(), expected);
        assert_eq!(
            substitute(&json!(["${sed}"]), &point).unwrap_err(),
            (vec!["0".into()], Slip::Unknown("sed".into()))
        );
    }
}
