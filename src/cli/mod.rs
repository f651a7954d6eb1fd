//! The command line: what a person types and sees. Data goes to standard output, everything else to standard
//! error.

mod args;
mod bars;
mod cache;
mod diff;
mod exec;
mod help;
mod init;
mod interrupt;
mod kinds;
mod logging;
pub mod output;
mod plan;
mod remote;
mod resources;
mod run;
mod runs;
mod setup;
mod show;
mod surroundings;
mod times;
mod why;

use std::process::ExitCode;

use clap::Parser;
use stages::contract::Registry;

use crate::error::{Blame, Error, Result};
use args::{Cli, Command};

/// A stage failed.
pub const FAILED: u8 = 1;
/// The command line or the experiment file is wrong.
pub const EXPERIMENT: u8 = 2;
/// The machine is in the way.
pub const MACHINE: u8 = 3;
/// Something would run, and `plan` was asked to say so by its exit code.
pub const STALE: u8 = 4;
/// Ctrl-C or SIGTERM; what was finished is kept.
pub const INTERRUPTED: u8 = 130;

/// Parses the command line, does what it says and gives the exit code.
pub fn main(registry: &Registry) -> ExitCode {
    let cli = Cli::parse();
    let logs = logging::start(cli.log, cli.command.is_exec());
    let result = threads(&cli.command).and_then(|()| match &cli.command {
        Command::Run(options) => run::run(options, registry, &logs),
        Command::Plan(options) => plan::run(options, registry),
        Command::Why(options) => why::run(options, registry),
        Command::Runs(options) => runs::run(options),
        Command::Show(options) => show::run(options, registry),
        Command::Diff(options) => diff::run(options, registry),
        Command::Stages(options) => kinds::run(options, registry),
        Command::Graph(options) => setup::draw(options, registry),
        Command::Schema => output::json(&crate::experiment::schema(registry)),
        Command::Init(options) => init::run(options, registry),
        Command::Completions { shell } => help::completions(*shell),
        Command::Man { command } => help::man(command),
        Command::Cache(command) => cache::run(command),
        Command::Exec { manifest } => exec::run(manifest, registry),
    });
    match result {
        Ok(code) => code,
        Err(e) => fail(&e),
    }
}

/// Starts the threads that look results up and hash; the process of an instance has as many as it was given.
fn threads(command: &Command) -> Result<()> {
    if command.is_exec() {
        return Ok(());
    }
    rayon::ThreadPoolBuilder::new().build_global().map_err(|e| {
        Error::machine(format!("cannot start threads: {e}"))
            .hint("see how many processes and how much memory the system allows: `ulimit -a`")
    })
}

fn fail(error: &Error) -> ExitCode {
    tracing::error!("{error}");
    ExitCode::from(match error.blame {
        Blame::Experiment => EXPERIMENT,
        Blame::Machine => MACHINE,
    })
}
