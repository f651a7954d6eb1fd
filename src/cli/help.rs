//! Help outside the program: a shell's completions and the manual page, from the types that parse the command line.

use std::process::ExitCode;

use clap::CommandFactory;

use super::{args::Cli, output};
use crate::{
    error::{Error, Result},
    experiment::did_you_mean,
};

pub fn completions(shell: clap_complete::Shell) -> Result<ExitCode> {
    let mut script = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "pipeline", &mut script);
    output::text(&String::from_utf8_lossy(&script))
}

/// The page of the program, or of a command: `cache gc`.
pub fn man(path: &[String]) -> Result<ExitCode> {
    let mut program = Cli::command();
    program.build();
    let mut command = &program;
    for name in path {
        let found = command.get_subcommands().find(|known| known.get_name() == name);
        command = found.ok_or_else(|| {
            let known = command.get_subcommands().filter(|c| !c.is_hide_set()).map(clap::Command::get_name);
            Error::experiment(format!("there is no command `{name}`")).hint(did_you_mean(name, known))
        })?;
    }
    let mut page = vec![];
    let rendered = clap_mangen::Man::new(command.clone()).render(&mut page);
    rendered.map_err(Error::io("the manual page cannot be made"))?;
    output::text(&String::from_utf8_lossy(&page))
}
