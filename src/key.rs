//! A stage instance's key: what its result depends on, and nothing else.
//!
//! No time, host, job count, cache path or attempt is in it. The content of the inputs is in it, not the keys of
//! their producers: a producer that reruns and gives the same bytes changes no key below it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stages::contract::Coordinates;

/// Changes whenever the same fields would give another digest, or the same digest another meaning.
pub const FORMAT: u32 = 1;

/// 64 hexadecimal digits of a blake3 hash: of a key, or of an artifact's content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest(String);

impl Digest {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash.to_hex().to_string())
    }
}

/// Only what is a digest becomes a part of a path.
impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(Self(text));
        }
        Err("expected 64 hexadecimal digits".into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What goes into a key. Stored with the result, so that a rerun can be explained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// [`FORMAT`].
    pub format: u32,
    /// The stage kind.
    pub kind: String,
    /// The fingerprint of the code that the kind runs.
    pub code: String,
    /// Canonical parameters.
    pub params: Value,
    /// The instance's seed.
    pub seed: u64,
    /// By input name, in order.
    pub inputs: BTreeMap<String, Vec<KeyInput>>,
}

/// One artifact that an instance reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInput {
    /// On the gathered axes: they label the artifact for the stage.
    pub coordinates: Coordinates,
    pub content: Digest,
}

impl Key {
    /// blake3 over the fields as canonical JSON.
    ///
    /// # Panics
    /// Never: all fields can be written as JSON.
    pub fn digest(&self) -> Digest {
        let Self { format, kind, code, params, seed, inputs } = self;
        let inputs = serde_json::to_value(inputs).expect("inputs are JSON");
        // In alphabetical order; the parameters, which are most of it, are not copied.
        let fields = [
            ("code", &Value::from(code.as_str())),
            ("format", &Value::from(*format)),
            ("inputs", &inputs),
            ("kind", &Value::from(kind.as_str())),
            ("params", params),
            ("seed", &Value::from(*seed)),
        ];
        let mut bytes = b"pipeline key\n".to_vec();
        object(fields.into_iter(), &mut bytes);
        blake3::hash(&bytes).into()
    }

    /// What differs from an earlier key, for people: `with.kl 0.05 -> 0.1`.
    pub fn differences(&self, earlier: &Self, known: &dyn Known) -> Vec<String> {
        let mut found = vec![];
        if self.kind != earlier.kind {
            found.push(format!("kind {} -> {}", earlier.kind, self.kind));
        }
        if self.code != earlier.code {
            found.push(format!("code: {}", known.code_change(&earlier.code, &self.code)));
        }
        found.extend(changes("with", &earlier.params, &self.params));
        for (name, items) in &self.inputs {
            match earlier.inputs.get(name) {
                Some(old) if old == items => {}
                Some(old) if old.len() != items.len() => {
                    found.extend(other_count(name, old.len(), items.len()));
                }
                Some(old) => found.push(format!("input {name}: {}", replaced(old, items, known))),
                None => found.push(format!("input {name} is new")),
            }
        }
        found.extend(
            earlier
                .inputs
                .keys()
                .filter(|n| !self.inputs.contains_key(*n))
                .map(|n| format!("input {n} is gone")),
        );
        if self.seed != earlier.seed {
            // The number says nothing: it is a hash of a name.
            found.push("another seed".into());
        }
        if self.format != earlier.format {
            found.push(format!("format of keys {} -> {}", earlier.format, self.format));
        }
        found
    }
}

/// JSON with sorted keys and no white space: equal values give equal bytes.
fn canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().map(|(key, value)| (key.as_str(), value)).collect();
            entries.sort_by_key(|(key, _)| *key);
            object(entries.into_iter(), out);
        }
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                canonical(item, out);
            }
            out.push(b']');
        }
        other => plain(other, out),
    }
}

fn plain(value: impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, &value).expect("a vector takes all");
}

fn object<'a>(entries: impl Iterator<Item = (&'a str, &'a Value)>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (i, (key, value)) in entries.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        plain(key, out);
        out.push(b':');
        canonical(value, out);
    }
    out.push(b'}');
}

/// What differs between two values, leaf by leaf: `with.kl 0.05 -> 0.1`.
pub fn changes(path: &str, old: &Value, new: &Value) -> Vec<String> {
    let mut found = vec![];
    compare(path, Some(old), Some(new), &mut found);
    found
}

/// What is known of what a key's hashes stand for, to put their differences in words.
pub trait Known {
    /// The instance that made a content.
    fn maker(&self, content: &Digest) -> Option<String>;

    /// What changed from one code fingerprint to another.
    fn code_change(&self, old: &str, new: &str) -> String;
}

/// What is said of an input with more or fewer artifacts than before.
pub fn other_count(name: &str, old: usize, new: usize) -> Option<String> {
    (old != new).then(|| format!("input {name} has {new} artifacts instead of {old}"))
}

