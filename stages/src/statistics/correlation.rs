//! Correlation with a third quantity held fixed.

/// The partial correlation of `x` and `y` given a third: Pearson's correlation of what linear regressions of each on
/// it leave over (R. A. Fisher, "The distribution of the partial correlation coefficient", Metron 3, 1924). Where
/// `given` does not vary, this is the plain correlation.
///
/// None where the lengths differ, there are fewer than three points, a value is not finite, or `given` explains
/// `x` or `y` to rounding.
pub fn partial_correlation(x: &[f64], y: &[f64], given: &[f64]) -> Option<f64> {
    let n = x.len();
    if n < 3
        || y.len() != n
        || given.len() != n
        || [x, y, given].iter().any(|v| v.iter().any(|a| !a.is_finite()))
    {
        return None;
    }
    let (x, y, given) = (centred(x), centred(y), centred(given));
    let (x, y) = (residual(&x, &given)?, residual(&y, &given)?);
    let r = dot(&x, &y) / (dot(&x, &x) * dot(&y, &y)).sqrt();
    r.is_finite().then_some(r.clamp(-1.0, 1.0))
}

/// Scaled to be at most 1 in size, so that squares neither overflow nor vanish.
fn centred(values: &[f64]) -> Vec<f64> {
    let scale = values.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let scaled = values.iter().map(|v| if scale > 0.0 { v / scale } else { 0.0 });
    let mean = scaled.clone().sum::<f64>() / values.len() as f64;
    scaled.map(|v| v - mean).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// What is left of centred values after regression on others; None where that is nothing but rounding.
fn residual(values: &[f64], given: &[f64]) -> Option<Vec<f64>> {
    // Of values up to 1, each with an error of 1e-14.
    let rounding = 1e-28 * values.len() as f64;
    let of_given = dot(given, given);
    let slope = if of_given > rounding { dot(values, given) / of_given } else { 0.0 };
    let left: Vec<f64> = values.iter().zip(given).map(|(v, g)| v - slope * g).collect();
    (dot(&left, &left) > rounding.max(1e-20 * dot(values, values))).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_formula_of_three_correlations() {
        let (x, y, z) = ([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 4.0, 3.0, 5.0], [1.0, 1.0, 2.0, 3.0, 2.0]);
        // Sums of squares and products around the means, by hand.
        let r = |xy: f64, xx: f64, yy: f64| xy / (xx * yy).sqrt();
        let (xy, xz, yz) = (r(8.0, 10.0, 10.0), r(4.0, 10.0, 2.8), r(3.0, 10.0, 2.8));
        let expected = (xy - xz * yz) / ((1.0 - xz * xz) * (1.0 - yz * yz)).sqrt();
        let found = partial_correlation(&x, &y, &z).unwrap();
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }

    #[test]
    fn what_a_third_explains_is_gone() {
        // y follows z, and x follows z with a ripple that y does not have.
        let z: Vec<f64> = (0..40).map(f64::from).collect();
        let x: Vec<f64> = z.iter().map(|z| z + (z * 1.7).sin()).collect();
        let y: Vec<f64> = z.iter().map(|z| 2.0 * z + (z * 0.9).cos()).collect();
        assert!(partial_correlation(&x, &y, &[1.0; 40]).unwrap() > 0.99);
        assert!(partial_correlation(&x, &y, &z).unwrap().abs() < 0.2);
        // Neither unit nor origin matters.
        let scaled: Vec<f64> = x.iter().map(|x| 1e-9 * x - 7e-9).collect();
        let (a, b) =
            (partial_correlation(&x, &y, &z).unwrap(), partial_correlation(&scaled, &y, &z).unwrap());
        assert!((a - b).abs() < 1e-9);
    }

    #[test]
    fn what_is_undefined_has_no_answer() {
        let v = [1.0, 2.0, 4.0, 3.0];
        assert_eq!(partial_correlation(&v, &v[..3], &v), None);
        assert_eq!(partial_correlation(&v[..2], &v[..2], &v[..2]), None);
        assert_eq!(partial_correlation(&v, &[1.0; 4], &[0.0; 4]), None);
        assert_eq!(partial_correlation(&v, &[1.0, 0.0, 2.0, 5.0], &[2.0, 4.0, 8.0, 6.0]), None);
        assert_eq!(partial_correlation(&v, &[f64::NAN; 4], &v), None);
        assert_eq!(partial_correlation(&v, &v, &[1.0, 0.0, 0.0, 1.0]), Some(1.0));
    }
}
