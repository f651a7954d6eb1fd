//! Where the program runs, for the records of runs: the machine, and the commit that is checked out.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use super::args::Resources;
use crate::{
    error::{Error, Result},
    experiment::Memory,
    history::{Git, Host},
    run::Tokens,
};

pub fn host() -> Host {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "unknown".into());
    Host {
        name: name.trim().into(),
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        pipeline: env!("CARGO_PKG_VERSION").into(),
        compiler: env!("PIPELINE_COMPILER").into(),
    }
}

/// The commit of the repository that a file lies in; none without a repository, or without git.
pub fn git(file: &Path) -> Option<Git> {
    let folder = fs::canonicalize(file).ok()?.parent()?.to_path_buf();
    // A repository's own settings shall neither start programs nor be changed by being looked at.
    let mut git = Command::new("git");
    git.args(["-c", "core.fsmonitor=false", "--no-optional-locks", "status", "--porcelain=v2", "--branch"]);
    git.arg("--untracked-files=no").current_dir(folder).stdin(Stdio::null());
    let answer = git.output().ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    let commit = text.lines().find_map(|line| line.strip_prefix("# branch.oid "))?;
    let dirty = text.lines().any(|line| !line.starts_with('#'));
    (commit != "(initial)").then(|| Git { commit: commit.into(), dirty })
}

impl Resources {
    /// What a run may use: of what is not said, all that the machine has.
    ///
    /// # Errors
    /// If a card is named twice, or has no name.
    pub fn tokens(&self) -> Result<Tokens> {
        let gpus: BTreeSet<String> = self.gpus.iter().map(|name| name.trim().to_string()).collect();
        if gpus.len() < self.gpus.len() || gpus.contains("") {
            return Err(Error::experiment("`--gpus` names a card twice, or one without a name")
                .hint("name each once: `--gpus 0,1`"));
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.map_or(processors, usize::from);
        Ok(Tokens { threads, memory: self.memory.unwrap_or_else(memory), gpus })
    }
}

/// The machine's memory; all that can be, where it does not say.
fn memory() -> Memory {
    let total = || {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix(" kB")?;
        kib.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Memory(total().unwrap_or(u64::MAX))
}
