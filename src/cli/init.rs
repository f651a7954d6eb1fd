//! `pipeline init`.

use std::{fs, io::Write, process::ExitCode};

use super::{args::InitOptions, output};
use crate::error::{Error, Result};

const STARTER: &str = include_str!("init.yaml");

pub fn run(options: &InitOptions) -> Result<ExitCode> {
    let name = options.file.display();
    let written = fs::File::create_new(&options.file).and_then(|mut file| file.write_all(STARTER.as_bytes()));
    written.map_err(|e| {
        let hint = "name another file: `pipeline init other.yaml`";
        Error::io(format!("cannot write the experiment `{name}`"))(e).hint(hint)
    })?;
    output::say(&format!(
        "wrote {name}\nhint: `pipeline plan -f {name}` shows what it would do, `pipeline run -f {name}` does it"
    ));
    Ok(ExitCode::SUCCESS)
}
