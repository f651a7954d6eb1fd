//! Axes: from values to places, and the marks along them.

use std::fmt::Write;

use super::{Labels, escape};
use crate::report::words::minus_sign;

pub const WIDTH: f64 = 340.0;
pub const HEIGHT: f64 = 236.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 40.0;

/// From values to a stretch of the picture.
#[derive(Clone, Debug)]
pub struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// Covers all finite values, with some room.
    fn covering(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (low, high) = values
            .filter(|v| v.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            return Self { low: 0.0, high: 1.0, from, to };
        }
        let room = if high > low { 0.06 * (high - low) } else { 0.5 * high.abs().max(0.1) };
        // Quantities that cannot be negative get no negative axis.
        let bottom = if low >= 0.0 { (low - room).max(0.0) } else { low - room };
        Self { low: bottom, high: high + room, from, to }
    }

    pub fn fixed(low: f64, high: f64, from: f64, to: f64) -> Self {
        Self { low, high, from, to }
    }

    pub fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Round values, some five of them.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let rough = (self.high - self.low) / 5.0;
        let power = 10_f64.powi(rough.log10().floor() as i32);
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough * 0.999);
        let step = step.unwrap_or(10.0 * power);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let (first, last) = ((self.low / step).ceil() as i64, (self.high / step).floor() as i64);
        let label = |v: f64| minus_sign(&format!("{:.decimals$}", v + 0.0));
        (first..=last).map(|i| i as f64 * step).map(|v| (v, label(v))).collect()
    }
}

/// Both axes of a panel.
pub struct Axes {
    pub x: Scale,
    pub y: Scale,
}

impl Axes {
    /// Covers all points.
    pub fn covering(points: impl Iterator<Item = (f64, f64)> + Clone) -> Self {
        Self {
            x: Scale::covering(points.clone().map(|p| p.0), LEFT, WIDTH - RIGHT),
            y: Scale::covering(points.map(|p| p.1), HEIGHT - BOTTOM, TOP),
        }
    }

    /// Grid, marks and labels.
    pub fn draw(&self, labels: &Labels) -> String {
        let mut out = String::new();
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for (value, text) in self.y.ticks() {
            let y = self.y.at(value);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>"
            );
            let _ = write!(
                out,
                "<text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                LEFT - 5.0,
                y + 3.5
            );
        }
        for (value, text) in self.x.ticks() {
            let x = self.x.at(value);
            let _ = write!(
                out,
                "<line class=\"axis\" x1=\"{x:.1}\" y1=\"{bottom}\" x2=\"{x:.1}\" y2=\"{}\"/>",
                bottom + 4.0
            );
            let _ = write!(
                out,
                "<text class=\"tick\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
                bottom + 15.0
            );
        }
        let _ = write!(
            out,
            "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{bottom}\" x2=\"{right}\" y2=\"{bottom}\"/>"
        );
        let (middle, height) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
        let (x, y) = (escape(&labels.x), escape(&labels.y));
        let _ = write!(
            out,
            "<text class=\"name\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{x}</text>",
            HEIGHT - 6.0
        );
        let _ = write!(
            out,
            "<text class=\"name\" transform=\"translate(11 {height}) rotate(-90)\" text-anchor=\"middle\">{y}</text>"
        );
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64) -> Vec<String> {
        Scale::fixed(low, high, 0.0, 1.0).ticks().into_iter().map(|t| t.1).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(0.0, 1.0), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(-12.0, 37.0), ["\u{2212}10", "0", "10", "20", "30"]);
        assert_eq!(labels(0.0012, 0.0031), ["0.0015", "0.0020", "0.0025", "0.0030"]);
    }

    #[test]
    fn a_single_value_has_an_axis() {
        let scale = Scale::covering([3.0].into_iter(), 0.0, 10.0);
        assert!((scale.at(3.0) - 5.0).abs() < 1e-9);
        let none = Scale::covering([f64::NAN].into_iter(), 0.0, 10.0);
        assert_eq!(none.at(0.5), 5.0);
    }
}
