//! `pipeline cache`.

mod du;
mod export;
mod gc;
mod import;
mod ls;
mod remote;
mod verify;

use std::process::ExitCode;

use super::args::CacheCommand;
use crate::error::Result;

pub fn run(command: &CacheCommand) -> Result<ExitCode> {
    match command {
        CacheCommand::Ls(options) => ls::run(options),
        CacheCommand::Du(options) => du::run(options),
        CacheCommand::Verify { options, repair } => verify::run(options, *repair),
        CacheCommand::Export { run, file, cache } => export::run(run, file, cache),
        CacheCommand::Push { run, cache, remote } => remote::push(run, cache, remote),
        CacheCommand::Pull { run, cache, remote } => remote::pull(run, cache, remote),
        CacheCommand::Import { file, cache } => import::run(file, cache),
        CacheCommand::Gc { options, keep, dry_run } => gc::run(options, *keep, *dry_run),
    }
}
