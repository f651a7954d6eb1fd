//! Logistic regression on one covariate, for outcomes between 0 and 1.

/// `P(y = 1) = 1 / (1 + exp(-(intercept + slope x)))`
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fit {
    /// Log odds at `x = 0`.
    pub intercept: f64,
    /// Log odds for a unit of `x`.
    pub slope: f64,
}

/// Weight of the squared coefficients, halved, beside the sum of log-likelihoods. It moves a sound fit by less than
/// anybody reads, and keeps the coefficients finite where outcomes can be told apart by `x`, or are all alike.
pub const RIDGE: f64 = 1e-4;

const STEPS: usize = 100;

impl Fit {
    pub fn predict(&self, x: f64) -> f64 {
        sigmoid(self.intercept + self.slope * x)
    }
}

pub fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// Maximizes the ridged (quasi-)likelihood by Newton's method with halved steps, from `start`. An outcome `y` of 1/2
/// is half a success and half a failure. The surface is strictly concave, so that any start ends at the same fit.
///
/// None where an `x` or `y` is not finite, or a `y` not in 0..=1; without points it is the ridge's, all zero.
pub fn fit(points: impl Iterator<Item = (f64, f64)> + Clone, start: Fit) -> Option<Fit> {
    if points.clone().any(|(x, y)| !x.is_finite() || !(0.0..=1.0).contains(&y)) {
        return None;
    }
    let objective = |f: Fit| {
        let likelihood: f64 = points
            .clone()
            .map(|(x, y)| {
                let z = f.intercept + f.slope * x;
                // y ln p + (1 - y) ln (1 - p), without overflow.
                y * z - z.max(0.0) - (-z.abs()).exp().ln_1p()
            })
            .sum();
        likelihood - RIDGE / 2.0 * (f.intercept * f.intercept + f.slope * f.slope)
    };
    let mut at = start;
    let mut value = objective(at);
    for _ in 0..STEPS {
        let (mut g, mut h) = ([-RIDGE * at.intercept, -RIDGE * at.slope], [RIDGE, 0.0, RIDGE]);
        for (x, y) in points.clone() {
            let p = at.predict(x);
            let (r, w) = (y - p, p * (1.0 - p));
            g = [g[0] + r, g[1] + r * x];
            h = [h[0] + w, h[1] + w * x, h[2] + w * x * x];
        }
        let determinant = h[0] * h[2] - h[1] * h[1];
        let step = [(h[2] * g[0] - h[1] * g[1]) / determinant, (h[0] * g[1] - h[1] * g[0]) / determinant];
        let mut size = 1.0;
        let next = loop {
            let next = Fit { intercept: at.intercept + size * step[0], slope: at.slope + size * step[1] };
            let reached = objective(next);
            if reached >= value {
                value = reached;
                break Some(next);
            }
            size /= 2.0;
            if size < 1e-10 {
                break None; // as high as rounding can tell
            }
        };
        let Some(next) = next else { break };
        at = next;
        if step[0].abs().max(step[1].abs()) * size < 1e-12 {
            break;
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit_all(points: &[(f64, f64)]) -> Fit {
        fit(points.iter().copied(), Fit::default()).unwrap()
    }

    #[test]
    fn a_binary_covariate_gives_the_odds() {
        // 3 of 4 at x = 0, 1 of 4 at x = 1.
        let y = |wins: usize, x: f64| (0..4).map(move |i| (x, f64::from(u8::from(i < wins))));
        let f = fit_all(&y(3, 0.0).chain(y(1, 1.0)).collect::<Vec<_>>());
        assert!(
            (f.intercept - 3_f64.ln()).abs() < 1e-3 && (f.slope + 2.0 * 3_f64.ln()).abs() < 1e-3,
            "{f:?}"
        );
    }

    #[test]
    fn a_tie_is_half_a_win() {
        let ties = fit_all(&[(0.0, 0.5), (0.0, 1.0), (1.0, 0.5), (1.0, 0.0)]);
        let halves = [(0.0, 1.0), (0.0, 0.0), (1.0, 1.0), (1.0, 0.0)];
        let doubled = [(0.0, 1.0), (0.0, 1.0), (1.0, 0.0), (1.0, 0.0)];
        let split = fit_all(&[halves, doubled].concat());
        assert!((ties.intercept - split.intercept).abs() < 1e-3 && (ties.slope - split.slope).abs() < 1e-3);
    }

    #[test]
    fn what_can_be_told_apart_stays_finite() {
        let separated: Vec<(f64, f64)> =
            (0..20).map(|i| (f64::from(i) - 9.5, f64::from(u8::from(i > 9)))).collect();
        let f = fit_all(&separated);
        assert!(f.slope.is_finite() && f.slope > 1.0 && f.intercept.abs() < 1e-6, "{f:?}");
        let f = fit_all(&[(0.3, 1.0); 50]);
        assert!(f.predict(0.0) > 0.99 && f.intercept.is_finite(), "{f:?}");
        // From a far start, too.
        let far = fit(separated.iter().copied(), Fit { intercept: 40.0, slope: -40.0 }).unwrap();
        assert!((far.slope - fit_all(&separated).slope).abs() < 1e-4, "{far:?}");
    }

    #[test]
    fn bad_points_are_refused() {
        for bad in [(f64::NAN, 1.0), (0.0, f64::NAN), (0.0, 1.5), (f64::INFINITY, 0.0)] {
            assert_eq!(fit([bad].into_iter(), Fit::default()), None);
        }
        assert_eq!(fit_all(&[]), Fit::default());
    }
}
