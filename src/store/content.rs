//! The address of a file or a folder.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use crate::key::Digest;

/// What an artifact holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub digest: Digest,
    pub bytes: u64,
}

/// The content of a file (the blake3 of its bytes, as `b3sum` prints it) or of a folder (the blake3 of its files'
/// paths and contents, in order).
///
/// # Errors
/// Where something cannot be read, or is neither a file nor a folder: a link would lead out of the store.
pub fn content_of(path: &Path) -> io::Result<Content> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_file() {
        return of_file(path);
    }
    if !kind.is_dir() {
        return Err(neither(path));
    }
    let mut hash = blake3::Hasher::new_derive_key("pipeline 2026-11 folder");
    let mut bytes = 0;
    for (name, file) in files(path)? {
        let content = of_file(&file)?;
        hash.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        hash.update(content.digest.as_str().as_bytes());
        bytes += content.bytes;
    }
    Ok(Content { digest: hash.finalize().into(), bytes })
}

/// All files of an artifact: their `/`-separated names in it, sorted, and their paths.
pub(super) fn files(folder: &Path) -> io::Result<Vec<(String, std::path::PathBuf)>> {
    let mut found = vec![];
    let mut waiting = vec![(String::new(), folder.to_path_buf())];
    while let Some((prefix, folder)) = waiting.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            let Ok(name) = entry.file_name().into_string() else {
                return Err(io::Error::other(format!("the name of `{}` is not text", path.display())));
            };
            if kind.is_dir() {
                waiting.push((format!("{prefix}{name}/"), path));
            } else if kind.is_file() {
                found.push((format!("{prefix}{name}"), path));
            } else {
                return Err(neither(&path));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn neither(path: &Path) -> io::Error {
    io::Error::other(format!("`{}` is neither a file nor a folder", path.display()))
}

fn of_file(path: &Path) -> io::Result<Content> {
    let mut file = File::open(path)?;
    let (mut hash, mut bytes) = (blake3::Hasher::new(), 0);
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(Content { digest: hash.finalize().into(), bytes });
        }
        hash.update_rayon(&buffer[..n]);
        bytes += n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

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
        let bytes = vec![7; 1_000_000];
        fs::write(&path, &bytes).unwrap();
        let content = content_of(&path).unwrap();
        assert_eq!((content.digest, content.bytes), (blake3::hash(&bytes).into(), 1_000_000));
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
