//! Runs one instance in a process of its own and takes its outputs into the store.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io::{BufReader, Read, Seek, SeekFrom},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use stages::contract::{Code, Output, Progress};

use super::{
    manifest::{Manifest, Report},
    resolve::contents,
};
use crate::{
    files::{make_way_for_file, make_way_for_folder},
    key::{Digest, Key, KeyInput},
    store::{Lock, Provenance, Record, Store, content_of},
};

/// How to start the process of an instance: the program and what comes before the manifest's path.
#[derive(Clone, Debug)]
pub struct Launcher {
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

/// An instance to run.
pub struct Job {
    pub instance: String,
    pub key: Key,
    /// The key's.
    pub digest: Digest,
    pub manifest: Manifest,
    pub outputs: &'static [Output],
    pub code: Code,
    /// The graphics cards that it may use.
    pub gpus: Vec<String>,
    /// Held until the result is recorded.
    pub _lock: Lock,
}

/// What came of it.
pub struct Success {
    /// The contents of the outputs.
    pub outputs: BTreeMap<String, Digest>,
    /// How long it took.
    pub elapsed: Duration,
}

/// A running process that can be ended from elsewhere.
#[derive(Clone, Default)]
pub struct Handle(Arc<Mutex<Ending>>);

#[derive(Default)]
struct Ending {
    child: Option<Child>,
    killed: bool,
}

impl Handle {
    /// Ends the process, or keeps it from starting.
    pub fn kill(&self) {
        let mut ending = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ending.killed = true;
        if let Some(child) = &mut ending.child {
            let _ = child.kill();
        }
    }

    pub fn is_killed(&self) -> bool {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).killed
    }

    fn start(&self, command: &mut Command) -> Result<(), String> {
        let mut ending = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if ending.killed {
            return Err("interrupted".into());
        }
        ending.child = Some(command.spawn().map_err(|e| format!("its process could not be started: {e}"))?);
        Ok(())
    }

    fn child<T>(&self, act: impl FnOnce(&mut Child) -> T) -> Option<T> {
        let mut ending = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ending.child.as_mut().map(act)
    }
}

