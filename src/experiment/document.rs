//! The experiment as a tree of values, each with the place that it came from.

use std::{fs, io::Read, path::Path as FilePath};

use serde_json::{Map, Number, Value};

use super::{
    choice::{choose, unknown},
    did_you_mean,
    model::Experiment,
    places::{Path, Places, Source, not_yaml},
    wording::{Wording, reword},
};
use crate::error::{Error, Place, Result};

/// No experiment file is larger, in bytes.
const LARGEST: u64 = 1 << 20;

/// The tree that results from a file, a profile and overrides.
pub struct Document {
    value: Value,
    places: Places,
}

impl Document {
    /// Reads a YAML file.
    ///
    /// # Errors
    /// If it cannot be read, is larger than 1 MiB, is no text, or is refused by [`Document::parse`].
    pub fn read(file: &FilePath) -> Result<Self> {
        let name = file.display().to_string();
        let fail = |e: std::io::Error| {
            Error::experiment(format!("cannot read the experiment file `{name}`: {e}"))
                .hint("name the file with `-f FILE`, or run in a folder that has a `pipeline.yaml`")
        };
        let mut bytes = vec![];
        let opened = fs::File::open(file).map_err(fail)?;
        opened.take(LARGEST + 1).read_to_end(&mut bytes).map_err(fail)?;
        if bytes.len() as u64 > LARGEST {
            return Err(Error::experiment(format!("`{name}` has more than {LARGEST} bytes"))
                .hint("an experiment file describes stages; put data into files of their own"));
        }
        let text = str::from_utf8(&bytes).map_err(|e| {
            let good = String::from_utf8_lossy(&bytes[..e.valid_up_to()]);
            let line = good.matches('\n').count() + 1;
            let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let text = String::from_utf8_lossy(&bytes);
            Error::experiment(format!("`{name}` is not text in UTF-8"))
                .hint("save it as UTF-8 in your editor")
                .at(Some(Source { file: &name, text: &text }.place(line, column, 1)))
        })?;
        Self::parse(&name, text)
    }

