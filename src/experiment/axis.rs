//! The values of an axis, and what they change.

use std::{collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// What a value of an axis changes: by stage, what is merged over its `with`.
pub type Changes = BTreeMap<String, Map<String, Value>>;

/// The values of an axis: a list of them, or a map from each to what it changes.
#[derive(Clone, Debug)]
pub struct Axis {
    /// A list's in the order of the file; a map's in the order of their names, as all maps of a file are read.
    pub values: Vec<AxisValue>,
    /// By value; `None` for a list.
    pub changes: Option<BTreeMap<String, Changes>>,
}

impl Axis {
    /// What leads to a value in the file: its index in a list, its name in a map.
    pub fn key(&self, index: usize) -> String {
        if self.changes.is_some() { self.values[index].to_string() } else { index.to_string() }
    }
}

impl<'de> Deserialize<'de> for Axis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Axis;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of values or a map of their changes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Axis, A::Error> {
                let mut values = vec![];
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(Axis { values, changes: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Axis, A::Error> {
                // A name with nothing after it changes nothing, and so does a stage.
                type OrNothing = Option<BTreeMap<String, Option<Map<String, Value>>>>;
                let mut changes = BTreeMap::new();
                while let Some((name, by_stage)) = map.next_entry::<String, OrNothing>()? {
                    let by_stage = by_stage.unwrap_or_default().into_iter();
                    let by_stage = by_stage.map(|(stage, change)| (stage, change.unwrap_or_default()));
                    changes.insert(name, by_stage.collect());
                }
                let values = changes.keys().map(|name| AxisValue(name.as_str().into())).collect();
                Ok(Axis { values, changes: Some(changes) })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Axis {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Axis".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<AxisValue>();
        json_schema!({ "anyOf": [
            { "type": "array", "items": value, "minItems": 1 },
            {
                "description": "By value: the stages that it changes, and what it changes in their `with`.",
                "type": "object",
                "minProperties": 1,
                "additionalProperties": {
                    "type": ["object", "null"],
                    "additionalProperties": { "type": ["object", "null"] },
                },
            },
        ] })
    }
}

/// A value on an axis: a text, a number or a truth value.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisValue(pub Value);

impl<'de> Deserialize<'de> for AxisValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            value @ (Value::String(_) | Value::Number(_) | Value::Bool(_)) => Ok(Self(value)),
            other => {
                Err(de::Error::custom(format!("expected a text, a number or a truth value, found `{other}`")))
            }
        }
    }
}

impl JsonSchema for AxisValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AxisValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

/// As it stands in an instance's name.
impl fmt::Display for AxisValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Value::String(text) => f.write_str(text),
            other => other.fmt(f),
        }
    }
}
