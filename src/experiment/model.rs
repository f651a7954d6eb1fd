//! The types of an experiment file.

use std::{collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// A graph of stages over named axes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// What the folder in `reports/` is called.
    pub name: String,
    /// The question, in a sentence.
    #[serde(default)]
    pub about: String,
    /// Named dimensions and their values, such as `seed: [1, 2, 3]`.
    #[serde(default, deserialize_with = "or_nothing")]
    pub axes: BTreeMap<String, Vec<AxisValue>>,
    pub stages: BTreeMap<String, StageSpec>,
    /// Changes by name, chosen with `--profile`: merged key by key; null takes away.
    #[serde(default, deserialize_with = "or_nothing")]
    pub profiles: BTreeMap<String, Map<String, Value>>,
}

/// One stage: its kind, the axes it varies over, what it reads and how it is set.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StageSpec {
    /// The stage kind.
    pub uses: String,
    /// There is one instance for each point of these axes.
    #[serde(default, deserialize_with = "or_nothing")]
    pub over: Vec<String>,
    /// Input name to the stages (`sft`) or outputs (`data.prompts`) that it reads. Lined up on the axes that
    /// both have, gathered over the others.
    #[serde(default, deserialize_with = "or_nothing")]
    pub inputs: BTreeMap<String, References>,
    /// The kind's parameters. `${axis}` stands for the instance's value on that axis.
    #[serde(default, deserialize_with = "or_nothing")]
    pub with: Map<String, Value>,
}

/// `with:` and nothing after it is as good as no `with`.
fn or_nothing<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
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

/// One reference or a list of them: `stage` or `stage.output`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum References {
    One(String),
    Many(Vec<String>),
}

impl References {
    pub fn iter(&self) -> std::slice::Iter<'_, String> {
        match self {
            Self::One(one) => std::slice::from_ref(one).iter(),
            Self::Many(many) => many.iter(),
        }
    }
}

impl<'de> Deserialize<'de> for References {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = References;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a stage, such as `sft` or `data.prompts`, or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<References, E> {
                Ok(References::One(text.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<References, A::Error> {
                let mut all = vec![];
                while let Some(text) = list.next_element()? {
                    all.push(text);
                }
                Ok(References::Many(all))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for References {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "References".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}
