//! The records of runs on disk.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    str::FromStr,
    time::{Duration, UNIX_EPOCH},
};

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use serde::Deserialize;

use super::record::{FORMAT, Run};
use crate::{
    error::{Error, Result},
    files::{self, draft_in},
    seal,
};

/// No record of a run is larger, in bytes.
pub(super) const LARGEST: u64 = 1 << 28;

/// What every format has.
#[derive(Deserialize)]
struct Formatted {
    format: u32,
}

enum Opened {
    Run(Box<Run>),
    /// Sound, and of another format.
    OfFormat(u32),
}

/// The runs of a cache.
#[derive(Clone, Debug)]
pub struct History {
    pub(super) folder: PathBuf,
}

/// Which run is meant: an id or its beginning, or `latest`, `latest~1` for the one before it, and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ref {
    Latest { before: usize },
    Id(String),
}

impl FromStr for Ref {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let usage = "expected the beginning of a run's id, `latest`, or `latest~1` for the run before it";
        match text.strip_prefix("latest") {
            Some("") => Ok(Self::Latest { before: 0 }),
            Some(rest) => {
                let before = rest.strip_prefix('~').and_then(|n| n.parse().ok());
                before.map(|before| Self::Latest { before }).ok_or_else(|| usage.into())
            }
            None if text.is_empty() => Err(usage.into()),
            None => Ok(Self::Id(text.into())),
        }
    }
}

impl Ref {
    /// The one of `ids`, the newest first, that is meant.
    ///
    /// # Errors
    /// If there is none, or several.
    pub fn among<'a>(&self, ids: &'a [String]) -> Result<&'a str> {
        let listed = "`pipeline runs` lists the runs; one that was killed has no record";
        match self {
            Self::Latest { before } => ids.get(*before).map(String::as_str).ok_or_else(|| {
                let message = format!("there is no run `{self}`: this cache has {} of them", ids.len());
                Error::experiment(message).hint(listed)
            }),
            Self::Id(beginning) => {
                let found: Vec<&String> = ids.iter().filter(|id| id.starts_with(beginning)).collect();
                match found.as_slice() {
                    [id] => Ok(id.as_str()),
                    [] => Err(Error::experiment(format!("there is no run `{self}`")).hint(listed)),
                    [first, second, ..] => {
                        Err(Error::experiment(format!("`{self}` may be the run `{first}` or `{second}`"))
                            .hint("write more of the id"))
                    }
                }
            }
        }
    }
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest { before: 0 } => f.write_str("latest"),
            Self::Latest { before } => write!(f, "latest~{before}"),
            Self::Id(id) => f.write_str(id),
        }
    }
}

/// How an id tells the time.
const TIME: &str = "%Y%m%dT%H%M%S%3fZ";

fn id(time: NaiveDateTime, noise: u32) -> String {
    format!("{}-{noise:08x}", time.format(TIME))
}

/// When a run began, as its id says.
pub(super) fn time_of(id: &str) -> Option<NaiveDateTime> {
    NaiveDateTime::parse_from_str(id.split('-').next()?, TIME).ok()
}

/// Only what is an id becomes a part of a path.
pub(crate) fn is_id(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    !text.is_empty() && text.len() <= 64 && text.bytes().all(plain)
}

impl History {
    /// Of the cache in `root`. Nothing is made on disk before a run begins.
    pub fn new(root: &Path) -> Self {
        Self { folder: root.join("runs") }
    }

    /// Writes a run's record whole or not at all, and takes back its note. It need not be on the disk before this
    /// returns where nothing is lost with it: then `is_awaited` is false, and a power cut can leave an empty file.
    ///
    /// # Errors
    /// If the cache cannot be written, or has a run of that id.
    pub fn write(&self, run: &Run, is_awaited: bool) -> Result<()> {
        let path = self.path(&run.id);
        let write = || {
            fs::create_dir_all(&self.folder)?;
            let mut draft = draft_in(&self.folder)?;
            draft.write_all(&seal::close(serde_json::to_vec(run)?))?;
            if is_awaited {
                draft.as_file().sync_all()?;
            }
            if fs::metadata(&path).is_ok_and(|meta| meta.len() == 0) {
                fs::remove_file(&path)?;
            }
            draft.persist_noclobber(&path).map_err(|e| e.error)?;
            if is_awaited { fs::File::open(&self.folder)?.sync_all() } else { Ok(()) }
        };
        write().map(|()| self.take_back(&run.id)).map_err(|e: io::Error| {
            Error::io(format!("cannot write the run's record `{}`", path.display()))(e)
                .hint("no result is lost; name another folder with `--cache DIR`, or make room in this one")
        })
    }