/// What is said of an input with as many artifacts as before.
fn replaced(old: &[KeyInput], new: &[KeyInput], known: &dyn Known) -> String {
    let pairs = || old.iter().zip(new);
    let changed: Vec<&KeyInput> =
        pairs().filter(|(old, new)| old.content != new.content).map(|(_, new)| new).collect();
    if changed.is_empty() {
        let count = pairs().filter(|(old, new)| old.coordinates != new.coordinates).count();
        return format!("{count} of {} objects are labelled otherwise", new.len());
    }
    let count = match new.len() {
        1 => "the object differs".into(),
        all => format!("{} of {all} objects differ", changed.len()),
    };
    let mut makers: Vec<String> = changed.iter().filter_map(|item| known.maker(&item.content)).collect();
    makers.dedup();
    match makers.as_slice() {
        [] => count,
        [one] => format!("{count}, made by {one}"),
        [first, more @ ..] => format!("{count}, made by {first} and {} more", more.len()),
    }
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<String>) {
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(&path, old.get(key), new.get(key), found);
            }
        }
        (old, new) if old != new => {
            let show = |value: Option<&Value>| value.map_or("nothing".into(), short);
            found.push(format!("{path} {} -> {}", show(old), show(new)));
        }
        _ => {}
    }
}

/// A value in a few words. Parameters are f32 for the most part: what it prints is the shortest text that gives
/// the same f32 again.
pub fn short(value: &Value) -> String {
    let text = match value {
        Value::Number(n) if n.is_f64() => {
            let x = n.as_f64().unwrap_or_default();
            if f64::from(x as f32) == x { (x as f32).to_string() } else { x.to_string() }
        }
        other => other.to_string(),
    };
    if text.chars().count() <= 60 { text } else { text.chars().take(57).chain("...".chars()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn key() -> Key {
        let content = Digest::from(blake3::hash(b"content"));
        let coordinates = Coordinates::from([("seed".to_string(), "1".to_string())]);
        Key {
            format: FORMAT,
            kind: "ppo".into(),
            code: "c0de".into(),
            params: json!({ "kl": 0.05, "arm": "ppo-\"x\"", "nested": { "b": [1, null], "a": true } }),
            seed: u64::MAX,
            inputs: BTreeMap::from([("reward".to_string(), vec![KeyInput { coordinates, content }])]),
        }
    }

    /// A change here makes every cache start anew: raise [`FORMAT`] and say so in the changelog.
    #[test]
    fn the_digest_of_a_fixed_key_is_pinned() {
        assert_eq!(
            key().digest().as_str(),
            "7943d998cddb494efbb3347705bd5f1db68b6874fdb690055b7dd18923d20a3e"
        );
    }

    #[test]
    fn every_field_changes_the_digest() {
        let changes: [fn(&mut Key); 9] = [
            |k| k.format += 1,
            |k| k.kind.push('x'),
            |k| k.code.push('x'),
            |k| k.params["kl"] = json!(0.1),
            |k| k.params["nested"]["b"][0] = json!("1"),
            |k| k.seed -= 1,
            |k| k.inputs.get_mut("reward").unwrap()[0].content = blake3::hash(b"other").into(),
            |k| drop(k.inputs.get_mut("reward").unwrap()[0].coordinates.insert("a".into(), "b".into())),
            |k| drop(k.inputs.insert("other".into(), vec![])),
        ];
        let digests: std::collections::BTreeSet<Digest> = changes
            .iter()
            .map(|change| {
                let mut key = key();
                change(&mut key);
                key.digest()
            })
            .chain([key().digest()])
            .collect();
        assert_eq!(digests.len(), changes.len() + 1);
    }

    #[test]
    fn differences_are_told_in_words() {
        let (old, mut new) = (key(), key());
        new.params["kl"] = json!(f64::from(0.1_f32));
        new.params["nested"]["a"] = json!(false);
        new.code = "other".into();
        new.inputs.get_mut("reward").unwrap()[0].content = blake3::hash(b"other").into();
        let differ = ["code: c0de became other", "with.kl 0.05 -> 0.1", "with.nested.a true -> false"];
        let with = |input: &'static str| [&differ[..], &[input]].concat();
        assert_eq!(new.differences(&old, &Rumour(None)), with("input reward: the object differs"));
        let input = "input reward: the object differs, made by rm[seed=1]";
        assert_eq!(new.differences(&old, &Rumour(Some("rm[seed=1]"))), with(input));
        assert!(old.differences(&key(), &Rumour(None)).is_empty());
    }

    /// Knows the maker of what is called other.
    struct Rumour(Option<&'static str>);

    impl Known for Rumour {
        fn maker(&self, content: &Digest) -> Option<String> {
            assert_eq!(*content, Digest::from(blake3::hash(b"other")));
            self.0.map(String::from)
        }

        fn code_change(&self, old: &str, new: &str) -> String {
            format!("{old} became {new}")
        }
    }

    #[test]
    fn only_a_digest_is_a_digest() {
        for text in ["", "../../etc/passwd", &"A".repeat(64), &"a".repeat(63)] {
            assert!(Digest::try_from(text.to_string()).is_err(), "{text}");
        }
        assert!(Digest::try_from("0a".repeat(32)).is_ok());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            // No experiment has -0.0: it is read as 0.0, which it equals.
            any::<f64>().prop_map(|x| Value::from(x + 0.0)),
            "[ -~]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c\"\\\\]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Canonical JSON says all that a value has: it can be read back, and different values differ.
        #[test]
        fn canonical_json_is_faithful(a in any_json(), b in any_json()) {
            let write = |value: &Value| {
                let mut bytes = vec![];
                canonical(value, &mut bytes);
                bytes
            };
            prop_assert_eq!(&serde_json::from_slice::<Value>(&write(&a)).unwrap(), &a);
            prop_assert_eq!(write(&a) == write(&b), a == b);
        }
    }
}
