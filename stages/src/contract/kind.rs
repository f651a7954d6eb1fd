//! Stage kinds: typed where they are written, uniform where the engine meets them.

use std::{collections::BTreeMap, io, path::Path};

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Context, Input, Output, ParamError, StageError};

/// A stage kind. To add one: a module with a type that implements this, and a line in `registry.rs`.
pub trait Stage: 'static {
    /// The name after `uses:`.
    const KIND: &'static str;
    /// One sentence for the schema.
    const ABOUT: &'static str;
    const INPUTS: &'static [Input];
    const OUTPUTS: &'static [Output];

    /// What stands under `with:`. Derive `Deserialize` with `deny_unknown_fields` and defaults, and
    /// `Serialize`: a default that is written out is the same value as one that is not.
    type Params: Serialize + DeserializeOwned + JsonSchema;

    /// Fills in what depends on other parameters, and takes away what has no meaning beside them: it is then
    /// part of no key, and a change of it reruns nothing.
    fn normalize(_params: &mut Self::Params) {}

    /// Refuses values that the type allows and the stage cannot use.
    fn check(_params: &Self::Params) -> Result<(), ParamError> {
        Ok(())
    }

    /// Reads the inputs, writes every output. Deterministic in parameters, inputs and seed.
    fn run(params: Self::Params, ctx: &Context) -> Result<(), StageError>;
}

/// The code that a kind runs.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// Changes when a part of it changes.
    pub fingerprint: &'static str,
    /// The parts with a hash or a version of each, such as `stages::ppo::objective` and `crate gemm`.
    pub parts: &'static [(&'static str, &'static str)],
}

/// Code of which nothing is known but its fingerprint.
impl From<&'static str> for Code {
    fn from(fingerprint: &'static str) -> Self {
        Self { fingerprint, parts: &[] }
    }
}

/// A stage kind as the engine sees it.
#[derive(Clone)]
pub struct Kind {
    pub name: &'static str,
    pub about: &'static str,
    pub inputs: &'static [Input],
    pub outputs: &'static [Output],
    pub code: Code,
    /// The JSON Schema of `with`, without references.
    pub schema: fn() -> Schema,
    /// Checks `with` and gives it back with every default filled in.
    pub canonical: fn(Value) -> Result<Value, ParamError>,
    /// Runs the stage on canonical parameters.
    pub run: fn(Value, &Context) -> Result<(), StageError>,
}

impl Kind {
    pub fn of<S: Stage>(code: impl Into<Code>) -> Self {
        Self {
            name: S::KIND,
            about: S::ABOUT,
            inputs: S::INPUTS,
            outputs: S::OUTPUTS,
            code: code.into(),
            schema: schema::<S>,
            canonical: canonical::<S>,
            run: |params, ctx| S::run(parse::<S>(params).map_err(|e| StageError::new(e.message))?, ctx),
        }
    }
}

fn schema<S: Stage>() -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<S::Params>()
}

fn parse<S: Stage>(params: Value) -> Result<S::Params, ParamError> {
    serde_path_to_error::deserialize(params).map_err(|e| {
        let path = e.path().to_string();
        ParamError::new(if path == "." { String::new() } else { path }, e.into_inner().to_string())
    })
}

fn canonical<S: Stage>(params: Value) -> Result<Value, ParamError> {
    let mut params = parse::<S>(params)?;
    S::normalize(&mut params);
    S::check(&params)?;
    serde_json::to_value(&params).map_err(|e| ParamError::new("", e.to_string()))
}

/// What an output says in numbers, by name, such as `ppo-binary/in/gold`.
pub type Metrics = BTreeMap<String, f64>;

/// The stage kinds that a program knows, by name, and how it reads what they measure.
#[derive(Clone, Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, Kind>,
    metrics: Option<fn(&Path) -> io::Result<Metrics>>,
}

impl Registry {
    /// Adds a kind.
    ///
    /// # Panics
    /// If there is one of that name already.
    pub fn add(&mut self, kind: Kind) {
        let name = kind.name;
        assert!(self.kinds.insert(name, kind).is_none(), "two stage kinds are called `{name}`");
    }

    pub fn get(&self, name: &str) -> Option<&Kind> {
        self.kinds.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Kind> {
        self.kinds.values()
    }

    /// Sets how metrics are read of an output's file or folder; none where it holds none.
    pub fn read_metrics_with(&mut self, read: fn(&Path) -> io::Result<Metrics>) {
        self.metrics = Some(read);
    }

    /// The metrics of an output.
    ///
    /// # Errors
    /// If it has some that cannot be read.
    pub fn metrics(&self, path: &Path) -> io::Result<Metrics> {
        self.metrics.map_or(Ok(Metrics::new()), |read| read(path))
    }
}
