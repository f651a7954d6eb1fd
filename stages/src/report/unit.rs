//! Units, and how values in them are written.

use super::words::{minus_sign, rounded};

/// What a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Between 0 and 1, shown as a percentage.
    Share,
    /// A difference of shares, shown in percentage points.
    Points,
    /// The oracle's points; at most 1 in the worlds that come with this crate.
    Score,
    /// Natural logarithms of probabilities.
    Nats,
    Words,
    /// Not known here.
    Number,
}

impl Unit {
    /// The unit of a difference of two values.
    pub fn of_difference(self) -> Self {
        if self == Self::Share { Self::Points } else { self }
    }

    /// Whether it is a share or a difference of shares.
    pub fn is_share(self) -> bool {
        self.bounds().is_some()
    }

    /// The least and the most that a mean can be.
    pub fn bounds(self) -> Option<(f64, f64)> {
        match self {
            Self::Share => Some((0.0, 1.0)),
            Self::Points => Some((-1.0, 1.0)),
            _ => None,
        }
    }

    /// A value for people: `61.3 %`, `0.542`, `−1.20`.
    pub fn show(self, value: f64) -> String {
        format!("{}{}", self.number(value), self.sign())
    }

    /// As [`Unit::show`], without the sign of a percentage.
    pub fn number(self, value: f64) -> String {
        minus_sign(&match self {
            Self::Share | Self::Points => rounded(100.0 * value, 1),
            Self::Score | Self::Number => rounded(value, 3),
            Self::Nats | Self::Words => rounded(value, 2),
        })
    }

    /// A threshold for people: without needless zeros.
    pub fn threshold(self, value: f64) -> String {
        let number = match self {
            // 100 * 0.55 is a little more than 55.
            Self::Share | Self::Points => (1e8 * value).round() / 1e6,
            _ => value,
        };
        format!("{}{}", minus_sign(&number.to_string()), self.sign())
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Share => "\u{a0}%",
            Self::Points => "\u{a0}pp",
            _ => "",
        }
    }

    /// Beside a column's title.
    pub fn label(self) -> &'static str {
        match self {
            Self::Share => "%",
            Self::Score => "points",
            Self::Nats => "nats",
            Self::Points => "pp",
            Self::Words => "words",
            Self::Number => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_well() {
        assert_eq!(Unit::Share.show(0.6134), "61.3\u{a0}%");
        assert_eq!(Unit::Score.show(-0.0001), "0.000");
        assert_eq!(Unit::Nats.show(-1.2), "\u{2212}1.20");
        assert_eq!(Unit::Share.threshold(0.55), "55\u{a0}%");
        assert_eq!(Unit::Share.of_difference().show(-0.152), "\u{2212}15.2\u{a0}pp");
        assert_eq!(Unit::Score.of_difference(), Unit::Score);
    }
}
