//! Results as one file, to be handed to somebody else: a tar archive laid out as the store is.
//!
//! Nothing in an archive is believed: every object is hashed, every record's key is, and a record is taken in only when all
//! that it names is there.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read, Seek, Write},
    path::{Component, Path},
};

use super::{
    content::content_of,
    folder::{LARGEST_RECORD, Lookup, Store, read_record},
};
use crate::key::Digest;

/// What an archive held.
#[derive(Debug, Default)]
pub struct Imported {
    pub results: usize,
    pub objects: usize,
    /// Files that were below `runs/`: their names and contents.
    pub runs: Vec<(String, Vec<u8>)>,
}

/// The records of runs in an archive are not larger together, in bytes.
const LARGEST_RUNS: u64 = 1 << 28;
/// No name is longer, in bytes.
const LARGEST_NAME: u64 = 1 << 12;

impl Store {
    /// Writes the results of some keys, with all their objects, and `runs`: names and contents of files below `runs/`.
    ///
    /// # Errors
    /// If a key has no sound result.
    pub fn export(
        &self,
        keys: &BTreeSet<Digest>,
        runs: &[(String, Vec<u8>)],
        to: &mut impl Write,
    ) -> io::Result<()> {
        let mut archive = tar::Builder::new(to);
        archive.mode(tar::HeaderMode::Deterministic);
        let mut written = BTreeSet::new();
        for key in keys {
            let record = read_record(&self.result(key))
                .map_err(|e| io::Error::other(format!("the result {} cannot be read: {e}", key.short())))?;
            for (name, stored) in &record.outputs {
                if !written.insert(stored.content.clone()) {
                    continue;
                }
                let object = self.object(&stored.content);
                if !content_of(&object).is_ok_and(|found| found.digest == stored.content) {
                    let message = format!("the output `{name}` of the result {} is damaged", key.short());
                    return Err(io::Error::other(message));
                }
                let place = object.strip_prefix(self.root()).map_err(io::Error::other)?;
                if object.is_dir() {
                    archive.append_dir_all(place, &object)?;
                } else {
                    archive.append_path_with_name(&object, place)?;
                }
            }
            archive.append_path_with_name(self.result(key), format!("results/{key}.json"))?;
        }
        for (name, bytes) in runs {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            archive.append_data(&mut header, format!("runs/{name}"), bytes.as_slice())?;
        }
        archive.into_inner()?.flush()
    }

    /// Takes in what [`Store::export`] wrote.
    ///
    /// # Errors
    /// If it is no such archive, or something in it is not what it says. Sound objects that came before stay; no
    /// record of something unsound does.
    pub fn import(&self, mut from: impl Read + Seek) -> io::Result<Imported> {
        check_names(&mut from)?;
        from.rewind()?;
        let folder = self.root().join("work");
        fs::create_dir_all(&folder)?;
        let draft = tempfile::Builder::new().prefix("import-").tempdir_in(folder)?;
        let mut imported = Imported::default();
        let (mut objects, mut results) = (BTreeSet::new(), BTreeSet::new());
        let mut room_for_runs = LARGEST_RUNS;
        for entry in tar::Archive::new(from).entries()? {
            let mut entry = entry?;
            let kind = entry.header().entry_type();
            let path = entry.path()?.into_owned();
            let place =
                place(&path).filter(|_| kind.is_file() || kind.is_dir()).ok_or_else(|| no_place(&path))?;
            match place {
                Place::Run(name) if kind.is_file() => {
                    room_for_runs = room_for_runs
                        .checked_sub(entry.size())
                        .ok_or_else(|| too_large(&path, entry.size()))?;
                    let mut bytes = vec![];
                    entry.read_to_end(&mut bytes)?;
                    imported.runs.push((name, bytes));
                    continue;
                }
                Place::Object(address) => drop(objects.insert(address)),
                Place::Result(_) if entry.size() > LARGEST_RECORD => {
                    return Err(too_large(&path, entry.size()));
                }
                Place::Result(key) => drop(results.insert(key)),
                Place::Folder | Place::Run(_) => {}
            }
            entry.set_preserve_permissions(false);
            if !entry.unpack_in(draft.path())? {
                return Err(io::Error::other(format!("`{}` leads out of the archive", path.display())));
            }
        }
        let draft = Self::new(draft.path());
        for address in &objects {
            let path = draft.object(address);
            if content_of(&path)?.digest != *address {
                return Err(io::Error::other(format!("the object {} is not what it says", address.short())));
            }
            self.take_in(&path)?;
        }
        imported.objects = objects.len();
        for key in &results {
            let record = read_record(&draft.result(key))?;
            let unsound = |why: &str| io::Error::other(format!("the result {} {why}", key.short()));
            if record.key.digest() != *key {
                return Err(unsound("is of another key"));
            }
            if record.outputs.values().any(|stored| !self.object(&stored.content).exists()) {
                return Err(unsound("names an object that the archive does not have"));
            }
            // What is here and sound stays: an archive is somebody's word.
            if !matches!(self.lookup(key), Lookup::Hit(_)) {
                self.record(key, &record)?;
            }
            imported.results += 1;
        }
        Ok(imported)
    }
}

/// Long names come before what they name, as entries that are read into memory: before that is seen that they are names. No
/// other kind of entry that says something of the next one is taken; an export has none.
fn check_names(from: impl Read + Seek) -> io::Result<()> {
    for entry in tar::Archive::new(from).entries_with_seek()?.raw(true) {
        let entry = entry?;
        let (path, kind, size) = (entry.path()?, entry.header().entry_type(), entry.size());
        if kind.is_gnu_longname() && size > LARGEST_NAME {
            return Err(too_large(&path, size));
        }
        if !(kind.is_file() || kind.is_dir() || kind.is_gnu_longname()) {
            return Err(no_place(&path));
        }
    }
    Ok(())
}

fn no_place(path: &Path) -> io::Error {
    let message = format!("`{}` has no place in an archive of results", path.display());
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn too_large(path: &Path, size: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("`{}` is too large: {size} bytes", path.display()))
}

/// What a path in an archive stands for.
enum Place {
    /// A folder above others.
    Folder,
    Object(Digest),
    Result(Digest),
    Run(String),
}

fn place(path: &Path) -> Option<Place> {
    let part = |part: Component| match part {
        Component::Normal(name) => name.to_str().map(String::from),
        _ => None,
    };
    let parts = path.components().map(part).collect::<Option<Vec<String>>>()?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["objects" | "results" | "runs"] => Some(Place::Folder),
        ["objects", head] if head.len() == 2 => Some(Place::Folder),
        ["objects", head, tail, ..] if head.len() == 2 => {
            Digest::try_from(format!("{head}{tail}")).ok().map(Place::Object)
        }
        ["results", name] => {
            Digest::try_from(name.strip_suffix(".json")?.to_string()).ok().map(Place::Result)
        }
        ["runs", name] => Some(Place::Run((*name).into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_store_has_has_a_place() {
        let digest = "0a".repeat(32);
        for path in
            [format!("results/{digest}.json"), format!("objects/{}/{}/a/b", &digest[..2], &digest[2..])]
        {
            assert!(place(Path::new(&path)).is_some(), "{path}");
        }
        for path in [
            "",
            "x",
            "../results",
            "/etc/passwd",
            "objects/../../x",
            "results/x.json",
            "work/x",
            "locks/cache",
        ] {
            assert!(place(Path::new(path)).is_none(), "{path}");
        }
    }
}
