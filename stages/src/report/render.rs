//! The page as HTML and as Markdown. Names and texts come from data and are not trusted: each format escapes
//! everything that is not marked as its own.

use minijinja::{AutoEscape, Environment, Error, Output, State, Value};

use super::{chart::escape, page::Page};
use crate::contract::StageError;

const FILES: [(&str, &str); 2] = [
    ("index.html", include_str!("templates/index.html")),
    ("report.md", include_str!("templates/report.md")),
];

/// `index.html` and `report.md`.
pub fn render(page: &Page) -> Result<(String, String), StageError> {
    let failed = |e| StageError::because("the report's templates cannot be filled in", e);
    let engine = engine().map_err(failed)?;
    let fill = |name: &str| engine.get_template(name)?.render(page);
    Ok((fill("index.html").map_err(failed)?, fill("report.md").map_err(failed)?))
}

fn engine() -> Result<Environment<'static>, Error> {
    let mut engine = Environment::new();
    engine.set_trim_blocks(true);
    engine.set_lstrip_blocks(true);
    engine.set_keep_trailing_newline(true);
    engine.set_auto_escape_callback(|name| match name.rsplit('.').next() {
        Some("html") => AutoEscape::Html,
        Some("md") => AutoEscape::Custom("md"),
        _ => AutoEscape::None,
    });
    engine.set_formatter(format);
    engine.add_global("style", Value::from_safe_string(include_str!("templates/style.css").into()));
    for (name, text) in FILES {
        engine.add_template(name, text)?;
    }
    Ok(engine)
}

fn format(out: &mut Output, state: &State, value: &Value) -> Result<(), Error> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    match state.auto_escape() {
        _ if value.is_safe() => write!(out, "{value}").map_err(Error::from),
        AutoEscape::Html => write!(out, "{}", escape(&text(value))).map_err(Error::from),
        AutoEscape::Custom("md") => write!(out, "{}", markdown(&text(value))).map_err(Error::from),
        _ => minijinja::escape_formatter(out, state, value),
    }
}

/// Text that is only text in a paragraph, a heading or a table's cell of GitHub's Markdown.
fn markdown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '~' | '$' | '!' => safe.extend(['\\', c]),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_stays_in_its_cell() {
        assert_eq!(markdown("a|b\n<i>`c`"), "a\\|b &lt;i&gt;\\`c\\`");
        assert_eq!(markdown("[x](y) \\|"), "\\[x\\](y) \\\\\\|");
    }
}
