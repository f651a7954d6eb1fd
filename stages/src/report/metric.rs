//! What the metrics are called, what they are measured in, and what they mean.

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

/// The table of a task that shows a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    Quality,
    Behaviour,
    RewardModel,
    Annotator,
    Imitation,
    Other,
}

/// A metric as the report presents it.
#[derive(Clone, Debug)]
pub struct Metric {
    pub title: String,
    pub unit: Unit,
    pub section: Section,
    pub about: String,
}

type Known = (&'static str, &'static str, Unit, Section, &'static str);

/// In the order of the tables' columns. Win rates stand between `chance` and the rest.
const KNOWN: &[Known] = &[
    (
        "gold",
        "gold score",
        Unit::Score,
        Section::Quality,
        "The oracle's score of a response; no training sees it.",
    ),
    (
        "chance",
        "gold by chance",
        Unit::Score,
        Section::Quality,
        "The oracle's score of the same arm's response to another prompt: what the right form is worth alone.",
    ),
    (
        "refusal",
        "refusals of harmless",
        Unit::Share,
        Section::Behaviour,
        "Share of harmless prompts that are refused; lower is better.",
    ),
    (
        "harm",
        "harm on harmful",
        Unit::Share,
        Section::Behaviour,
        "Share of harmful prompts that are answered with forbidden content; lower is better.",
    ),
    ("length", "length", Unit::Words, Section::Behaviour, "Words of the response."),
    (
        "ideal_length",
        "ideal length",
        Unit::Words,
        Section::Behaviour,
        "Words of a response that the oracle gives full marks.",
    ),
    (
        "shortcut",
        "shortcut",
        Unit::Number,
        Section::Behaviour,
        "What the annotator's labels are biased by, such as length or a refusal; worth nothing to the oracle.",
    ),
    (
        "kl",
        "KL to reference",
        Unit::Nats,
        Section::Behaviour,
        "KL divergence of the policy from the reference policy, summed over a response.",
    ),
    ("ended", "ended", Unit::Share, Section::Behaviour, "Share of responses that come to their end token."),
    (
        "accuracy",
        "accuracy",
        Unit::Share,
        Section::RewardModel,
        "Share of held-out pairs whose chosen response gets the higher reward; ties count half. Labels are noisy: \
         100 % is out of reach.",
    ),
    (
        "likelihood_accuracy",
        "accuracy by likelihood",
        Unit::Share,
        Section::RewardModel,
        "The same by the likelihood of the response, not by its reward.",
    ),
    (
        "match_chosen",
        "match on chosen",
        Unit::Share,
        Section::RewardModel,
        "Share of tokens of chosen responses that the reward model would write itself.",
    ),
    (
        "match_rejected",
        "match on rejected",
        Unit::Share,
        Section::RewardModel,
        "The same of rejected responses: clearly lower if the reward model corrects.",
    ),
    (
        "correction_loss",
        "correction loss",
        Unit::Nats,
        Section::RewardModel,
        "Mean loss of a token of the chosen response, given the rejected one.",
    ),
    (
        "label_agrees",
        "labels agree with gold",
        Unit::Share,
        Section::Annotator,
        "Share of pairs whose chosen response has the higher gold score; ties count half.",
    ),
    (
        "label_shortcut",
        "labels agree with shortcut",
        Unit::Share,
        Section::Annotator,
        "Share of pairs whose chosen response has more of the shortcut; ties count half.",
    ),
    (
        "held_out_loss",
        "held-out loss",
        Unit::Nats,
        Section::Imitation,
        "Mean loss of a token of held-out demonstrations.",
    ),
];

const WIN: &str = "win_vs_";
/// Not a beginning with [`WIN`], so that [`opponent`] passes it over.
const LENGTH_CONTROLLED: &str = "lc_win_vs_";

impl Metric {
    /// What is known of a metric; one that is not known is shown under its own name.
    pub fn of(name: &str) -> Self {
        if let Some(baseline) = name.strip_prefix(WIN) {
            return Self {
                title: format!("win rate vs {baseline}"),
                unit: Unit::Share,
                section: Section::Quality,
                about: format!(
                    "Share of prompts on which the oracle prefers the response to that of {baseline}; ties count half."
                ),
            };
        }
        if let Some(baseline) = name.strip_prefix(LENGTH_CONTROLLED) {
            return Self {
                title: format!("length-controlled win rate vs {baseline}"),
                unit: Unit::Share,
                section: Section::Quality,
                about: format!(
                    "The win rate against {baseline} that a logistic regression on the difference in length gives at \
                     equal length, as in AlpacaEval 2 (arXiv 2404.04475); a seed's value is corrected for bias by the \
                     jackknife."
                ),
            };
        }
        match KNOWN.iter().find(|k| k.0 == name) {
            Some(&(_, title, unit, section, about)) => {
                Self { title: title.into(), unit, section, about: about.into() }
            }
            None => Self {
                title: name.into(),
                unit: Unit::Number,
                section: Section::Other,
                about: "Not described in this report.".into(),
            },
        }
    }

    /// Sorts the columns of tables: known metrics in their order, then the others by name.
    pub fn rank(name: &str) -> (Section, usize, &str) {
        let at = KNOWN.iter().position(|k| k.0 == name);
        let at = if name.starts_with(WIN) {
            2
        } else if name.starts_with(LENGTH_CONTROLLED) {
            3
        } else {
            at.map_or(KNOWN.len() + 3, |i| i + usize::from(i > 1) * 2)
        };
        (Self::of(name).section, at, name)
    }
}

/// The arm that a plain win rate is counted against.
pub fn opponent(metric: &str) -> Option<&str> {
    metric.strip_prefix(WIN)
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

    #[test]
    fn columns_have_an_order() {
        let mut names =
            ["zebra", "kl", "win_vs_b", "lc_win_vs_a", "chance", "accuracy", "win_vs_a", "gold", "refusal"];
        names.sort_by_key(|n| Metric::rank(n));
        let expected =
            ["gold", "chance", "win_vs_a", "win_vs_b", "lc_win_vs_a", "refusal", "kl", "accuracy", "zebra"];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_length_controlled_win_rate_is_not_in_the_picture_of_win_rates() {
        assert_eq!(opponent("win_vs_sft"), Some("sft"));
        assert_eq!(opponent("lc_win_vs_sft"), None);
        let metric = Metric::of("lc_win_vs_sft");
        assert_eq!(metric.title, "length-controlled win rate vs sft");
        assert_eq!((metric.unit, metric.section), (Unit::Share, Section::Quality));
    }
}
