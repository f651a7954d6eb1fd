//! Curves: every seed as a thin line, their mean as a thick one.

use std::fmt::Write;

use super::{
    Chart, Labels, Series,
    axes::{Axes, HEIGHT, WIDTH},
};

/// More points than a panel has room for.
const MOST_POINTS: usize = 160;

/// A series of a panel.
pub struct Line {
    pub series: Series,
    pub seeds: Vec<Vec<(f64, f64)>>,
    pub mean: Vec<(f64, f64)>,
}

pub fn lines(labels: &Labels, lines: &[Line]) -> Chart {
    let all = lines.iter().flat_map(|l| l.seeds.iter().chain([&l.mean]).flatten().copied());
    let axes = Axes::covering(all);
    let mut body = axes.draw(labels);
    for line in lines {
        for seed in line.seeds.iter().filter(|_| line.seeds.len() > 1) {
            path(&mut body, &axes, seed, &format!("line thin {}", line.series.colour()), "");
        }
    }
    for line in lines {
        let class = format!("line mean {}", line.series.colour());
        path(&mut body, &axes, &line.mean, &class, line.series.dashes());
        let last = line.mean.len().saturating_sub(1);
        for i in [last / 3, 2 * last / 3, last] {
            let Some(&(x, y)) = line.mean.get(i).filter(|p| finite(p)) else { continue };
            line.series.marker(&mut body, axes.x.at(x), axes.y.at(y), 3.2, "");
        }
    }
    Chart::new(labels, WIDTH, HEIGHT, &body)
}

/// A line through the points, broken where one is not finite.
fn path(out: &mut String, axes: &Axes, points: &[(f64, f64)], class: &str, dashes: &str) {
    let every = points.len().div_ceil(MOST_POINTS).max(1);
    let mut d = String::new();
    let mut pen_down = false;
    for (i, p) in points.iter().enumerate() {
        if i % every != 0 && i + 1 != points.len() {
            continue;
        }
        if finite(p) {
            let _ =
                write!(d, "{}{:.1} {:.1}", if pen_down { "L" } else { "M" }, axes.x.at(p.0), axes.y.at(p.1));
        }
        pen_down = finite(p);
    }
    let dashes = if dashes.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dashes}\"") };
    let _ = write!(out, "<path class=\"{class}\"{dashes} d=\"{d}\"/>");
}

fn finite(p: &(f64, f64)) -> bool {
    p.0.is_finite() && p.1.is_finite()
}
