//! Shares with their intervals, one below the other, against the line of no difference.

use std::fmt::Write;

use super::{
    Chart, Labels, Series,
    axes::{Scale, WIDTH},
    escape,
};

const LEFT: f64 = 40.0;
const RIGHT: f64 = 128.0;
const ROW: f64 = 17.0;
const HEAD: f64 = 20.0;

/// A row: a share between 0 and 1.
pub struct Interval {
    pub label: String,
    pub value: f64,
    pub low: f64,
    pub high: f64,
    /// The numbers, as text.
    pub text: String,
}

/// Blocks of a heading and its rows, with a line at one half.
pub fn forest(labels: &Labels, blocks: &[(String, Series, Vec<Interval>)]) -> Chart {
    let rows: f64 = blocks.iter().map(|b| HEAD + ROW * b.2.len() as f64 + 4.0).sum();
    let (bottom, height) = (rows + 6.0, rows + 44.0);
    let x = Scale::fixed(0.0, 1.0, LEFT, WIDTH - RIGHT);
    let mut out = String::new();
    for (value, text) in [(0.0, "0"), (0.25, "25"), (0.5, "50"), (0.75, "75"), (1.0, "100")] {
        let at = x.at(value);
        let class = if value == 0.5 { "half" } else { "grid" };
        let _ =
            write!(out, "<line class=\"{class}\" x1=\"{at:.1}\" y1=\"2\" x2=\"{at:.1}\" y2=\"{bottom}\"/>");
        let _ = write!(
            out,
            "<text class=\"tick\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
            bottom + 13.0
        );
    }
    let (middle, name) = (x.at(0.5), escape(&labels.x));
    let _ = write!(
        out,
        "<text class=\"name\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{name}</text>",
        height - 8.0
    );
    let mut y = 4.0;
    for (heading, series, rows) in blocks {
        let _ = write!(out, "<text class=\"head\" x=\"2\" y=\"{:.1}\">{}</text>", y + 12.0, escape(heading));
        y += HEAD;
        for row in rows {
            let (low, high, at) = (x.at(row.low), x.at(row.high), x.at(row.value));
            let middle = y + ROW / 2.0 - 1.0;
            let _ = write!(
                out,
                "<text class=\"tick\" x=\"12\" y=\"{:.1}\">{}</text>",
                middle + 3.5,
                escape(&row.label)
            );
            let _ = write!(
                out,
                "<path class=\"line bar {}\" d=\"M{low:.1} {middle:.1}H{high:.1}\"/>",
                series.colour()
            );
            series.marker(&mut out, at, middle, 4.0, "");
            let _ = write!(
                out,
                "<text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - 2.0,
                middle + 3.5,
                escape(&row.text)
            );
            y += ROW;
        }
        y += 4.0;
    }
    Chart::new(labels, WIDTH, height, &out)
}
