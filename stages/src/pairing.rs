//! Which two of several responses make a preference pair.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::episode::Episode;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pairing {
    /// The best and the worst, as the annotator ranks them all.
    #[default]
    Extremes,
    /// The two with the smallest edit distance, in tokens: a correction is then a small one.
    Nearest,
    /// The best, and of the worse half, as the annotator ranks them all, the one that is nearest to it: a small
    /// correction that counts.
    NearBest,
}

impl Pairing {
    /// The responses that the annotator is asked to rank, of two or more different ones.
    pub fn asked(self, candidates: Vec<&Episode>) -> Vec<&Episode> {
        if self != Self::Nearest {
            return candidates;
        }
        let n = candidates.len();
        let pairs = (0..n).flat_map(|j| (0..j).map(move |i| (i, j)));
        let nearest = pairs.min_by_key(|(i, j)| edits(candidates[*i], candidates[*j]));
        nearest.map_or(vec![], |(i, j)| vec![candidates[i], candidates[j]])
    }

    /// The better and the worse one, as indices into what was ranked; `ranking` goes from the best down.
    pub fn of(self, ranking: &[usize], ranked: &[&Episode]) -> (usize, usize) {
        let (best, last) = (ranking[0], ranking[ranking.len() - 1]);
        let worse_half = &ranking[ranking.len() / 2..];
        let nearest = || worse_half.iter().copied().min_by_key(|i| edits(ranked[best], ranked[*i]));
        match self {
            Self::Extremes | Self::Nearest => (best, last),
            Self::NearBest => (best, nearest().unwrap_or(last)),
        }
    }
}

/// The edit distance of two responses, in tokens.
fn edits(a: &Episode, b: &Episode) -> usize {
    strsim::generic_levenshtein(&a.response, &b.response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn episode(response: &[u32]) -> Episode {
        Episode { prompt: vec![0], response: response.to_vec(), ended: true }
    }

    #[test]
    fn pairs_are_extreme_or_near() {
        let all = [&[1, 2, 3][..], &[7, 8, 9], &[1, 2, 4], &[1, 5, 6]].map(episode);
        let all: Vec<&Episode> = all.iter().collect();
        let ranking = [3, 0, 2, 1]; // from the best down
        assert_eq!(Pairing::Extremes.asked(all.clone()).len(), 4);
        assert_eq!(Pairing::Extremes.of(&ranking, &all), (3, 1));
        // Of the worse half, 2 and 1, the former shares a token with 3.
        assert_eq!(Pairing::NearBest.of(&ranking, &all), (3, 2));
        let near = Pairing::Nearest.asked(all);
        assert_eq!(near.iter().map(|e| e.response.as_slice()).collect::<Vec<_>>(), [[1, 2, 3], [1, 2, 4]]);
        assert_eq!(Pairing::Nearest.of(&[1, 0], &near), (1, 0));
    }
}
