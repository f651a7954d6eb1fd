//! Help outside the program: a shell's completions and the manual page, from the types that parse the command line.

use std::process::ExitCode;

use clap::CommandFactory;

use super::{args::Cli, output};
use crate::error::{Error, Result};

pub fn completions(shell: clap_complete::Shell) -> Result<ExitCode> {
    let mut script = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "pipeline", &mut script);
    output::text(&String::from_utf8_lossy(&script))
}

pub fn man() -> Result<ExitCode> {
    let mut page = vec![];
    let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
    rendered.map_err(Error::io("the manual page cannot be made"))?;
    output::text(&String::from_utf8_lossy(&page))
}
