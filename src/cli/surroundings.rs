//! Where the program runs, for the records of runs: the machine, and the commit that is checked out.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::history::{Git, Host};

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
