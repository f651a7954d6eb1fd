//! Checkpoints: what an attempt that was killed has left, to go on from. Each is a folder that is there whole or not at all,
//! and holds a hash of the rest of it: a bit that flips on the disk costs some steps, and changes no result.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::contract::{Context, StageError};

/// The checkpoints of a running stage, by how much was done.
pub struct Checkpoints<'a> {
    folder: &'a Path,
}

/// The file with the hash.
const SEAL: &str = "seal";
/// One may be damaged.
const KEPT: usize = 2;

impl<'a> Checkpoints<'a> {
    pub fn of(ctx: &'a Context) -> Self {
        Self { folder: &ctx.checkpoints }
    }

    /// Makes the checkpoint after `done` steps: `write` gets an empty folder. Removes those that are not needed any more.
    ///
    /// # Errors
    /// If it cannot be written; the earlier ones are left as they are.
    pub fn save(
        &self,
        done: usize,
        write: impl FnOnce(&Path) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        let failed = |e| StageError::because("a checkpoint could not be written", e);
        let draft = self.folder.join("draft");
        if draft.exists() {
            fs::remove_dir_all(&draft).map_err(failed)?;
        }
        fs::create_dir_all(&draft).map_err(failed)?;
        write(&draft)?;
        let finish = || {
            fs::write(draft.join(SEAL), seal(&draft, done)?)?;
            fs::rename(&draft, self.folder.join(format!("{done:08}")))?;
            let mut all = self.all()?;
            all.truncate(all.len().saturating_sub(KEPT));
            all.iter().try_for_each(|(_, old)| fs::remove_dir_all(old))
        };
        finish().map_err(failed)
    }

    /// The latest checkpoint that is sound, as `read` makes of its folder and what was done; others are removed.
    ///
    /// # Errors
    /// If the folder cannot be read or written.
    pub fn latest<T>(
        &self,
        read: impl Fn(&Path, usize) -> Result<T, StageError>,
    ) -> Result<Option<T>, StageError> {
        let failed = |e| StageError::because("the checkpoints could not be read", e);
        let mut all = self.all().map_err(failed)?;
        while let Some((done, folder)) = all.pop() {
            match check(&folder, done).and_then(|()| read(&folder, done)) {
                Ok(found) => {
                    tracing::info!(done, "goes on from a checkpoint");
                    return Ok(Some(found));
                }
                Err(e) => {
                    tracing::warn!(done, error = %e, "a checkpoint cannot be used: goes on from before it");
                    fs::remove_dir_all(&folder).map_err(failed)?;
                }
            }
        }
        Ok(None)
    }

    /// What was done, and the folder; the latest last.
    fn all(&self) -> io::Result<Vec<(usize, PathBuf)>> {
        let mut found = vec![];
        for entry in fs::read_dir(self.folder)? {
            let entry = entry?;
            let done = entry.file_name().to_str().and_then(|name| name.parse().ok());
            found.extend(done.map(|done| (done, entry.path())));
        }
        found.sort();
        Ok(found)
    }
}

/// # Errors
/// If a checkpoint is not as it was written.
fn check(folder: &Path, done: usize) -> Result<(), StageError> {
    let found = || Ok((fs::read(folder.join(SEAL))?, seal(folder, done)?));
    let (found, expected) = found().map_err(|e: io::Error| StageError::because("it cannot be read", e))?;
    if found == expected { Ok(()) } else { Err(StageError::new("it has changed on disk")) }
}

/// What the file with the hash holds.
fn seal(folder: &Path, done: usize) -> io::Result<Vec<u8>> {
    Ok(format!("{} after {done}\n", hash_of(folder)?).into_bytes())
}

/// Of the names and contents of all files but the seal.
fn hash_of(folder: &Path) -> io::Result<blake3::Hash> {
    let mut hash = blake3::Hasher::new();
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries.iter().filter(|entry| entry.file_name() != SEAL) {
        let part = match entry.file_type()?.is_dir() {
            true => hash_of(&entry.path())?,
            false => blake3::Hasher::new().update_reader(fs::File::open(entry.path())?)?.finalize(),
        };
        hash.update(blake3::hash(entry.file_name().as_encoded_bytes()).as_bytes()).update(part.as_bytes());
    }
    Ok(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(folder: &Path) -> Context {
        Context {
            inputs: Default::default(),
            outputs: folder.join("out"),
            checkpoints: folder.to_path_buf(),
            seed: 0,
            watcher: Box::new(|_| {}),
        }
    }

    fn save(ctx: &Context, done: usize) {
        let write = |folder: &Path| {
            fs::create_dir(folder.join("policy")).unwrap();
            fs::write(folder.join("policy/weights"), [done as u8; 9]).unwrap();
            fs::write(folder.join("kl"), "0.1").unwrap();
            Ok(())
        };
        Checkpoints::of(ctx).save(done, write).unwrap();
    }

    fn latest(ctx: &Context) -> Option<usize> {
        let read = |folder: &Path, done: usize| {
            assert_eq!(fs::read(folder.join("policy/weights")).unwrap(), [done as u8; 9]);
            Ok(done)
        };
        Checkpoints::of(ctx).latest(read).unwrap()
    }

    #[test]
    fn the_latest_two_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let ctx = context(folder.path());
        assert_eq!(latest(&ctx), None);
        [1, 2, 30].iter().for_each(|&done| save(&ctx, done));
        assert_eq!(latest(&ctx), Some(30));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        // What is being written is no checkpoint.
        fs::rename(folder.path().join("00000030"), folder.path().join("draft")).unwrap();
        assert_eq!(latest(&ctx), Some(2));
        save(&ctx, 40);
        assert_eq!(latest(&ctx), Some(40));
    }

    #[test]
    fn whatever_bit_flips_the_one_before_is_taken() {
        for file in ["policy/weights", "kl", "seal"] {
            let folder = tempfile::tempdir().unwrap();
            let ctx = context(folder.path());
            [1, 2].iter().for_each(|&done| save(&ctx, done));
            let path = folder.path().join("00000002").join(file);
            for bit in 0..8 * fs::metadata(&path).unwrap().len() as usize {
                let mut bytes = fs::read(&path).unwrap();
                bytes[bit / 8] ^= 1 << (bit % 8);
                fs::write(&path, bytes).unwrap();
                assert_eq!(latest(&ctx), Some(1), "bit {bit} of {file}");
                save(&ctx, 2);
            }
        }
    }

    #[test]
    fn a_file_that_is_gone_or_new_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let ctx = context(folder.path());
        let change: [fn(&Path); 5] = [
            |at| fs::remove_file(at.join("kl")).unwrap(),
            |at| fs::write(at.join("more"), "").unwrap(),
            |at| fs::rename(at.join("kl"), at.join("k1")).unwrap(),
            |at| fs::remove_file(at.join("seal")).unwrap(),
            |at| fs::rename(at, at.with_file_name("00000008")).unwrap(),
        ];
        for change in change {
            save(&ctx, 7);
            change(&folder.path().join("00000007"));
            assert_eq!(latest(&ctx), None);
        }
    }
}
