//! A list over an axis that is a map: it chooses among the values, which keep what they change. An arm that lost its
//! changes would go on under its name.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::did_you_mean;

/// A name that is no value of an axis.
pub struct Unknown {
    /// Where it stands in the list.
    pub index: usize,
    /// Nothing else in the list is a value either.
    pub is_all: bool,
    pub message: String,
    pub hint: String,
}

/// The values of an axis' map that a list names.
///
/// # Errors
/// The first name that the map does not have.
pub fn choose(axis: &str, map: &Map<String, Value>, list: &[Value]) -> Result<BTreeSet<String>, Unknown> {
    let name = |value: &Value| value.as_str().map_or_else(|| value.to_string(), String::from);
    let names: Vec<String> = list.iter().map(name).collect();
    match names.iter().position(|name| !map.contains_key(name)) {
        None => Ok(names.into_iter().collect()),
        Some(index) => {
            let is_all = !names.iter().any(|name| map.contains_key(name));
            Err(Unknown { index, is_all, ..unknown(axis, map, &names[index]) })
        }
    }
}

/// Says that an axis' map has no such value.
pub fn unknown(axis: &str, map: &Map<String, Value>, name: &str) -> Unknown {
    let message = format!("there is no value `{name}` on the axis `{axis}`");
    let hint = did_you_mean(name, map.keys().map(String::as_str));
    Unknown { index: 0, is_all: true, message, hint }
}
