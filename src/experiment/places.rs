//! Where each value of a YAML document stands.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScanError, Span, StrInput};

use crate::error::Place;

/// Keys and indices that lead to a value.
pub type Path = Vec<String>;

/// A place for each path of a document: of a scalar the value's, of anything else its key's.
pub fn places(file: &str, text: &str) -> Result<BTreeMap<Path, Place>, ScanError> {
    let mut walk = Walk {
        parser: Parser::new_from_str(text),
        file,
        lines: text.lines().collect(),
        found: BTreeMap::new(),
    };
    while let Some(event) = walk.parser.next_event() {
        let (event, span) = event?;
        if matches!(event, Event::MappingStart(..) | Event::SequenceStart(..)) {
            walk.node(event, span, span, &mut vec![])?;
            break;
        }
    }
    Ok(walk.found)
}

struct Walk<'a> {
    parser: Parser<'a, StrInput<'a>>,
    file: &'a str,
    lines: Vec<&'a str>,
    found: BTreeMap<Path, Place>,
}

impl<'a> Walk<'a> {
    /// A node that has just begun, below the key at `key`.
    fn node(&mut self, event: Event<'a>, span: Span, key: Span, path: &mut Path) -> Result<(), ScanError> {
        match event {
            Event::MappingStart(..) => {
                self.note(path, key);
                while let Some((event, key)) = self.next()? {
                    let name = match event {
                        Event::MappingEnd => break,
                        Event::Scalar(name, ..) => name.into_owned(),
                        _ => String::new(), // no name that an experiment can have
                    };
                    path.push(name);
                    if let Some((event, span)) = self.next()? {
                        self.node(event, span, key, path)?;
                    }
                    path.pop();
                }
            }
            Event::SequenceStart(..) => {
                self.note(path, key);
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
            _ => self.note(path, span),
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, ScanError> {
        self.parser.next_event().transpose()
    }

    fn note(&mut self, path: &Path, span: Span) {
        let (line, column) = (span.start.line(), span.start.col() + 1);
        let text = self.lines.get(line - 1).copied().unwrap_or_default();
        let rest = text.chars().count().saturating_sub(column - 1).max(1);
        let width = if span.end.line() == line { span.end.col().saturating_sub(column - 1) } else { rest };
        let place = Place::File {
            file: self.file.into(),
            line,
            column,
            text: text.into(),
            width: width.clamp(1, rest),
        };
        self.found.insert(path.clone(), place);
    }
}
