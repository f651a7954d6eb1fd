//! The types of an experiment file.

use std::{collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use super::{Axis, Needs};

/// A graph of stages over named axes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// What the folder in `reports/` is called.
    pub name: String,
    /// The question, in a sentence.
    #[serde(default)]
    pub about: String,
    /// Named dimensions and their values: a list, such as `seed: [1, 2, 3]`, or a map from names to what they change,
    /// such as `variant: { paper: {}, no-warmup: { ppo: { warmup: 0 } } }`.
    #[serde(default, deserialize_with = "or_nothing")]
    #[schemars(with = "Option<BTreeMap<String, Axis>>")]
    pub axes: BTreeMap<String, Axis>,
    pub stages: BTreeMap<String, StageSpec>,
    /// Changes by name, chosen with `--profile`: merged key by key; null takes away.
    #[serde(default, deserialize_with = "or_nothing")]
    #[schemars(with = "Option<BTreeMap<String, Map<String, Value>>>")]
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
    #[schemars(with = "Option<Vec<String>>")]
    pub over: Vec<String>,
    /// The axes of `over` that random numbers depend on, by default all. Instances that differ on the others alone
    /// share their seed: they are compared with common random numbers.
    #[serde(default)]
    pub seeded_by: Option<Vec<String>>,
    /// Input name to the stages (`sft`) or outputs (`data.prompts`) that it reads. Lined up on the axes that
    /// both have, gathered over the others.
    #[serde(default, deserialize_with = "or_nothing")]
    #[schemars(with = "Option<BTreeMap<String, References>>")]
    pub inputs: BTreeMap<String, References>,
    /// The kind's parameters. `${axis}` stands for the instance's value on that axis. What the values of its axes
    /// change is merged over them, in the order of the axes' names.
    #[serde(default, deserialize_with = "or_nothing")]
    #[schemars(with = "Option<Map<String, Value>>")]
    pub with: Map<String, Value>,
    /// What each instance takes of the machine, and how long it may take. No result depends on it.
    #[serde(default, deserialize_with = "or_nothing")]
    #[schemars(with = "Option<Needs>")]
    pub needs: Needs,
}

/// `with:` and nothing after it is as good as no `with`.
fn or_nothing<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
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
