//! How a series is told from the others: by colour, dashes and marker together.
//!
//! Up to [`MOST`] series, any two of the three tell all of them apart, so that colour is never needed. That takes
//! markers that are full and hollow: of six kinds each, no three properties can be paired so (Euler's 36 officers).

use std::fmt::Write;

/// The number of an arm among all arms of the page: it looks the same in every picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series(pub usize);

const COLOURS: usize = 6;
const DASHES: [&str; 6] = ["", "6 3", "2 2.5", "8 3 2 3", "12 4", "4 2 1 2 1 2"];
const MARKERS: usize = 6;
/// More series than these look like earlier ones.
#[cfg(test)]
const MOST: usize = COLOURS * DASHES.len();

impl Series {
    /// The class that gives the colour.
    pub fn colour(self) -> String {
        format!("s{}", self.0 % COLOURS)
    }

    /// How often all colours were used before.
    fn round(self) -> usize {
        self.0 / COLOURS
    }

    /// Shifted after each round of colours, so that a colour that returns has other dashes.
    pub fn dashes(self) -> &'static str {
        DASHES[(self.0 + self.round()) % DASHES.len()]
    }

    /// The marker's shape, shifted twice as far as the dashes, and whether it is hollow.
    fn shape(self) -> (usize, bool) {
        ((self.0 + 2 * self.round()) % MARKERS, self.round() % 2 == 1)
    }

    /// Draws the marker at a point; `r` is half its size.
    pub fn marker(self, out: &mut String, x: f64, y: f64, r: f64, class: &str) {
        let (shape, hollow) = self.shape();
        let class = if hollow { format!("{class} hollow") } else { class.into() };
        let start = format!("class=\"mark {class} {}\"", self.colour());
        let mut polygon = |points: &[(f64, f64)]| {
            let points: Vec<String> =
                points.iter().map(|(dx, dy)| format!("{:.1},{:.1}", x + r * dx, y + r * dy)).collect();
            let _ = write!(out, "<polygon {start} points=\"{}\"/>", points.join(" "));
        };
        match shape {
            0 => drop(write!(out, "<circle {start} cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{r:.1}\"/>")),
            1 => polygon(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
            2 => polygon(&[(0.0, -1.15), (1.1, 0.85), (-1.1, 0.85)]),
            3 => polygon(&[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)]),
            4 => polygon(&[(0.0, 1.15), (1.1, -0.85), (-1.1, -0.85)]),
            _ => polygon(&[
                (-0.4, -1.2),
                (0.4, -1.2),
                (0.4, -0.4),
                (1.2, -0.4),
                (1.2, 0.4),
                (0.4, 0.4),
                (0.4, 1.2),
                (-0.4, 1.2),
                (-0.4, 0.4),
                (-1.2, 0.4),
                (-1.2, -0.4),
                (-0.4, -0.4),
            ]),
        }
    }
}

/// The sample of a series in a legend.
pub fn swatch(series: Series) -> String {
    let mut svg = format!(
        "<svg class=\"swatch\" viewBox=\"0 0 36 12\" aria-hidden=\"true\"><line class=\"line mean {}\" \
         stroke-dasharray=\"{}\" x1=\"1\" y1=\"6\" x2=\"35\" y2=\"6\"/>",
        series.colour(),
        series.dashes()
    );
    series.marker(&mut svg, 18.0, 6.0, 4.0, "");
    svg + "</svg>"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn series_are_told_apart_without_colour() {
        let all = || (0..MOST).map(Series);
        let apart = all().map(|s| (s.dashes(), s.shape())).collect::<BTreeSet<_>>();
        assert_eq!(apart.len(), MOST, "by dashes and marker");
        let apart = all().map(|s| (s.colour(), s.shape())).collect::<BTreeSet<_>>();
        assert_eq!(apart.len(), MOST, "by colour and marker");
        let apart = all().map(|s| (s.colour(), s.dashes())).collect::<BTreeSet<_>>();
        assert_eq!(apart.len(), MOST, "by colour and dashes");
    }
}
