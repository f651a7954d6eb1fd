//! Notes of runs that have begun: a run that is killed leaves no record, and what it needs and made shall not be taken for
//! nobody's.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::{
    record::Run,
    runs::{History, LARGEST, time_of},
};
use crate::{files, key::Digest};

/// The first line of `runs/<id>.begun`: what is known of a run when it begins. The lines after it are the keys of its
/// instances, each before anything is made for it. The file is there until the run's record is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    pub id: String,
    pub experiment: String,
    pub profile: Option<String>,
    pub set: Vec<String>,
    pub only: Vec<String>,
    /// Seconds since 1970, by the clock: not what the id says where that has gone back.
    pub started: u64,
    #[serde(skip)]
    pub keys: BTreeSet<Digest>,
}

impl Begun {
    /// As a note says. What cannot be read was killed early, or by a power cut: when it began its name says.
    fn read(id: &str, note: &[u8]) -> Self {
        let (first, rest) = note.split_at(note.iter().position(|byte| *byte == b'\n').unwrap_or(note.len()));
        let begun = serde_json::from_slice(first).ok().filter(|begun: &Self| begun.id == id);
        let started = time_of(id).map_or(0, |time| time.and_utc().timestamp().max(0).unsigned_abs());
        let unknown = || Self { id: id.into(), started, ..Self::default() };
        let keys = String::from_utf8_lossy(rest)
            .lines()
            .filter_map(|line| Digest::try_from(line.to_string()).ok())
            .collect();
        Self { keys, ..begun.unwrap_or_else(unknown) }
    }

    /// Whether the record of a run that began later names all that this one needs.
    pub fn is_done_by(&self, run: &Run) -> bool {
        let named = || run.instances.iter().filter_map(|outcome| outcome.key.clone()).collect();
        run.id > self.id && !self.keys.is_empty() && self.keys.is_subset(&named())
    }
}

/// A run's note while it is written. There is none before there is a key to note.
pub struct Note<'a> {
    history: &'a History,
    begun: Begun,
    keys: RefCell<Vec<Digest>>,
    /// None where it must be written anew, with all keys.
    file: RefCell<Option<File>>,
}

impl<'a> Note<'a> {
    pub fn new(history: &'a History, begun: Begun) -> Self {
        Self { history, begun, keys: RefCell::default(), file: RefCell::default() }
    }

    /// Notes keys.
    ///
    /// # Errors
    /// If the cache cannot be written: the next call tries again, with these, too.
    pub fn add(&self, keys: &[Digest]) -> io::Result<()> {
        let mut all = self.keys.borrow_mut();
        all.extend_from_slice(keys);
        let lines =
            |keys: &[Digest]| keys.iter().map(|key| format!("{key}\n")).collect::<String>().into_bytes();
        let mut open = self.file.borrow_mut();
        let written = match open.take() {
            Some(mut file) => file.write_all(&lines(keys)).map(|()| file),
            None => self.history.begin(&self.begun).and_then(|mut file| {
                file.write_all(&lines(&all))?;
                // On the disk before anything that is made; later keys go with what is synced for each result.
                file.sync_all().map(|()| file)
            }),
        };
        *open = Some(written?);
        Ok(())
    }
}

impl History {
    fn begin(&self, begun: &Begun) -> io::Result<File> {
        fs::create_dir_all(&self.folder)?;
        let path = self.begun(&begun.id);
        files::make_way_for_file(&path)?;
        let mut file = File::create(path)?;
        file.write_all(&[serde_json::to_vec(begun)?, b"\n".to_vec()].concat())?;
        Ok(file)
    }

    /// Removes a run's note, if it left one.
    pub fn take_back(&self, id: &str) {
        let _ = files::delete(&self.begun(id));
    }

    /// Forgets a run that left no record.
    pub fn forget(&self, begun: &Begun) {
        self.take_back(&begun.id);
        if fs::metadata(self.path(&begun.id)).is_ok_and(|meta| meta.len() == 0) {
            let _ = fs::remove_file(self.path(&begun.id));
        }
    }

    /// The runs that have begun and left no record: killed, or still running. The newest first.
    pub fn unrecorded(&self) -> Vec<Begun> {
        let recorded: BTreeSet<String> = self.ids().into_iter().collect();
        // An empty record is one that was not waited for, and did not reach the disk; or it was cut.
        let all: BTreeSet<String> =
            [".begun", ".json"].iter().flat_map(|end| self.files(end, |_| true)).collect();
        let left = all.iter().rev().filter(|id| !recorded.contains(*id) && time_of(id).is_some());
        left.map(|id| Begun::read(id, &files::read(&self.begun(id), LARGEST).unwrap_or_default())).collect()
    }

    fn begun(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.begun"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_that_could_not_be_written_is_written_whole_later() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::new(folder.path());
        let id = "20261128T005745123Z-1c9f2a07";
        let note = Note::new(&history, Begun { id: id.into(), started: 7, ..Begun::default() });
        let [a, b, c] = [b"a", b"b", b"c"].map(|bytes| Digest::from(blake3::hash(bytes)));
        fs::write(folder.path().join("runs"), "in the way").unwrap();
        assert!(note.add(std::slice::from_ref(&a)).is_err());
        fs::remove_file(folder.path().join("runs")).unwrap();
        note.add(std::slice::from_ref(&b)).unwrap();
        note.add(std::slice::from_ref(&c)).unwrap();
        let [found] = history.unrecorded().try_into().unwrap();
        assert_eq!((found.started, &found.keys), (7, &BTreeSet::from([a, b, c])));
        // Of one that a power cut has torn the whole lines are left.
        let bytes = fs::read(history.begun(id)).unwrap();
        fs::write(history.begun(id), &bytes[..bytes.len() - 30]).unwrap();
        assert_eq!(history.unrecorded()[0].keys.len(), 2);
        fs::write(history.begun(id), "").unwrap();
        let [found] = history.unrecorded().try_into().unwrap();
        assert_eq!((found.id.as_str(), found.started), (id, 1795827465));
        history.forget(&found);
        assert!(history.unrecorded().is_empty());
    }
}
