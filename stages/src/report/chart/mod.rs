//! Pictures as SVG that stands in the page: no script, no font, no request. Colours come from the page's style
//! sheet, so that pictures follow dark mode and print; every series also has its own dashes and marker.

mod axes;
mod forest;
mod lines;
mod scatter;
mod series;

use serde::Serialize;

pub use forest::{Interval, forest};
pub use lines::{Line, lines};
pub use scatter::{Group, scatter};
pub use series::{Series, swatch};

/// A picture with its words.
#[derive(Debug, Serialize)]
pub struct Chart {
    pub title: String,
    /// SVG that is safe to put into a page as it is.
    pub svg: String,
}

/// What is written around and under a picture.
#[derive(Clone, Debug)]
pub struct Labels {
    /// Unique in the page, of letters, digits and dashes.
    pub id: String,
    pub title: String,
    /// The picture in a sentence, for those who do not see it.
    pub description: String,
    pub x: String,
    pub y: String,
}

impl Chart {
    fn new(labels: &Labels, width: f64, height: f64, body: &str) -> Self {
        let (id, title, description) = (&labels.id, escape(&labels.title), escape(&labels.description));
        let svg = format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{description}</desc>{body}</svg>"
        );
        Self { title: labels.title.clone(), svg }
    }
}

/// Text that is safe in SVG and HTML, in elements and in attributes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Control characters have no place in XML.
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}
