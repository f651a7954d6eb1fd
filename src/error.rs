//! How the engine says that something is wrong: what is at fault, where, and what to do next.

use std::fmt;

/// Who can act on an error; the command line turns it into an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The experiment file or the command line.
    Experiment,
    /// The machine: folders, permissions, space, processes.
    Machine,
}

/// A place in the experiment file or on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    File {
        file: String,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
        /// The line's text.
        text: String,
        /// Characters to point at, from `column`; at least 1.
        width: usize,
    },
    /// An override, as it was given: `--set stages.ppo.with.kl=0.1`.
    Option(String),
}

/// In a word: `pipeline.yaml:20:11`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, column, .. } => write!(f, "{file}:{line}:{column}"),
            Self::Option(option) => f.write_str(&shown(option, WIDEST)),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Error {
    pub blame: Blame,
    pub message: String,
    pub place: Option<Box<Place>>,
    /// What to do next, if we know.
    pub hint: Option<String>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn experiment(message: impl Into<String>) -> Self {
        Self { blame: Blame::Experiment, message: message.into(), place: None, hint: None }
    }

    pub fn machine(message: impl Into<String>) -> Self {
        Self { blame: Blame::Machine, message: message.into(), place: None, hint: None }
    }

    /// `what` names the deed and the file: "cannot read `x`".
    pub fn io(what: impl fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        move |e| Self::machine(format!("{what}: {e}"))
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub fn at(self, place: Option<Place>) -> Self {
        Self { place: place.map(Box::new), ..self }
    }
}

impl std::error::Error for Error {}

/// Characters of a message that are shown, and of a line of a file.
const LONGEST_MESSAGE: usize = 2000;
const WIDEST: usize = 160;

/// Text from a file, fit for a terminal: not too long, and without signs that steer it.
fn shown(text: &str, most: usize) -> String {
    let plain = |c: char| if c.is_control() && c != '\n' { '\u{fffd}' } else { c };
    let mut shown: String = text.chars().take(most).map(plain).collect();
    if text.chars().nth(most).is_some() {
        shown.push('…');
    }
    shown
}

/// Without colour, so that it reads the same in a file:
///
/// ```text
/// there is no stage kind `sfft`
///   --> pipeline.yaml:20:11
///    |
/// 20 |     uses: sfft
///    |           ^^^^
/// hint: did you mean `sft`?
/// ```
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.message, LONGEST_MESSAGE))?;
        match self.place.as_deref() {
            None => {}
            Some(place @ Place::Option(_)) => write!(f, "\n  --> {place}")?,
            Some(place @ Place::File { line, column, text, width, .. }) => {
                let number = line.to_string();
                let margin = " ".repeat(number.len());
                // Of a long line only the part that matters.
                let skipped = if *column > WIDEST / 2 { column - WIDEST / 2 } else { 0 };
                let text = shown(&text.chars().skip(skipped).collect::<String>(), WIDEST);
                let indent = column - 1 - skipped;
                let arrows = "^".repeat((*width).min(WIDEST - indent));
                let indent = " ".repeat(indent);
                write!(f, "\n{margin}--> {place}")?;
                write!(f, "\n{margin} |\n{number} | {text}\n{margin} | {indent}{arrows}")?;
            }
        }
        self.hint.iter().try_for_each(|hint| write!(f, "\nhint: {hint}"))
    }
}