/// Runs a job to its end. Progress goes to `progress`; an error is a message for people.
pub fn execute(
    job: &Job,
    launcher: &Launcher,
    store: &Store,
    handle: &Handle,
    progress: impl FnMut(Progress),
) -> Result<Success, Failure> {
    are_sound(job, store, handle)?;
    let key = &job.digest;
    let work = store.work(key);
    let begun = Instant::now();
    let log = store.log(key);
    let prepare = || {
        make_way_for_folder(&work)?;
        fs::create_dir_all(&work)?;
        ["manifest.json", "lock"].iter().try_for_each(|name| make_way_for_file(&work.join(name)))?;
        ["out", "checkpoints"].iter().try_for_each(|name| make_way_for_folder(&work.join(name)))?;
        make_way_for_file(&log)?;
        fs::create_dir_all(log.parent().unwrap_or(&work))?;
        let path = work.join("manifest.json");
        fs::write(&path, serde_json::to_vec_pretty(&job.manifest)?)?;
        Ok::<_, std::io::Error>((path, File::options().create(true).append(true).open(&log)?))
    };
    let (manifest, log_file) =
        prepare().map_err(|e| failed(&format!("its folder `{}` could not be made", work.display()), &e))?;
    let log_start = log_file.metadata().map_or(0, |m| m.len());

    let mut command = Command::new(&launcher.program);
    command.args(&launcher.arguments).arg(manifest);
    // Cards are given one by one: without any it shall not find those of others.
    command.env("CUDA_VISIBLE_DEVICES", job.gpus.join(","));
    // A process that prints a backtrace when its memory runs out can wait for itself for ever. `pipeline exec` by hand, with
    // the manifest that is left in the work folder, shows it.
    command.env("RUST_BACKTRACE", "0");
    // The allocator (src/main.rs) hands nothing back while a stage lasts: a stage has phases, and memory that is taken again
    // must be cleared again. A twelfth of PPO's time.
    command.env("MIMALLOC_PURGE_DELAY", "-1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log_file);
    // A terminal's Ctrl-C goes to the parent alone, which then ends its children.
    command.process_group(0);
    handle.start(&mut command)?;
    let out = handle.child(|child| child.stdout.take()).flatten();
    let outcome = out.and_then(|out| Report::last(BufReader::new(out), progress));
    let status = wait(handle).map_err(|e| format!("its process was lost: {e}"))?;
    let elapsed = begun.elapsed();
    match outcome {
        Some(Report::Done) if status.success() => {}
        Some(Report::Failed { message, causes, hint, full }) => {
            let mut text = [vec![message], causes].concat().join(": ");
            match hint {
                Some(hint) => text += &format!("\nhint: {hint}"),
                None if full => text += NO_ROOM,
                None => {}
            }
            return Err(text.into());
        }
        _ => return Err(Failure::Died(Death::of(status, &log, log_start))),
    }
    let record = take_in(job, store, elapsed).map_err(|e| failed("its outputs could not be kept", &e))?;
    // The result is in: what is left in the work folder is of no use, and of no harm.
    let _ = fs::remove_dir_all(&work);
    Ok(Success { outputs: contents(record.outputs), elapsed })
}

/// Reads every byte of a job's inputs: a glance may have been enough so far.
fn are_sound(job: &Job, store: &Store, handle: &Handle) -> Result<(), String> {
    for (name, expected) in &job.key.inputs {
        for (artifact, KeyInput { content, .. }) in job.manifest.inputs[name].iter().zip(expected) {
            if handle.is_killed() {
                return Err("interrupted".into());
            }
            if !content_of(&artifact.path).is_ok_and(|found| found.digest == *content) {
                store.distrust_stamps();
                return Err(format!(
                    "its input `{name}` has changed on disk: `{}`\nhint: run again: what is damaged is made again",
                    artifact.path.display()
                ));
            }
        }
    }
    Ok(())
}

/// A deed that the machine did not allow.
fn failed(what: &str, e: &std::io::Error) -> String {
    let hint = if e.kind() == std::io::ErrorKind::StorageFull { NO_ROOM } else { "" };
    format!("{what}: {e}{hint}")
}

/// The way out is the same wherever the room ran out, here or in the stage.
const NO_ROOM: &str = "\nhint: make room and run again: what is finished is kept";

/// The child's end is near: its output is closed. Not under the lock, so that it can still be killed.
fn wait(handle: &Handle) -> std::io::Result<ExitStatus> {
    let mut pause = Duration::from_micros(200);
    loop {
        match handle.child(Child::try_wait) {
            Some(Ok(Some(status))) => return Ok(status),
            Some(Ok(None)) => std::thread::sleep(pause),
            Some(Err(e)) => return Err(e),
            None => return Err(std::io::Error::other("it never started")),
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn take_in(job: &Job, store: &Store, elapsed: Duration) -> std::io::Result<Record> {
    let mut outputs = BTreeMap::new();
    for output in job.outputs {
        let path = job.manifest.outputs.join(output.name);
        if !path.exists() {
            return Err(std::io::Error::other(format!("the stage did not write `{}`", output.name)));
        }
        outputs.insert(output.name.to_string(), store.take_in(&path)?);
    }
    let record = Record {
        key: job.key.clone(),
        outputs,
        provenance: Provenance {
            instance: job.instance.clone(),
            finished: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            seconds: elapsed.as_secs_f64(),
            threads: job.manifest.threads,
            pipeline: env!("CARGO_PKG_VERSION").into(),
        },
    };
    store.record(&job.digest, &record)?;
    store.remember_code(job.code.fingerprint, job.code.parts);
    Ok(record)
}

/// Why there is no result.
pub enum Failure {
    /// In words for people: what is wrong, and what to do.
    Told(String),
    /// The process ended without a word.
    Died(Death),
}

/// How a process ended that said nothing.
pub struct Death {
    /// Whether a signal ended it.
    pub was_killed: bool,
    how: String,
    /// The last lines of its log.
    tail: String,
    log: PathBuf,
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Told(message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told(message) => f.write_str(message),
            Self::Died(death) => f.write_str(&death.told(&death.how, "")),
        }
    }
}

impl Death {
    fn of(status: ExitStatus, log: &Path, start: u64) -> Self {
        let how = match (status.signal(), status.code()) {
            (Some(9), _) => "its process was killed (signal 9): perhaps the memory ran out".to_string(),
            (Some(signal), _) => format!("its process was ended by signal {signal}"),
            (None, code) => format!("its process ended with exit code {}", code.unwrap_or(-1)),
        };
        Self { was_killed: status.signal().is_some(), how, tail: tail(log, start), log: log.into() }
    }

    /// For people: what happened, the end of the log, and what to do.
    pub fn told(&self, what: &str, hint: &str) -> String {
        let tail = if self.tail.is_empty() {
            String::new()
        } else {
            format!("\nthe end of its log:\n{}", self.tail)
        };
        format!("{what}{tail}\nhint: {hint}the whole log is `{}`", self.log.display())
    }
}

/// The last lines that an attempt logged.
fn tail(log: &Path, start: u64) -> String {
    const BYTES: u64 = 4096;
    let read = || {
        let mut file = File::open(log)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(end.saturating_sub(BYTES).max(start)))?;
        let mut bytes = vec![];
        file.take(BYTES).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(8)..];
    last.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
