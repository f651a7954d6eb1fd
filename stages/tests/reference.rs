//! `stages::statistics` against SciPy and statsmodels: their numbers, with their inputs, lie in
//! `reference/statistics.json`, which `reference/generate.py` writes.

use serde_json::Value;
use stages::statistics::{
    Sample, Seed, auc, holm,
    logistic::{self, Fit},
    partial_correlation,
    power::{SeedsNeeded, seeds_needed},
    student,
    variance::Variance,
};

fn cases(name: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("reference/statistics.json")).unwrap();
    all[name].as_array().unwrap_or_else(|| panic!("no cases of {name}")).clone()
}

fn number(case: &Value, key: &str) -> f64 {
    case[key].as_f64().unwrap_or_else(|| panic!("no number `{key}` in {case}"))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

/// Relative to the larger of the two, or absolute near 0.
fn same(name: &str, found: f64, expected: f64, tolerance: f64) {
    let scale = found.abs().max(expected.abs()).max(1e-3);
    assert!((found - expected).abs() <= tolerance * scale, "{name}: {found}, expected {expected}");
}

fn sample(rows: &[Vec<f64>]) -> Sample {
    let items = |row: &Vec<f64>| row.iter().enumerate().map(|(i, x)| (i as u32, *x)).collect();
    Sample(rows.iter().enumerate().map(|(s, row)| (Seed::new(&s.to_string()), items(row))).collect())
}

#[test]
fn students_distribution() {
    for case in cases("student") {
        let df = number(&case, "df");
        same("quantile", student::quantile(number(&case, "p"), df), number(&case, "quantile"), 1e-8);
        same("p", student::p_value(number(&case, "t"), df), number(&case, "p_value"), 1e-8);
    }
}

#[test]
fn the_power_of_the_t_test() {
    for case in cases("power") {
        let [delta, level, df] = ["noncentrality", "level", "df"].map(|key| number(&case, key));
        same("power", student::power(delta, level, df), number(&case, "power"), 1e-6);
    }
    // Seeds' means with a variance of 1 and items that do not differ.
    let seeds: Vec<Vec<f64>> = [-1.0, 0.0, 1.0].map(|x| vec![x; 5]).into();
    for case in cases("seeds") {
        let found = seeds_needed(&sample(&seeds), number(&case, "effect"), 0.05, 0.8);
        assert_eq!(found, SeedsNeeded::Seeds(case["seeds"].as_u64().unwrap() as usize), "{case}");
    }
}

#[test]
fn holms_correction() {
    for case in cases("holm") {
        let corrected = holm(&numbers(&case["p"]));
        corrected.iter().zip(numbers(&case["corrected"])).for_each(|(a, b)| same("p", *a, b, 1e-12));
    }
}

#[test]
fn the_area_under_the_curve() {
    for case in cases("auc") {
        let scores = |key: &str| -> Vec<f32> { numbers(&case[key]).iter().map(|x| *x as f32).collect() };
        same("AUC", auc(&scores("positives"), &scores("negatives")).unwrap(), number(&case, "auc"), 1e-12);
    }
}

#[test]
fn correlation_given_a_third() {
    for case in cases("partial_correlation") {
        let [x, y, given] = ["x", "y", "given"].map(|key| numbers(&case[key]));
        same("r", partial_correlation(&x, &y, &given).unwrap(), number(&case, "r"), 1e-9);
    }
}

#[test]
fn logistic_regression_with_ties() {
    for case in cases("logistic") {
        let points = numbers(&case["x"]).into_iter().zip(numbers(&case["y"]));
        let fit = logistic::fit(points, Fit::default()).unwrap();
        for (key, tolerance) in [("glm", 1e-4), ("ridged", 1e-7)] {
            let expected = numbers(&case[key]);
            same(key, fit.intercept, expected[0], tolerance);
            same(key, fit.slope, expected[1], tolerance);
        }
    }
}

#[test]
fn seeds_alone_and_items_alone_are_t_tests() {
    let check = |sample: &Sample, case: &Value| {
        let e = sample.estimate(400, 0.95, 1, None);
        same("p", e.p_value(0.0), number(case, "p"), 1e-8);
        same("width", e.high - e.low, number(case, "width"), 1e-8);
    };
    for case in cases("paired") {
        let arm = |key: &str| -> Sample {
            sample(&numbers(&case[key]).into_iter().map(|x| vec![x]).collect::<Vec<_>>())
        };
        check(&arm("a").minus(&arm("b")), &case);
    }
    for case in cases("one_seed") {
        check(&sample(&[numbers(&case["x"])]), &case);
    }
}

#[test]
fn seeds_by_items_are_an_analysis_of_variance() {
    for case in cases("crossed") {
        let rows: Vec<Vec<f64>> = case["x"].as_array().unwrap().iter().map(numbers).collect();
        let values = (rows.len() * rows[0].len()) as f64;
        let v = Variance::of(&sample(&rows));
        let squares = numbers(&case["mean_squares"]);
        same("seeds", v.between, squares[0] / values, 1e-9);
        same("items", v.shared, (squares[1] - squares[2]) / values, 1e-9);
        same("variance", v.total(), number(&case, "variance"), 1e-9);
    }
}
