//! What code fingerprints stand for: their parts, in `code/<fingerprint>.json`, so that it can be said which changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::PathBuf,
};

use super::folder::Store;
use crate::files::{self, draft_in};

/// No list of parts is larger, in bytes.
const LARGEST: u64 = 1 << 22;

/// Changed parts that are named.
const NAMED: usize = 3;

/// The parts of a piece of code, each with a hash or a version.
pub type Parts = BTreeMap<String, String>;

impl Store {
    fn code_path(&self, fingerprint: &str) -> Option<PathBuf> {
        // Only what is a fingerprint becomes a part of a path.
        let is_one = !fingerprint.is_empty() && fingerprint.bytes().all(|b| b.is_ascii_hexdigit());
        is_one.then(|| self.root().join("code").join(format!("{fingerprint}.json")))
    }

    /// Remembers what a fingerprint stands for. Where it cannot be written nothing is lost but an explanation.
    pub fn remember_code(&self, fingerprint: &str, parts: &[(&str, &str)]) {
        let path = self.code_path(fingerprint).filter(|path| !parts.is_empty() && !path.exists());
        let Some(path) = path else { return };
        let parts: BTreeMap<&str, &str> = parts.iter().copied().collect();
        let write = || {
            let folder = path.parent().unwrap_or(self.root());
            fs::create_dir_all(folder)?;
            let mut draft = draft_in(folder)?;
            draft.write_all(&serde_json::to_vec(&parts)?)?;
            draft.persist(&path).map_err(|e| e.error)
        };
        if let Err(e) = write() {
            tracing::debug!(error = %e, "what the code consists of cannot be remembered");
        }
    }

    /// What a fingerprint stands for, where that is remembered.
    pub fn code(&self, fingerprint: &str) -> Option<Parts> {
        serde_json::from_slice(&files::read(&self.code_path(fingerprint)?, LARGEST).ok()?).ok()
    }
}

/// What changed from one piece of code to another, in words: `stages::ppo::objective changed`.
pub fn code_change(old: Option<&Parts>, new: Option<&Parts>) -> String {
    let (Some(old), Some(new)) = (old, new) else { return "changed".into() };
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |name: &String| match (old.get(name), new.get(name)) {
        (Some(a), Some(b)) if a == b => None,
        (Some(a), Some(b)) if name.starts_with("crate ") => {
            Some(format!("{name} {} -> {}", version(a), version(b)))
        }
        (Some(_), Some(_)) => Some(format!("{name} changed")),
        (None, _) => Some(format!("{name} is new")),
        (_, None) => Some(format!("{name} is gone")),
    };
    let changes: Vec<String> = names.into_iter().filter_map(change).collect();
    let more = changes.len().saturating_sub(NAMED);
    let named = changes[..changes.len() - more].join(", ");
    match (named.is_empty(), more) {
        (true, _) => "changed".into(),
        (_, 0) => named,
        _ => format!("{named} and {more} more"),
    }
}

/// `1.0.1` of `1.0.1 0a1b2c3d`.
fn version(part: &str) -> &str {
    part.split(' ').next().unwrap_or(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let change = |a: &str, b: &str| code_change(store.code(a).as_ref(), store.code(b).as_ref());
        store.remember_code("a1", &[("compiler", "x"), ("crate gemm", "1.0.0 ab"), ("stages::ppo", "1")]);
        store.remember_code(
            "b2",
            &[("compiler", "x"), ("crate gemm", "1.0.1 cd"), ("stages::ppo", "2"), ("stages::z", "3")],
        );
        let all = "crate gemm 1.0.0 -> 1.0.1, stages::ppo changed, stages::z is new";
        assert_eq!(change("a1", "b2"), all);
        for unknown in ["c3", "", "../a1"] {
            assert_eq!(change(unknown, "b2"), "changed", "{unknown}");
        }
        store.remember_code("../c", &[("a", "b")]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing leaves the folder");
        let parts = ["a", "b", "c", "d", "e"].map(|name| (name, ""));
        store.remember_code("d4", &parts);
        store.remember_code("e5", &[("e", "")]);
        assert_eq!(change("d4", "e5"), "a is gone, b is gone, c is gone and 1 more");
    }
}
