//! `pipeline init`.

use std::{
    fs,
    io::{ErrorKind, Write},
    process::ExitCode,
};

use stages::contract::Registry;

use super::{args::InitOptions, output};
use crate::{
    error::{Error, Result},
    experiment::schema,
};

const STARTER: &str = include_str!("init.yaml");

/// What the starter's first line names: editors look for it in the folder of the experiment.
const SCHEMA: &str = "pipeline.schema.json";

pub fn run(options: &InitOptions, registry: &Registry) -> Result<ExitCode> {
    let name = options.file.display();
    let written = fs::File::create_new(&options.file).and_then(|mut file| file.write_all(STARTER.as_bytes()));
    written.map_err(|e| {
        let hint = "name another file: `pipeline init other.yaml`";
        Error::io(format!("cannot write the experiment `{name}`"))(e).hint(hint)
    })?;
    let path = options.file.with_file_name(SCHEMA);
    let schema = output::pretty(&schema(registry))?;
    let written = fs::File::create_new(&path).and_then(|mut file| file.write_all(schema.as_bytes()));
    let beside = match written {
        Ok(()) => format!(", and {} for editors", path.display()),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => String::new(),
        Err(e) => return Err(Error::io(format!("cannot write the schema `{}`", path.display()))(e)),
    };
    output::say(&format!(
        "wrote {name}{beside}\nhint: `pipeline plan -f {name}` shows what it would do, `pipeline run -f {name}` does it"
    ));
    Ok(ExitCode::SUCCESS)
}
