//! Student's t distribution: quantiles, p-values, and the power of the t-test.

use statrs::{
    distribution::{Continuous, ContinuousCDF, Normal, StudentsT},
    function::gamma::ln_gamma,
};

/// The quantile at `p`, between 0 and 1 exclusively; NaN where `p` or the degrees of freedom make no sense.
pub fn quantile(p: f64, df: f64) -> f64 {
    match StudentsT::new(0.0, 1.0, df) {
        Ok(student) if p > 0.0 && p < 1.0 => {
            let tail = p.min(1.0 - p);
            // The crate's inverse is a guess where degrees of freedom are many; Newton's method ends it.
            let polished =
                (0..4).fold(student.inverse_cdf(tail), |t, _| t - (student.cdf(t) - tail) / student.pdf(t));
            if p < 0.5 { polished } else { -polished }
        }
        _ => f64::NAN,
    }
}

/// Two-sided p-value of a t statistic; NaN where the statistic or the degrees of freedom make no sense.
pub fn p_value(t: f64, df: f64) -> f64 {
    if t.is_infinite() {
        return 0.0;
    }
    match StudentsT::new(0.0, 1.0, df) {
        Ok(student) if !t.is_nan() => 2.0 * student.sf(t.abs()),
        _ => f64::NAN,
    }
}

/// Points of Simpson's rule; an even number.
const POINTS: usize = 2000;

/// The probability that a two-sided t-test at `level` rejects, where the true mean lies `noncentrality` standard
/// errors off (both tails of the noncentral t distribution); NaN where `level` or `df` make no sense.
///
/// `T = (Z + δ) / U` with `U² = χ²_df / df`, so that `P(T > c)` is the mean of `Φ(δ - c U)`: integrated over the
/// density of `U`, with an error below 1e-7 for `df >= 1`. The variable is `√U`, in which the density is smooth at 0.
pub fn power(noncentrality: f64, level: f64, df: f64) -> f64 {
    let critical = quantile(1.0 - level / 2.0, df);
    let Ok(normal) = Normal::new(0.0, 1.0) else { return f64::NAN };
    if critical.is_nan() || noncentrality.is_nan() {
        return f64::NAN;
    }
    let half = df / 2.0;
    let log_constant = std::f64::consts::LN_2 + half * half.ln() - ln_gamma(half);
    let density = |u: f64| (log_constant + (df - 1.0) * u.ln() - half * u * u).exp();
    let rejects =
        |u: f64| normal.cdf(noncentrality - critical * u) + normal.cdf(-noncentrality - critical * u);
    // U is nearly normal around 1 with this standard deviation; its tails are lighter than that.
    let reach = 9.0 / (2.0 * df).sqrt();
    let (from, to) = ((1.0 - reach).max(1e-12).sqrt(), (1.0 + reach).sqrt());
    let step = (to - from) / POINTS as f64;
    let weighted = (0..=POINTS).map(|i| {
        let root = from + i as f64 * step;
        let weight = if i == 0 || i == POINTS { 1.0 } else { 2.0 + 2.0 * (i % 2) as f64 };
        weight * 2.0 * root * density(root * root) * rejects(root * root)
    });
    (weighted.sum::<f64>() * step / 3.0).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_degree_of_freedom_is_cauchy() {
        // The quantile is tan(π (p - 1/2)).
        assert!((quantile(0.975, 1.0) - 12.706_204_736_174_7).abs() < 1e-8);
        assert!((quantile(0.25, 1.0) + 1.0).abs() < 1e-9);
        assert!((p_value(1.0, 1.0) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn many_degrees_of_freedom_are_normal() {
        assert!((quantile(0.975, 1e6) - 1.959_966).abs() < 1e-5);
        assert!((p_value(-1.959_964, 1e7) - 0.05).abs() < 1e-5);
    }

    #[test]
    fn without_an_effect_power_is_the_level() {
        for df in [1.0, 1.5, 4.0, 30.0, 1000.0] {
            assert!((power(0.0, 0.05, df) - 0.05).abs() < 1e-7, "{df}: {}", power(0.0, 0.05, df));
            assert!(power(2.0, 0.05, df) > power(1.0, 0.05, df));
            assert_eq!(power(2.0, 0.05, df), power(-2.0, 0.05, df));
        }
    }

    #[test]
    fn what_makes_no_sense_is_not_a_number() {
        for x in [quantile(0.0, 3.0), quantile(0.5, 0.0), quantile(0.5, f64::NAN), quantile(f64::NAN, 1.0)] {
            assert!(x.is_nan());
        }
        assert!(p_value(f64::NAN, 3.0).is_nan() && p_value(1.0, -1.0).is_nan());
        assert!(power(1.0, 0.0, 3.0).is_nan() && power(1.0, 0.05, f64::NAN).is_nan());
        assert_eq!(p_value(f64::INFINITY, 3.0), 0.0);
    }
}
