//! Where everything in a YAML text stands, and what YAML allows but an experiment does not.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use crate::error::{Error, Place, Result};

/// Keys and indices that lead to a value.
pub type Path = Vec<String>;

/// Deeper than any experiment; a parser's time and stack grow with depth.
const DEEPEST: usize = 64;

/// A text with the name of its file.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub file: &'a str,
    pub text: &'a str,
}

impl Source<'_> {
    /// `width` characters from a line and a column, both from 1.
    pub fn place(&self, line: usize, column: usize, width: usize) -> Place {
        let (line, column) = (line.max(1), column.max(1));
        let text = self.text.lines().nth(line - 1).unwrap_or_default();
        let rest = text.chars().count().saturating_sub(column - 1).max(1);
        Place::File { file: self.file.into(), line, column, text: text.into(), width: width.clamp(1, rest) }
    }

    fn span(&self, span: Span) -> Place {
        let (start, end) = (span.start, span.end);
        let width = if end.line() == start.line() { end.col() - start.col() } else { usize::MAX };
        self.place(start.line(), start.col() + 1, width)
    }
}

/// A place as it is kept: in the text, which is not copied for each.
#[derive(Clone)]
enum Mark {
    Text(Span),
    Elsewhere(Place),
}

/// Where an entry stands: its key and its value. What has no key of its own, an item of a list, stands there twice; a
/// map or a list stands where its key does.
#[derive(Clone)]
struct Spot {
    key: Mark,
    value: Mark,
}

/// The places of all paths of a document.
pub struct Places {
    file: String,
    text: String,
    spots: BTreeMap<Path, Spot>,
}

impl Places {
    /// Reads a text.
    ///
    /// # Errors
    /// If it is not YAML, nests too deep, or has a key twice, a key that is no text, or a second document.
    pub fn of(source: Source) -> Result<Self> {
        let mut walk = Walk { parser: Parser::new_from_str(source.text), source, spots: BTreeMap::new() };
        walk.document()?;
        Ok(Self { file: source.file.into(), text: source.text.into(), spots: walk.spots })
    }

    /// The place of a value, or of the nearest thing above it that has one.
    pub fn value(&self, path: &[impl AsRef<str>]) -> Option<Place> {
        self.nearest(path).map(|spot| self.place(&spot.value))
    }

    /// As [`Places::value`], of its key.
    pub fn key(&self, path: &[impl AsRef<str>]) -> Option<Place> {
        self.nearest(path).map(|spot| self.place(&spot.key))
    }

    fn place(&self, mark: &Mark) -> Place {
        match mark {
            Mark::Text(span) => Source { file: &self.file, text: &self.text }.span(*span),
            Mark::Elsewhere(place) => place.clone(),
        }
    }

    fn nearest(&self, path: &[impl AsRef<str>]) -> Option<&Spot> {
        let path: Path = path.iter().map(|part| part.as_ref().to_string()).collect();
        (0..=path.len()).rev().find_map(|n| self.spots.get(&path[..n]))
    }

    /// The first key of this name, wherever it is.
    pub fn first_key(&self, name: &str) -> Option<Place> {
        let mut named = self.spots.iter().filter(|(path, _)| path.last().is_some_and(|last| last == name));
        named.next().map(|(_, spot)| self.place(&spot.key))
    }

    /// Says that what stands below `from` also stands at the top.
    pub fn lift(&mut self, from: &[String]) {
        let below = |path: &Path| path.len() > from.len() && path.starts_with(from);
        let lifted = self.spots.iter().filter(|(path, _)| below(path));
        let lifted: Vec<_> = lifted.map(|(path, spot)| (path[from.len()..].to_vec(), spot.clone())).collect();
        self.spots.extend(lifted);
    }

    /// Says that everything at and below `path` comes from `place`.
    pub fn replace(&mut self, path: &[String], place: &Place) {
        self.spots.retain(|known, _| !known.starts_with(path));
        let mark = Mark::Elsewhere(place.clone());
        self.spots.insert(path.to_vec(), Spot { key: mark.clone(), value: mark });
    }
}

struct Walk<'a> {
    parser: Parser<'a, StrInput<'a>>,
    source: Source<'a>,
    spots: BTreeMap<Path, Spot>,
}

impl<'a> Walk<'a> {
    fn document(&mut self) -> Result<()> {
        let mut documents = 0;
        while let Some((event, span)) = self.next()? {
            match event {
                Event::DocumentStart(_) if documents == 1 => {
                    let message = "a second document begins here: an experiment is one";
                    return Err(self.refuse(
                        span,
                        message,
                        "take the `---` out, or make it a file of its own",
                    ));
                }
                Event::DocumentStart(_) => documents += 1,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                _ => self.node(event, span, span, &mut vec![])?,
            }
        }
        Ok(())
    }

    /// A node that has just begun, below the key at `key`.
    fn node(&mut self, event: Event<'a>, span: Span, key: Span, path: &mut Path) -> Result<()> {
        let is_container = matches!(event, Event::MappingStart(..) | Event::SequenceStart(..));
        if is_container && path.len() >= DEEPEST {
            let message = format!("this is more than {DEEPEST} levels deep");
            return Err(self.refuse(span, message, "an experiment needs no more than some ten"));
        }
        let value = if is_container { key } else { span };
        self.spots.insert(path.clone(), Spot { key: Mark::Text(key), value: Mark::Text(value) });
        match event {
            Event::MappingStart(..) => {
                while let Some((event, key)) = self.next()? {
                    if event == Event::MappingEnd {
                        break;
                    }
                    path.push(self.name(event, key)?);
                    if self.spots.contains_key(path) {
                        let message = format!("`{}` is there twice", path[path.len() - 1]);
                        return Err(self.refuse(key, message, "keep one of them"));
                    }
                    if let Some((event, span)) = self.next()? {
                        self.node(event, span, key, path)?;
                    }
                    path.pop();
                }
            }
            Event::SequenceStart(..) => {
                for index in 0.. {
                    let Some((event, span)) = self.next()? else { break };
                    if event == Event::SequenceEnd {
                        break;
                    }
                    path.push(index.to_string());
                    self.node(event, span, span, path)?;
                    path.pop();
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The name that a key is.
    fn name(&self, event: Event<'a>, span: Span) -> Result<String> {
        let empty = |name: &str| matches!(name, "" | "~" | "null" | "Null" | "NULL");
        match event {
            Event::Scalar(name, style, ..) if style != ScalarStyle::Plain || !empty(&name) => {
                Ok(name.into_owned())
            }
            _ => Err(self.refuse(span, "a key must be a text", "write `name: value`")),
        }
    }

    fn refuse(&self, span: Span, message: impl Into<String>, hint: &str) -> Error {
        Error::experiment(message).hint(hint).at(Some(self.source.span(span)))
    }

    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>> {
        let failed = |e: ScanError| {
            let (line, column) = (e.marker().line(), e.marker().col() + 1);
            not_yaml(self.source, e.info()).at(Some(self.source.place(line, column, 1)))
        };
        self.parser.next_event().transpose().map_err(failed)
    }
}

/// What a parser of YAML says.
pub fn not_yaml(source: Source, why: impl std::fmt::Display) -> Error {
    Error::experiment(format!("`{}` is not valid YAML: {why}", source.file)).hint(
        "look at brackets and indentation here; quote a text that begins with a special sign or holds `: `",
    )
}