    /// As [`Document::read`], from a text; `name` is what messages call the file.
    ///
    /// # Errors
    /// If it is not one document of YAML, has a key twice, or has a value that no experiment has.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let source = Source { file: name, text: text.strip_prefix('\u{feff}').unwrap_or(text) };
        let places = Places::of(source)?;
        let syntax = |e: serde_yaml::Error| {
            let place = e.location().map(|l| source.place(l.line(), l.column(), 1));
            not_yaml(source, e).at(place.or_else(|| places.value(&[""; 0])))
        };
        let mut yaml: serde_yaml::Value = serde_yaml::from_str(source.text).map_err(syntax)?;
        yaml.apply_merge().map_err(|e| {
            Error::experiment(format!("nothing can be merged here: {e}"))
                .hint("write `<<: *name`, where `&name` marks a map")
                .at(places.first_key("<<"))
        })?;
        let mut path = vec![];
        let value = plain(yaml, &mut path).map_err(|Unfit { message, hint }| {
            Error::experiment(message).hint(hint).at(places.value(&path))
        })?;
        if !value.is_object() {
            let message =
                format!("`{name}` holds no experiment: expected a map of `name`, `axes` and `stages`");
            return Err(Error::experiment(message).hint("the README shows one").at(Some(source.place(
                1,
                1,
                usize::MAX,
            ))));
        }
        Ok(Self { value, places })
    }

    /// The tree as it is.
    pub fn into_value(self) -> Value {
        self.value
    }

    /// Merges `profiles.NAME` over the document: maps key by key, anything else as a whole; `null` takes away. A list
    /// over an axis that is a map chooses among its values, unless it has none of them.
    ///
    /// # Errors
    /// If there is no such profile, it is no map, or it chooses a value that an axis does not have.
    pub fn select_profile(&mut self, name: &str) -> Result<()> {
        let profiles = self.value.get("profiles").and_then(Value::as_object);
        let Some(mut profile) = profiles.and_then(|p| p.get(name)).cloned() else {
            let known = profiles.into_iter().flatten().map(|(k, _)| k.as_str());
            return Err(Error::experiment(format!("there is no profile `{name}`"))
                .hint(did_you_mean(name, known))
                .at(profiles.and_then(|_| self.place(&["profiles"]))));
        };
        if !profile.is_object() {
            return Err(Error::experiment(format!("profile `{name}` is no map of what it changes"))
                .hint("write what it changes below it, as in `axes: { seed: [1, 2] }`")
                .at(self.place(&["profiles", name])));
        }
        for (axis, new) in profile.get_mut("axes").and_then(Value::as_object_mut).into_iter().flatten() {
            let (Value::Object(old), Value::Array(list)) = (&self.value["axes"][axis], &*new) else {
                continue;
            };
            match choose(axis, old, list) {
                Ok(names) => {
                    let others = old.keys().filter(|key| !names.contains(*key));
                    *new = others.map(|key| (key.clone(), Value::Null)).collect();
                }
                Err(e) if e.is_all => {}
                Err(e) => {
                    let place = self.place(&["profiles", name, "axes", axis, &e.index.to_string()]);
                    return Err(Error::experiment(e.message).hint(e.hint).at(place));
                }
            }
        }
        self.places.lift(&["profiles".into(), name.into()]);
        merge(&mut self.value, profile);
        Ok(())
    }

    /// Applies an override `PATH=VALUE`: a dotted path and a YAML value.
    ///
    /// # Errors
    /// If it has no `=`, the value is not YAML, or it names a stage, an axis or a value of a map that is not there.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let place = Place::Option(format!("--set {assignment}"));
        let fail = |message: String| Error::experiment(message).at(Some(place.clone()));
        let usage = "write `--set PATH=VALUE`, as in `--set stages.ppo.with.kl=0.1`";
        let (path, text) =
            assignment.split_once('=').ok_or_else(|| fail("an override needs a `=`".into()).hint(usage))?;
        let path: Path = path.split('.').map(|part| part.trim().to_string()).collect();
        if path.iter().any(String::is_empty) {
            return Err(fail("an override's path has an empty part".into()).hint(usage));
        }
        if path[0] == "profiles" {
            return Err(fail("an override comes after the profile is merged".into()).hint(
                "name what the profile changes: `--set axes.seed=[1]`, not `profiles.full.axes.seed`",
            ));
        }
        Places::of(Source { file: "VALUE", text }).map_err(|e| fail(e.message).hint(usage))?;
        let yaml: serde_yaml::Value = serde_yaml::from_str(text)
            .map_err(|e| fail(format!("`VALUE` is not valid YAML: {e}")).hint(usage))?;
        let new = plain(yaml, &mut vec![]).map_err(|e| fail(e.message).hint(e.hint))?;

        let mut node = &mut self.value;
        for (depth, part) in path.iter().enumerate() {
            let inside = path[..depth].join(".");
            if let Value::Array(items) = node {
                let count = items.len();
                let item = part.parse::<usize>().ok().and_then(|i| items.get_mut(i));
                node = item.ok_or_else(|| {
                    fail(format!("`{inside}` has {count} items, and none is numbered `{part}`"))
                        .hint("items are numbered from 0; or set the whole list")
                })?;
                continue;
            }
            // A key with nothing after it.
            if node.is_null() {
                *node = Value::Object(Map::new());
            }
            let Value::Object(map) = node else {
                return Err(fail(format!("`{inside}` is a single value: nothing stands below it"))
                    .hint(format!("set `{inside}` itself")));
            };
            if !map.contains_key(part) {
                // A new stage or axis on the command line is a slip of the pen.
                if matches!(inside.as_str(), "stages" | "axes") {
                    let what = if inside == "stages" { "stage" } else { "axis" };
                    let hint = did_you_mean(part, map.keys().map(String::as_str));
                    return Err(fail(format!("there is no {what} `{part}`")).hint(hint));
                }
                if path[0] == "axes" && depth == 2 {
                    let unknown = unknown(&path[1], map, part);
                    return Err(fail(unknown.message).hint(unknown.hint));
                }
                let last = depth + 1 == path.len();
                map.insert(part.clone(), if last { Value::Null } else { Value::Object(Map::new()) });
                self.places.replace(&path[..=depth], &place);
            }
            node = &mut map[part];
        }
        if let ([axes, axis], Value::Object(old), Value::Array(list)) = (path.as_slice(), &mut *node, &new)
            && axes == "axes"
            && !list.is_empty()
        {
            let names = choose(axis, old, list).map_err(|e| fail(e.message).hint(e.hint))?;
            old.retain(|key, _| names.contains(key));
            return Ok(());
        }
        *node = new;
        self.places.replace(&path, &place);
        Ok(())
    }

    /// The place of a value, or of the nearest thing above it that has one.
    pub fn place(&self, path: &[&str]) -> Option<Place> {
        self.places.value(path)
    }

    /// As [`Document::place`], of its key.
    pub fn key_place(&self, path: &[&str]) -> Option<Place> {
        self.places.key(path)
    }

    /// The typed experiment.
    ///
    /// # Errors
    /// If something is not known, missing, or of the wrong type.
    pub fn experiment(&self) -> Result<Experiment> {
        serde_path_to_error::deserialize(&self.value).map_err(|e| {
            let path = e.path().iter().filter_map(|segment| match segment {
                serde_path_to_error::Segment::Map { key } => Some(key.clone()),
                serde_path_to_error::Segment::Seq { index } => Some(index.to_string()),
                _ => None,
            });
            self.refusal(path.collect(), &e.inner().to_string())
        })
    }

    /// An error about what stands at `path`, from a message of serde's.
    pub fn refusal(&self, mut path: Path, message: &str) -> Error {
        let Wording { message, hint, unknown_key } = reword(message);
        let place = match unknown_key {
            Some(key) => {
                if path.last() != Some(&key) {
                    path.push(key);
                }
                self.places.key(&path)
            }
            None => self.places.value(&path),
        };
        let whole = if path.is_empty() { String::new() } else { format!("`{}`: ", path.join(".")) };
        let hint = hint.unwrap_or_else(|| "`pipeline schema` prints what may stand where".into());
        Error::experiment(format!("{whole}{message}")).hint(hint).at(place)
    }
}

