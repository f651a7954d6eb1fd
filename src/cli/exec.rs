//! `pipeline exec`: the process of one instance.

use std::{io, path::Path, process::ExitCode};

use stages::contract::Registry;

use super::FAILED;
use crate::{
    error::{Error, Result},
    run::{Manifest, child},
};

pub fn run(path: &Path, registry: &Registry) -> Result<ExitCode> {
    let fail = |e: io::Error| Error::io(format!("cannot run the manifest `{}`", path.display()))(e);
    let manifest = Manifest::read(path).map_err(fail)?;
    let threads = manifest.threads;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build_global().map_err(|e| Error::machine(format!("cannot start {threads} threads: {e}")))?;
    // The parent holds the other end of this process' input: when it dies, so does its child.
    let wait = || {
        child::wait_for_parents_end(io::stdin());
        std::process::exit(i32::from(FAILED));
    };
    std::thread::Builder::new().spawn(wait).map_err(Error::io("cannot start a thread"))?;
    let finished = child::run(&manifest, registry, io::stdout());
    Ok(if finished { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}
