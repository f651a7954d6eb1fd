//! The simulated annotator: sees what is right, but is noisy and can be biased.
//!
//! P(A is preferred to B) = sigmoid((Δgold + b · Δshortcut) / τ), and then a share of all labels is flipped
//! (the simulated annotators of AlpacaFarm, Dubois et al. 2023, arXiv 2305.14387, also mix a preference with
//! random flips). The shortcut is what [`crate::oracle::Verdict::shortcut`] says for each world.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::oracle::Verdict;

/// How an annotator labels pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Annotator {
    /// b: gold points that one unit of the shortcut is worth to the annotator.
    pub bias: f32,
    /// τ > 0, in gold points: the smaller, the surer.
    pub temperature: f32,
    /// Share of labels that are flipped at random, 0 to 1.
    pub flip: f32,
}

impl Annotator {
    /// The annotator of a world unless an experiment asks for another; `None` if there is no such world.
    ///
    /// These figures were fixed from the sketches before any result of this pipeline was seen, and are not
    /// tuned on results: a refusal at a trigger word is worth 2 points in safety, a fact of length 0.3 in
    /// summary; dialogue has no bias and many flips.
    pub fn usual(world: &str) -> Option<Self> {
        let (bias, flip) = match world {
            "safety" => (2.0, 0.05),
            "dialogue" => (0.0, 0.25),
            "summary" => (0.3, 0.05),
            _ => return None,
        };
        Some(Self { bias, temperature: 0.15, flip })
    }

    /// The probability that the label says A, flips included.
    pub fn probability(&self, a: &Verdict, b: &Verdict) -> f64 {
        let gain = f64::from(a.gold - b.gold) + f64::from(self.bias) * f64::from(a.shortcut - b.shortcut);
        // Identical worth is a fair coin even where the temperature is 0.
        let steepness = if gain == 0.0 { 0.0 } else { gain / f64::from(self.temperature) };
        let sure = 1.0 / (1.0 + (-steepness).exp());
        let flip = f64::from(self.flip);
        sure * (1.0 - flip) + (1.0 - sure) * flip
    }

    /// Responses from the preferred one down, as indices: a ranking by worth and Gumbel noise of scale τ (the model of
    /// Plackett and Luce). Together with [`Annotator::flips`] the better of two is as likely as
    /// [`Annotator::probability`] says.
    pub fn rank(&self, verdicts: &[Verdict], rng: &mut ChaCha8Rng) -> Vec<usize> {
        let worth = |v: &Verdict| {
            let noise = -(-rng.random::<f64>().max(f64::MIN_POSITIVE).ln()).ln();
            f64::from(v.gold)
                + f64::from(self.bias) * f64::from(v.shortcut)
                + f64::from(self.temperature) * noise
        };
        let worth: Vec<f64> = verdicts.iter().map(worth).collect();
        let mut ranking: Vec<usize> = (0..worth.len()).collect();
        ranking.sort_by(|a, b| worth[*b].total_cmp(&worth[*a]));
        ranking
    }

    /// Whether a label is flipped.
    pub fn flips(&self, rng: &mut ChaCha8Rng) -> bool {
        rng.random::<f64>() < f64::from(self.flip)
    }
}
