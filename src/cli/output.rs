//! What is written for people and programs: data to standard output, everything else to standard error. A reader that
//! goes away (`| head`) is no error.

use std::{
    io::{self, ErrorKind, Write},
    process::ExitCode,
};

use serde::Serialize;

use crate::error::{Error, Result};

/// Writes a text as it is.
pub fn text(text: &str) -> Result<ExitCode> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::io("cannot write to standard output")(e)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The target of what is said, unless the program shall be quiet.
pub const SAID: &str = "said";
/// The target of what is said in any case.
pub const INSISTED: &str = "insisted";

/// Lines on standard error, in the form that logs have. Where nobody can read them, nobody misses them: no result may be lost
/// for that.
pub fn say(lines: &str) {
    tracing::info!(target: SAID, "{lines}");
}

/// The same, even if the program shall be quiet.
pub fn insist(lines: &str) {
    tracing::info!(target: INSISTED, "{lines}");
}

/// Writes one JSON value, for people and programs.
pub fn json(value: &impl Serialize) -> Result<ExitCode> {
    text(&pretty(value)?)
}

/// One JSON value as it is written for people and programs.
pub fn pretty(value: &impl Serialize) -> Result<String> {
    let json = serde_json::to_string_pretty(value).map_err(|e| Error::machine(e.to_string()))?;
    Ok(format!("{json}\n"))
}

/// Writes one JSON value on a line of its own.
pub fn json_line(value: &impl Serialize) -> Result<ExitCode> {
    let json = serde_json::to_string(value).map_err(|e| Error::machine(e.to_string()))?;
    text(&format!("{json}\n"))
}

/// Rows under a heading, in columns as wide as their widest cell.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let heading: Vec<String> = heading.iter().map(ToString::to_string).collect();
    let all = || std::iter::once(&heading).chain(rows);
    let widths: Vec<usize> =
        (0..heading.len()).map(|i| all().map(|row| row[i].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    all().map(line).collect()
}

/// A word for a shell.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
