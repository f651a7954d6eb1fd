//! How well a score tells two groups apart.

/// How often a positive scores higher than a negative, ties counted half, and of how many pairs: the statistic U of
/// H. B. Mann and D. R. Whitney ("On a test of whether one of two random variables is stochastically larger than the
/// other", Annals of Mathematical Statistics 18(1), 1947) and what it is a share of. The share is the area under the
/// ROC curve; over several groups, the sums' share is that area within groups.
///
/// None where a score is not a number.
pub fn pairs_won(positives: &[f32], negatives: &[f32]) -> Option<(f64, f64)> {
    if positives.iter().chain(negatives).any(|x| x.is_nan()) {
        return None;
    }
    let mut sorted = negatives.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    // Twice the pairs won: whole numbers, exact.
    let doubled = |p: &f32| sorted.partition_point(|n| n < p) + sorted.partition_point(|n| n <= p);
    let won: usize = positives.iter().map(doubled).sum();
    Some((won as f64 / 2.0, positives.len() as f64 * negatives.len() as f64))
}

/// The area under the ROC curve. None where a group is empty or a score is not a number.
pub fn auc(positives: &[f32], negatives: &[f32]) -> Option<f64> {
    let (won, pairs) = pairs_won(positives, negatives)?;
    (pairs > 0.0).then(|| won / pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_counted_and_ties_half() {
        assert_eq!(auc(&[2.0, 3.0], &[0.0, 1.0]), Some(1.0));
        assert_eq!(auc(&[0.0], &[1.0, 2.0, 3.0]), Some(0.0));
        assert_eq!(auc(&[1.0, 1.0], &[1.0]), Some(0.5));
        // 3 beats both 1s and ties with 3, 1 ties with two: 2.5 + 1 of 6.
        assert_eq!(auc(&[3.0, 1.0], &[1.0, 3.0, 1.0]), Some(3.5 / 6.0));
        assert_eq!(auc(&[0.0], &[-0.0]), Some(0.5));
        assert_eq!(auc(&[f32::INFINITY], &[f32::NEG_INFINITY]), Some(1.0));
    }

    #[test]
    fn without_pairs_there_is_no_area() {
        assert_eq!(auc(&[], &[1.0]), None);
        assert_eq!(auc(&[1.0], &[]), None);
        assert_eq!(auc(&[f32::NAN], &[1.0]), None);
        assert_eq!(auc(&[1.0], &[f32::NAN, 0.0]), None);
    }
}