/// A value of YAML that no experiment has.
struct Unfit {
    message: String,
    hint: &'static str,
}

/// The value as JSON has it. In an error `path` is left at what is at fault.
fn plain(yaml: serde_yaml::Value, path: &mut Path) -> Result<Value, Unfit> {
    use serde_yaml::Value as Yaml;
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(truth) => truth.into(),
        Yaml::String(text) => text.into(),
        Yaml::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(whole), ..) => whole.into(),
            (_, Some(whole), _) => whole.into(),
            // `-0.0` is `0.0`: equal parameters have one key.
            (.., float) => {
                float.and_then(|x| Number::from_f64(x + 0.0)).map(Value::from).ok_or_else(|| Unfit {
                    message: format!("`{number}` is no number to count with"),
                    hint: "write a finite number",
                })?
            }
        },
        Yaml::Sequence(items) => {
            let mut plain_items = vec![];
            for (index, item) in items.into_iter().enumerate() {
                path.push(index.to_string());
                plain_items.push(plain(item, path)?);
                path.pop();
            }
            plain_items.into()
        }
        Yaml::Mapping(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let key = match key {
                    Yaml::String(text) => text,
                    Yaml::Number(number) => number.to_string(),
                    Yaml::Bool(truth) => truth.to_string(),
                    _ => return Err(Unfit { message: "a key must be a text".into(), hint: "name it" }),
                };
                path.push(key.clone());
                // Two texts of one number, for the same text is refused before.
                if map.insert(key, plain(value, path)?).is_some() {
                    return Err(Unfit { message: "a key is there twice".into(), hint: "keep one of them" });
                }
                path.pop();
            }
            map.into()
        }
        Yaml::Tagged(tagged) => {
            let message = format!("the tag `{}` means nothing here", tagged.tag);
            return Err(Unfit { message, hint: "take it out, or quote the text" });
        }
    })
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
