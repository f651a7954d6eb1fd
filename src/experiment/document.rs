//! The experiment as a tree of values, each with the place that it came from.

use std::{collections::BTreeMap, fs, io::Read, path::Path as FilePath};

use serde_json::{Map, Value};

use super::{
    did_you_mean,
    model::Experiment,
    places::{Path, places},
};
use crate::error::{Error, Place, Result};

/// No experiment file is larger, in bytes.
const LARGEST: u64 = 1 << 20;

/// The tree that results from a file, a profile and overrides.
pub struct Document {
    value: Value,
    places: BTreeMap<Path, Place>,
}

impl Document {
    /// Reads a YAML file.
    ///
    /// # Errors
    /// If it cannot be read, is larger than 1 MiB, is not YAML, or says a key twice.
    pub fn read(file: &FilePath) -> Result<Self> {
        let name = file.display().to_string();
        let mut text = String::new();
        let opened = fs::File::open(file).map_err(|e| {
            Error::experiment(format!("cannot read the experiment file `{name}`: {e}"))
                .hint("name the file with `-f FILE`, or run in a folder that has a `pipeline.yaml`")
        })?;
        opened
            .take(LARGEST + 1)
            .read_to_string(&mut text)
            .map_err(|e| Error::experiment(format!("cannot read the experiment file `{name}`: {e}")))?;
        if text.len() as u64 > LARGEST {
            return Err(Error::experiment(format!("`{name}` has more than {LARGEST} bytes"))
                .hint("an experiment file describes stages; put data into files of their own"));
        }
        Self::parse(&name, &text)
    }

