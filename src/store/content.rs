//! The address of a file or a folder.

use std::{
    collections::BTreeMap,
    fs::{self, File, FileType},
    io::{self, Read},
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::key::Digest;

/// What an artifact, or one of its files, holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    pub digest: Digest,
    pub bytes: u64,
}

/// What an artifact consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Listing {
    File(Content),
    /// By their `/`-separated names in the folder.
    Folder(BTreeMap<String, Content>),
}

impl Listing {
    /// Reads every byte of an artifact.
    ///
    /// # Errors
    /// Where something cannot be read, or is neither a file nor a folder: a link would lead out of the store.
    pub fn of(path: &Path) -> io::Result<Self> {
        let entries = walk(path)?;
        if entries.first().is_some_and(|artifact| !artifact.is_folder) {
            return of_file(path).map(Self::File);
        }
        let files = entries.into_par_iter().filter(|entry| !entry.is_folder);
        files.map(|file| Ok((file.name, of_file(&file.path)?))).collect::<io::Result<_>>().map(Self::Folder)
    }

    /// The address: of a file the blake3 of its bytes, as `b3sum` prints it; of a folder the blake3 of its files' names
    /// and contents, in order.
    pub fn content(&self) -> Content {
        let files = match self {
            Self::File(content) => return content.clone(),
            Self::Folder(files) => files,
        };
        let mut hash = blake3::Hasher::new_derive_key("pipeline 2026-11 folder");
        for (name, content) in files {
            hash.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
            hash.update(content.digest.as_str().as_bytes());
        }
        // Of a folder that nobody made the sum may be anything.
        let bytes = files.values().fold(0_u64, |sum, content| sum.saturating_add(content.bytes));
        Content { digest: hash.finalize().into(), bytes }
    }
}

/// The content of a file or a folder; see [`Listing`].
///
/// # Errors
/// As [`Listing::of`].
pub fn content_of(path: &Path) -> io::Result<Content> {
    Listing::of(path).map(|listing| listing.content())
}

/// An artifact, or what is in its folder.
pub(super) struct Entry {
    /// In the artifact, `/`-separated; it is called "" itself.
    pub name: String,
    pub path: PathBuf,
    pub is_folder: bool,
}

impl Entry {
    fn new(name: String, path: PathBuf, kind: FileType) -> io::Result<Self> {
        if kind.is_file() || kind.is_dir() {
            return Ok(Self { name, path, is_folder: kind.is_dir() });
        }
        Err(io::Error::other(format!("`{}` is neither a file nor a folder", path.display())))
    }
}

/// An artifact and all that is in it, a folder before what it holds.
///
/// # Errors
/// As [`Listing::of`].
pub(super) fn walk(artifact: &Path) -> io::Result<Vec<Entry>> {
    let kind = fs::symlink_metadata(artifact)?.file_type();
    let mut found = vec![Entry::new(String::new(), artifact.to_path_buf(), kind)?];
    let mut seen = 0;
    while let Some(Entry { name, path, is_folder }) = found.get(seen) {
        let inside = if *is_folder { Some(fs::read_dir(path)?) } else { None };
        let prefix = if name.is_empty() { String::new() } else { format!("{name}/") };
        for entry in inside.into_iter().flatten() {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            let Ok(name) = entry.file_name().into_string() else {
                return Err(io::Error::other(format!("the name of `{}` is not text", path.display())));
            };
            found.push(Entry::new(prefix.clone() + &name, path, kind)?);
        }
        seen += 1;
    }
    Ok(found)
}

/// Bytes that are read at once, while those before them are hashed.
const PIECE: usize = 1 << 22;

fn of_file(path: &Path) -> io::Result<Content> {
    let mut file = File::open(path)?;
    let (mut hash, mut bytes) = (blake3::Hasher::new(), 0);
    // Most files are small: to clear a large buffer for each would take longer than to read them.
    let expected = file.metadata()?.len() + 1;
    let mut piece = vec![0; expected.min(PIECE as u64) as usize];
    let mut next = if piece.len() < PIECE { vec![] } else { vec![0; PIECE] };
    let mut have = fill(&mut file, &mut piece)?;
    while have > 0 {
        bytes += have as u64;
        if have < piece.len() {
            hash.update_rayon(&piece[..have]);
            break;
        }
        next.resize(PIECE, 0); // where the file has grown meanwhile
        let read = || fill(&mut file, &mut next);
        let (read, _) = rayon::join(read, || hash.update_rayon(&piece[..have]));
        have = read?;
        std::mem::swap(&mut piece, &mut next);
    }
    Ok(Content { digest: hash.finalize().into(), bytes })
}

/// Reads until a buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < buffer.len() {
        match file.read(&mut buffer[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(have)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folder(files: &BTreeMap<String, Vec<u8>>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        dir
    }

    fn trees() -> impl Strategy<Value = BTreeMap<String, Vec<u8>>> {
        let name = "[ab]{1,2}f|[ab]/[cd]f";
        prop::collection::btree_map(name, prop::collection::vec(any::<u8>(), 0..4), 0..4)
    }

    proptest! {
        #[test]
        fn folders_have_the_same_address_if_and_only_if_they_hold_the_same(a in trees(), b in trees()) {
            let address = |files| content_of(folder(files).path()).unwrap();
            prop_assert_eq!(address(&a).digest == address(&b).digest, a == b);
            prop_assert_eq!(address(&a), address(&a));
        }
    }

    #[test]
    fn a_file_has_the_blake3_of_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for size in [0, 1, 1_000_000, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE - 7] {
            let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            fs::write(&path, &bytes).unwrap();
            let content = content_of(&path).unwrap();
            assert_eq!((content.digest, content.bytes), (blake3::hash(&bytes).into(), size as u64));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, link) = (dir.path().join("folder"), dir.path().join("folder/link"));
        fs::create_dir(&folder).unwrap();
        for target in ["/etc/passwd", "/etc"] {
            std::os::unix::fs::symlink(target, &link).unwrap();
            for path in [&folder, &link] {
                let message = content_of(path).unwrap_err().to_string();
                assert!(message.contains("neither a file nor a folder"), "{message}");
            }
            fs::remove_file(&link).unwrap();
        }
    }
}
