//! What the metrics are called, what they are measured in, and what they mean.

use super::unit::Unit;

/// The table of a task that shows a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    Quality,
    Behaviour,
    RewardModel,
    Evidence,
    Annotator,
    Imitation,
    Selection,
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
        "recall",
        "recall",
        Unit::Share,
        Section::Quality,
        "Share of the salient facts that the response tells.",
    ),
    (
        "fall_from_peak",
        "fall from the peak",
        Unit::Score,
        Section::Quality,
        "Gold at PPO\u{2019}s peak less gold at its end: what over-optimization costs. Where the peak is, the other half of \
         the prompts says, so that it is no higher than it looks.",
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
        "excess_length",
        "excess length",
        Unit::Words,
        Section::Behaviour,
        "Words beyond the ideal length; a response that is not too long has none.",
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
    (
        "kl_before",
        "KL before",
        Unit::Nats,
        Section::Behaviour,
        "Of an arm that answers at a given KL by two snapshots: the KL of the earlier one.",
    ),
    ("kl_after", "KL after", Unit::Nats, Section::Behaviour, "The KL of the later one."),
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
        "token_auc",
        "AUC of token rewards",
        Unit::Share,
        Section::Evidence,
        "How likely a right word gets more than a wrong one of the same response; 50 % is chance. A seed\u{2019}s \
         value is corrected for bias by the jackknife.",
    ),
    (
        "length_given_gold",
        "reward and length",
        Unit::Number,
        Section::Evidence,
        "Partial correlation of a response\u{2019}s reward with its length, given gold; 0 where length alone earns nothing.",
    ),
    (
        "refusal_given_gold",
        "reward and refusal",
        Unit::Number,
        Section::Evidence,
        "Partial correlation of a response\u{2019}s reward with its being a refusal, given gold.",
    ),
    (
        "divergence_on_error",
        "divergence at the first error",
        Unit::Share,
        Section::Evidence,
        "Of responses with a wrong word, the share in which the reward model first diverges exactly there.",
    ),
    (
        "divergence_offset",
        "divergence after the first error",
        Unit::Words,
        Section::Evidence,
        "Place of the first divergence less that of the first wrong word, where there are both; negative if too early.",
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
    (
        "selection",
        "criterion",
        Unit::Number,
        Section::Selection,
        "What a trial is selected by, the higher the better: accuracy, the correction loss negated, or reward less the \
         price of KL.",
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn measurements_against_gold_have_a_table_of_their_own() {
        for (name, unit) in [
            ("token_auc", Unit::Share),
            ("length_given_gold", Unit::Number),
            ("refusal_given_gold", Unit::Number),
            ("divergence_on_error", Unit::Share),
            ("divergence_offset", Unit::Words),
        ] {
            assert_eq!(
                (Metric::of(name).unit, Metric::of(name).section),
                (unit, Section::Evidence),
                "{name}"
            );
        }
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
