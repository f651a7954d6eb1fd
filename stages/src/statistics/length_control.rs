//! Win rates at equal length.

use super::{
    jackknife::jackknife,
    logistic::{Fit, fit, sigmoid},
};

/// The win rate that a logistic regression gives at equal length, item by item: jackknife pseudo-values, whose mean
/// is that win rate, bias-corrected. Single values may lie far outside 0 and 1.
///
/// `wins` are 1, 1/2 (a tie) or 0, `longer` by how much each response is longer than its opponent's. The
/// covariate is `tanh(longer / sd(longer))`, as in Y. Dubois, B. Galambosi, P. Liang, T. B. Hashimoto,
/// "Length-controlled AlpacaEval", arXiv 2404.04475, eq. 1, with two differences: there is no term for the
/// difficulty of an instruction, which that paper shares between models, and ties stay ties. Where lengths do not
/// differ, or all by the same, length cannot be held fixed, and this is the plain win rate.
///
/// The jackknife, not influence functions: it needs no derivative to go with the statistic, which includes the
/// standard deviation, and holds also where the ridge matters.
///
/// None where the slices differ in length, are empty, or hold something else than described.
pub fn length_controlled_wins(wins: &[f32], longer: &[f32]) -> Option<Vec<f64>> {
    if wins.len() != longer.len() || wins.is_empty() {
        return None;
    }
    let whole = at_equal_length(wins, longer, None, Fit::default())?;
    jackknife(wins.len(), |out| match out {
        None => Some(sigmoid(whole.intercept)),
        // Newton's method from the fit to all items needs few steps.
        Some(_) => at_equal_length(wins, longer, out, whole).map(|f| sigmoid(f.intercept)),
    })
}

fn at_equal_length(wins: &[f32], longer: &[f32], out: Option<usize>, start: Fit) -> Option<Fit> {
    let kept = wins.iter().zip(longer).enumerate().filter(|(i, _)| Some(*i) != out);
    let kept = kept.map(|(_, (win, longer))| (f64::from(*longer), f64::from(*win)));
    let n = kept.clone().count() as f64;
    let mean = kept.clone().map(|(x, _)| x).sum::<f64>() / n;
    let sd = (kept.clone().map(|(x, _)| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
    let varies = sd > 1e-9 * mean.abs();
    fit(kept.map(|(x, win)| (if varies { (x / sd).tanh() } else { 0.0 * x }, win)), start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn without_length_it_is_the_win_rate() {
        let wins: Vec<f32> = (0..40).map(|i| [1.0, 0.0, 1.0, 0.5][i % 4]).collect();
        for longer in [0.0, 3.0] {
            let values = length_controlled_wins(&wins, &[longer; 40]).unwrap();
            let off = values.iter().zip(&wins).map(|(a, b)| (a - f64::from(*b)).abs());
            assert!(off.fold(0.0, f64::max) < 1e-3, "{values:?}");
        }
    }

    #[test]
    fn wins_by_length_alone_are_no_wins() {
        // Three of four are longer, and the longer wins four times of five.
        let longer: Vec<f32> = (0..200).map(|i| if i % 4 == 0 { -5.0 } else { 5.0 }).collect();
        let wins: Vec<f32> =
            (0..200).map(|i| if (longer[i] > 0.0) == (i / 4 % 5 > 0) { 1.0 } else { 0.0 }).collect();
        let plain = wins.iter().sum::<f32>() / 200.0;
        let controlled = mean(&length_controlled_wins(&wins, &longer).unwrap());
        assert!(plain > 0.64 && (controlled - 0.5).abs() < 0.02, "{plain} {controlled}");
    }

    #[test]
    fn whoever_loses_where_the_other_wins_has_the_rest() {
        let longer: Vec<f32> = (0..50).map(|i| (i * 7 % 11) as f32 - 4.0).collect();
        let wins: Vec<f32> = (0..50).map(|i| [0.0, 1.0, 1.0, 0.5, 1.0][i % 5]).collect();
        let (losses, shorter): (Vec<f32>, Vec<f32>) =
            (wins.iter().map(|w| 1.0 - w).collect(), longer.iter().map(|x| -x).collect());
        let (one, other) = (
            length_controlled_wins(&wins, &longer).unwrap(),
            length_controlled_wins(&losses, &shorter).unwrap(),
        );
        assert!(one.iter().zip(&other).all(|(a, b)| (a + b - 1.0).abs() < 1e-6));
    }

    #[test]
    fn separation_and_few_items_are_survived() {
        let longer: Vec<f32> = (0..30).map(|i| i as f32 - 14.5).collect();
        let wins: Vec<f32> = longer.iter().map(|x| if *x > 0.0 { 1.0 } else { 0.0 }).collect();
        let values = length_controlled_wins(&wins, &longer).unwrap();
        assert!(values.iter().all(|v| v.is_finite()) && (mean(&values) - 0.5).abs() < 0.05, "{values:?}");
        for n in 1..4 {
            let values = length_controlled_wins(&wins[..n], &longer[..n]).unwrap();
            assert!(values.len() == n && values.iter().all(|v| v.is_finite()));
        }
    }

    #[test]
    fn bad_input_has_no_answer() {
        assert_eq!(length_controlled_wins(&[], &[]), None);
        assert_eq!(length_controlled_wins(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(length_controlled_wins(&[1.0, f32::NAN], &[1.0, 2.0]), None);
        assert_eq!(length_controlled_wins(&[1.0, 0.0], &[1.0, f32::INFINITY]), None);
        assert_eq!(length_controlled_wins(&[1.0, 2.0], &[1.0, 2.0]), None);
    }
}
