//! A point for each arm, with its interval in both directions and its seeds as small points.

use std::fmt::Write;

use super::{
    Chart, Labels, Series,
    axes::{Axes, HEIGHT, WIDTH},
};

/// An arm.
pub struct Group {
    pub series: Series,
    pub seeds: Vec<(f64, f64)>,
    pub mean: (f64, f64),
    /// Lower and upper bound of x, then of y.
    pub bounds: [(f64, f64); 2],
}

pub fn scatter(labels: &Labels, groups: &[Group]) -> Chart {
    let corners = groups.iter().flat_map(|g| {
        let [(x0, x1), (y0, y1)] = g.bounds;
        g.seeds.iter().copied().chain([g.mean, (x0, y0), (x1, y1)])
    });
    let axes = Axes::covering(corners);
    let mut body = axes.draw(labels);
    for g in groups {
        for (x, y) in g.seeds.iter().filter(|_| g.seeds.len() > 1) {
            g.series.marker(&mut body, axes.x.at(*x), axes.y.at(*y), 2.8, "faint");
        }
        let [(x0, x1), (y0, y1)] = g.bounds;
        let (x, y) = (axes.x.at(g.mean.0), axes.y.at(g.mean.1));
        let (x0, x1, y0, y1) = (axes.x.at(x0), axes.x.at(x1), axes.y.at(y0), axes.y.at(y1));
        let class = format!("line bar {}", g.series.colour());
        let _ =
            write!(body, "<path class=\"{class}\" d=\"M{x0:.1} {y:.1}H{x1:.1}M{x:.1} {y0:.1}V{y1:.1}\"/>");
        g.series.marker(&mut body, x, y, 4.6, "");
    }
    Chart::new(labels, WIDTH, HEIGHT, &body)
}
