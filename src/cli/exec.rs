//! `pipeline exec`: the process of one instance.

use std::{io, path::Path, process::ExitCode};

use serde::Deserialize;
use stages::contract::Registry;

use super::FAILED;
use crate::{
    error::{Error, Result},
    run::child,
};

/// The one thing in the manifest that must be known before anything runs.
#[derive(Deserialize)]
struct Threads {
    threads: usize,
}

pub fn run(manifest: &Path, registry: &Registry) -> Result<ExitCode> {
    let fail = |e: io::Error| Error::io(format!("cannot run the manifest `{}`", manifest.display()))(e);
    let text = std::fs::read(manifest).map_err(fail)?;
    let Threads { threads } = serde_json::from_slice(&text).map_err(|e| fail(e.into()))?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build_global().map_err(|e| Error::machine(format!("cannot start {threads} threads: {e}")))?;
    // The parent holds the other end of this process' input: when it dies, so does its child.
    std::thread::spawn(|| {
        child::wait_for_parents_end(io::stdin());
        std::process::exit(i32::from(FAILED));
    });
    let finished = child::run(manifest, registry, io::stdout()).map_err(fail)?;
    Ok(if finished { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}