    /// As [`Document::read`], from a text; `name` is what messages call the file.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let syntax = |e: serde_yaml::Error| {
            let place = e.location().map(|l| Place::File {
                file: name.into(),
                line: l.line().max(1),
                column: l.column().max(1),
                text: text.lines().nth(l.line().max(1) - 1).unwrap_or_default().into(),
                width: 1,
            });
            Error::experiment(format!("`{name}` is not valid YAML: {e}")).at(place)
        };
        let mut yaml: serde_yaml::Value = serde_yaml::from_str(text).map_err(syntax)?;
        yaml.apply_merge().map_err(syntax)?;
        let value: Value = serde_json::to_value(&yaml)
            .map_err(|e| Error::experiment(format!("`{name}` has a key that is not text: {e}")))?;
        if !value.is_object() {
            return Err(Error::experiment(format!(
                "`{name}` holds no experiment: expected a map of `name`, `axes` and `stages`"
            )));
        }
        let places = places(name, text)
            .map_err(|e| Error::experiment(format!("`{name}` is not valid YAML: {}", e.info())))?;
        Ok(Self { value, places })
    }

    /// Merges `profiles.NAME` over the document: maps key by key, anything else as a whole; `null` takes away.
    pub fn select_profile(&mut self, name: &str) -> Result<()> {
        let profiles = self.value.get("profiles").and_then(Value::as_object);
        let Some(profile) = profiles.and_then(|p| p.get(name)).cloned() else {
            let known = profiles.into_iter().flatten().map(|(k, _)| k.as_str());
            return Err(Error::experiment(format!("there is no profile `{name}`"))
                .hint(did_you_mean(name, known))
                .at(profiles.and_then(|_| self.place(&["profiles"]))));
        };
        if !profile.is_object() {
            return Err(Error::experiment(format!("profile `{name}` is no map of what it changes"))
                .at(self.place(&["profiles", name])));
        }
        let prefix: Path = vec!["profiles".into(), name.into()];
        let moved: Vec<(Path, Place)> = self
            .places
            .range(prefix.clone()..)
            .take_while(|(path, _)| path.starts_with(&prefix))
            .map(|(path, place)| (path[2..].to_vec(), place.clone()))
            .filter(|(path, _)| !path.is_empty())
            .collect();
        self.places.extend(moved);
        merge(&mut self.value, profile);
        Ok(())
    }

    /// Applies an override `PATH=VALUE`: a dotted path and a YAML value.
    ///
    /// # Errors
    /// If it has no `=`, the value is not YAML, or the path names a stage or an axis that is not there.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let place = Some(Place::Option(format!("--set {assignment}")));
        let fail = |message: String| Error::experiment(message).at(place.clone());
        let usage = "write `--set PATH=VALUE`, as in `--set stages.ppo.with.kl=0.1`";
        let (path, text) =
            assignment.split_once('=').ok_or_else(|| fail("an override needs a `=`".into()).hint(usage))?;
        let path: Path = path.split('.').map(|part| part.trim().to_string()).collect();
        if path.iter().any(String::is_empty) {
            return Err(fail("an override's path has an empty part".into()).hint(usage));
        }
        let yaml: serde_yaml::Value =
            serde_yaml::from_str(text).map_err(|e| fail(format!("the value is not valid YAML: {e}")))?;
        let new = serde_json::to_value(&yaml).map_err(|e| fail(format!("the value cannot be used: {e}")))?;

        let mut node = &mut self.value;
        for (depth, part) in path.iter().enumerate() {
            let inside = path[..depth].join(".");
            if let Value::Array(items) = node {
                let count = items.len();
                let item = part.parse::<usize>().ok().and_then(|i| items.get_mut(i));
                node = item.ok_or_else(|| {
                    fail(format!("`{inside}` has {count} items, and none is numbered `{part}`"))
                })?;
                continue;
            }
            let Value::Object(map) = node else {
                return Err(fail(format!("`{inside}` is a single value: nothing stands below it")));
            };
            // A new stage or axis on the command line is a slip of the pen.
            if !map.contains_key(part) && matches!(inside.as_str(), "stages" | "axes") {
                let what = if inside == "stages" { "stage" } else { "axis" };
                let hint = did_you_mean(part, map.keys().map(String::as_str));
                return Err(fail(format!("there is no {what} `{part}`")).hint(hint));
            }
            let last = depth + 1 == path.len();
            let empty = || if last { Value::Null } else { Value::Object(Map::new()) };
            node = map.entry(part.clone()).or_insert_with(empty);
        }
        *node = new;
        self.places.retain(|known, _| !known.starts_with(&path));
        self.places.insert(path, Place::Option(format!("--set {assignment}")));
        Ok(())
    }

    /// The place of a path, or of the nearest thing above it that has one.
    pub fn place(&self, path: &[&str]) -> Option<Place> {
        let path: Path = path.iter().map(ToString::to_string).collect();
        (0..=path.len()).rev().find_map(|n| self.places.get(&path[..n])).cloned()
    }

    /// The typed experiment.
    pub fn experiment(&self) -> Result<Experiment> {
        let mut value = self.value.clone();
        if let Value::Object(map) = &mut value {
            map.remove("profiles");
        }
        serde_path_to_error::deserialize(value).map_err(|e| {
            let mut path: Path = e
                .path()
                .iter()
                .filter_map(|segment| match segment {
                    serde_path_to_error::Segment::Map { key } => Some(key.clone()),
                    serde_path_to_error::Segment::Seq { index } => Some(index.to_string()),
                    _ => None,
                })
                .collect();
            self.refusal(&mut path, &e.into_inner().to_string())
        })
    }

    /// An error about what stands at `path`, from a message of serde's.
    pub fn refusal(&self, path: &mut Path, message: &str) -> Error {
        let mut names = message.split('`').skip(1).step_by(2);
        let hint = if message.starts_with("unknown field") || message.starts_with("unknown variant") {
            let found = names.next().unwrap_or_default();
            if message.starts_with("unknown field") && path.last().is_none_or(|last| last != found) {
                path.push(found.to_string());
            }
            Some(did_you_mean(found, names))
        } else {
            None
        };
        let place = self.place(&path.iter().map(String::as_str).collect::<Vec<_>>());
        let whole = if path.is_empty() { String::new() } else { format!("`{}`: ", path.join(".")) };
        Error { hint, ..Error::experiment(format!("{whole}{message}")).at(place) }
    }
}

fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    base.remove(&key);
                } else if let Some(old) = base.get_mut(&key) {
                    merge(old, value);
                } else {
                    base.insert(key, value);
                }
            }
        }
        (base, over) => *base = over,
    }
}
