//! Checkpoints: what an attempt that was killed has left, to go on from. Each is a folder that is there whole or not at all,
//! and holds a hash of the rest of it: a bit that flips on the disk costs some steps, and changes no result.

use std::{
    cell::Cell,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::contract::{Context, StageError};

/// The checkpoints of a running stage, by how much was done.
pub struct Checkpoints<'a> {
    folder: &'a Path,
    key: &'a str,
    every: Duration,
    /// When the latest was made, or the stage began.
    made: Cell<Instant>,
}

/// The file with the hash.
const SEAL: &str = "seal";
/// It is not larger, in bytes.
const LARGEST_SEAL: u64 = 1 << 10;
/// One may be damaged.
const KEPT: usize = 2;

impl<'a> Checkpoints<'a> {
    pub fn of(ctx: &'a Context) -> Self {
        let (folder, key, every) = (ctx.checkpoints.as_path(), ctx.key.as_str(), ctx.checkpoint_every);
        Self { folder, key, every, made: Cell::new(Instant::now()) }
    }

    /// Whether the latest is so old that another should be made.
    pub fn are_old(&self) -> bool {
        self.made.get().elapsed() >= self.every
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
        remove(&draft).map_err(failed)?;
        fs::create_dir_all(&draft).map_err(failed)?;
        write(&draft)?;
        let finish = || {
            fs::write(draft.join(SEAL), self.seal(&draft, done)?)?;
            remove(&self.folder.join(format!("{done:08}")))?;
            fs::rename(&draft, self.folder.join(format!("{done:08}")))?;
            let mut all = self.all()?;
            all.truncate(all.len().saturating_sub(KEPT));
            all.iter().try_for_each(|(_, old)| remove(old))
        };
        finish().map_err(failed)?;
        self.made.set(Instant::now());
        Ok(())
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
            match self.check(&folder, done).and_then(|()| read(&folder, done)) {
                Ok(found) => {
                    tracing::info!(done, "goes on from a checkpoint");
                    return Ok(Some(found));
                }
                Err(e) => {
                    tracing::warn!(done, error = %e, "a checkpoint cannot be used: goes on from before it");
                    remove(&folder).map_err(failed)?;
                }
            }
        }
        Ok(None)
    }

    /// # Errors
    /// If a checkpoint is not as it was written, or is another's.
    fn check(&self, folder: &Path, done: usize) -> Result<(), StageError> {
        let found = || {
            // Before it is read: a pipe would be waited for.
            if !fs::symlink_metadata(folder.join(SEAL))?.is_file() {
                return Err(io::Error::other("its seal is no file"));
            }
            let mut found = vec![];
            fs::File::open(folder.join(SEAL))?.take(LARGEST_SEAL).read_to_end(&mut found)?;
            Ok((found, self.seal(folder, done)?))
        };
        let (found, expected) =
            found().map_err(|e: io::Error| StageError::because("it cannot be read", e))?;
        if found == expected {
            Ok(())
        } else {
            Err(StageError::new("it has changed on disk, or is another's"))
        }
    }

    /// What the file with the hash holds.
    fn seal(&self, folder: &Path, done: usize) -> io::Result<Vec<u8>> {
        Ok(format!("{} after {done} of {}\n", hash_of(folder)?, self.key).into_bytes())
    }

    /// What was done, and the folder; the latest last.
    fn all(&self) -> io::Result<Vec<(usize, PathBuf)>> {
        let mut found = vec![];
        for entry in fs::read_dir(self.folder)? {
            let entry = entry?;
            let done = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let is_folder = entry.file_type()?.is_dir();
            found.extend(done.filter(|_| is_folder).map(|done| (done, entry.path())));
        }
        found.sort();
        Ok(found)
    }
}

/// Removes a folder, or what stands in its place.
fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    }
}

/// Of the names and contents of all files but the seal.
fn hash_of(folder: &Path) -> io::Result<blake3::Hash> {
    let mut hash = blake3::Hasher::new();
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries.iter().filter(|entry| entry.file_name() != SEAL) {
        let kind = entry.file_type()?;
        let part = match kind.is_dir() {
            true => hash_of(&entry.path())?,
            false if !kind.is_file() => return Err(io::Error::other("it holds what is no file")),
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
            key: "one".into(),
            checkpoint_every: Duration::from_secs(3600),
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
    fn another_stages_checkpoint_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let ctx = context(folder.path());
        save(&ctx, 1);
        assert_eq!(latest(&Context { key: "two".into(), ..context(folder.path()) }), None);
        assert_eq!(latest(&ctx), None, "it is removed");
    }

    #[test]
    fn what_is_no_folder_or_no_file_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let ctx = context(folder.path());
        save(&ctx, 1);
        fs::write(folder.path().join("00000002"), "").unwrap();
        fs::write(folder.path().join("draft"), "").unwrap();
        save(&ctx, 3);
        let pipe = folder.path().join("00000003/policy/weights");
        fs::remove_file(&pipe).unwrap();
        let mkfifo = |path: &Path| {
            assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        };
        mkfifo(&pipe);
        assert_eq!(latest(&ctx), Some(1));
        save(&ctx, 4);
        let seal = folder.path().join("00000004/seal");
        fs::remove_file(&seal).unwrap();
        mkfifo(&seal);
        assert_eq!(latest(&ctx), Some(1));
    }

    #[test]
    fn a_long_stage_makes_one_now_and_then() {
        let folder = tempfile::tempdir().unwrap();
        let always = Context { checkpoint_every: Duration::ZERO, ..context(folder.path()) };
        assert!(Checkpoints::of(&always).are_old());
        let ctx = context(folder.path());
        let mut checkpoints = Checkpoints::of(&ctx);
        assert!(!checkpoints.are_old());
        checkpoints.made = Cell::new(Instant::now() - Duration::from_secs(3600));
        assert!(checkpoints.are_old());
        checkpoints.save(1, |_| Ok(())).unwrap();
        assert!(!checkpoints.are_old());
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