    /// Where a run's record lies.
    pub fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    /// Forgets a run.
    ///
    /// # Errors
    /// If the cache cannot be written.
    pub fn remove(&self, id: &str) -> Result<()> {
        self.take_back(id);
        let path = self.path(id);
        fs::remove_file(&path)
            .map_err(Error::io(format!("cannot remove the run's record `{}`", path.display())))
    }

    /// A run's record as it is on disk: its file's name and bytes.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn raw(&self, id: &str) -> Result<(String, Vec<u8>)> {
        let path = self.path(id);
        let bytes =
            files::read(&path, LARGEST).map_err(Error::io(format!("cannot read `{}`", path.display())))?;
        Ok((format!("{id}.json"), bytes))
    }

    /// Takes in a run's record from elsewhere, unless there is one of that id.
    ///
    /// # Errors
    /// If it is none, or the cache cannot be written.
    pub fn take_in(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let run: Run =
            seal::open(bytes).map_err(|e| Error::machine(format!("`{name}` is no record of a run: {e}")))?;
        if name.strip_suffix(".json") != Some(run.id.as_str()) || !is_id(&run.id) || run.format != FORMAT {
            return Err(Error::machine(format!("`{name}` is no record of a run that this program can read")));
        }
        if self.ids().contains(&run.id) { Ok(()) } else { self.write(&run, true) }
    }

    /// An id for a run that begins now. Ids sort as runs began: where the clock has gone back since, it is an id of the
    /// moment after the newest.
    pub fn next_id(&self, since_1970: Duration, noise: u32) -> String {
        let now = DateTime::<Utc>::from(UNIX_EPOCH + since_1970).naive_utc();
        let newest = [".json", ".begun"]
            .iter()
            .flat_map(|end| self.files(end, |_| true).first().and_then(|id| time_of(id)))
            .max();
        let after = newest.and_then(|newest| newest.checked_add_signed(TimeDelta::milliseconds(1)));
        let id_after = after.filter(|after| *after > now).map(|after| id(after, noise));
        id_after.filter(|id| is_id(id)).unwrap_or_else(|| id(now, noise))
    }

    /// The ids of all records, the newest first; see [`History::unrecorded`] for empty ones.
    pub fn ids(&self) -> Vec<String> {
        self.files(".json", |entry| entry.metadata().is_ok_and(|meta| meta.len() > 0))
    }

    /// The ids in the names of wanted files, the newest first.
    pub(super) fn files(&self, end: &str, is_wanted: impl Fn(&fs::DirEntry) -> bool) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return vec![] };
        let id = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(end).filter(|id| is_id(id) && is_wanted(&entry)).map(String::from)
        };
        let mut ids: Vec<String> = entries.filter_map(|entry| id(entry.ok()?)).collect();
        ids.sort_by(|a, b| b.cmp(a));
        ids
    }

    /// The run that is meant.
    ///
    /// # Errors
    /// If there is none, several, or its record cannot be read.
    pub fn find(&self, which: &Ref) -> Result<Run> {
        self.read(which.among(&self.ids())?)
    }

    /// # Errors
    /// If the record cannot be read, or is of another format.
    pub fn read(&self, id: &str) -> Result<Run> {
        let path = self.path(id).display().to_string();
        match self.open(id) {
            Ok(Opened::Run(run)) => Ok(*run),
            Ok(Opened::OfFormat(format)) => {
                let message = format!("the run's record `{path}` has the format {format}, expected {FORMAT}");
                Err(Error::machine(message).hint("read it with the program that wrote it"))
            }
            Err(e) => Err(Error::io(format!("cannot read the run's record `{path}`"))(e).hint(
                "remove the file if nobody needs that run: results are kept as long as other runs have them",
            )),
        }
    }

    /// The runs whose records are damaged, with what is wrong.
    pub fn damaged(&self) -> BTreeMap<String, String> {
        let damage = |id: String| self.open(&id).err().map(|e| (id, e.to_string()));
        self.ids().into_iter().filter_map(damage).collect()
    }

    fn open(&self, id: &str) -> io::Result<Opened> {
        let bytes = files::read(&self.path(id), LARGEST)?;
        let Formatted { format } = seal::open(&bytes)?;
        if format != FORMAT {
            return Ok(Opened::OfFormat(format));
        }
        let run: Run = serde_json::from_slice(&bytes)?;
        if run.id == id {
            Ok(Opened::Run(Box::new(run)))
        } else {
            Err(io::Error::other("it is of another run"))
        }
    }
}
