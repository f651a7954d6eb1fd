//! The report through the contract, on measurements whose right answers are known.

mod common;

use std::{collections::BTreeMap, path::PathBuf};

use common::report::{Inputs, Report, experiment, params, row};
use serde_json::{Value, json};
use stages::{
    contract::StageError,
    dataset::CurvePoint,
    statistics::{holm, student},
};

#[test]
fn the_report_says_what_is_true() {
    insta::assert_snapshot!(experiment().report(params()).markdown);
}

#[test]
fn the_table_holds_every_mean() {
    let report = experiment().report(params());
    assert!(
        report.csv.starts_with("task,arm,split,seed,metric,value\neasy,a,in,2,gold,0.375\n"),
        "{}",
        report.csv
    );
    let values = report.values();
    assert_eq!(values.len(), report.csv.lines().count() - 1, "a key stands for one row");
    assert_eq!(values["easy,b,in,2,win_vs_a"], 0.8);
    assert_eq!(values["easy,b,in,all,win_vs_a"], 0.8);
    assert_eq!(values["hard,b,out,10,win_vs_a"], 0.5);
    let (low, high) = (values["easy,b,in,all,win_vs_a:low"], values["easy,b,in,all,win_vs_a:high"]);
    // 48 of 60 have a standard error of 0.052; both seeds have the same prompts right, so two are worth one, and know
    // their variance with 3.75 degrees of freedom.
    assert!((low - 0.652).abs() < 0.02 && (high - 0.948).abs() < 0.02, "{low} {high}");
    assert!((high - low - 2.0 * 2.852 * 0.0521).abs() < 0.001, "{low} {high}");
    let keys: Vec<&str> = report.csv.lines().skip(1).map(|l| l.rsplit_once(',').unwrap().0).collect();
    let metrics_of_a: Vec<&str> = keys.iter().filter_map(|k| k.strip_prefix("easy,a,in,")).take(6).collect();
    assert_eq!(
        metrics_of_a,
        ["2,gold", "10,gold", "all,gold", "all,gold:high", "all,gold:low", "2,ideal_length"]
    );
}

#[test]
fn pseudo_values_are_taken_as_they_are() {
    let mut inputs = experiment();
    // Of a share by the jackknife: single values, and even a mean, may lie outside 0 to 1.
    let values = [1.75, -0.25, 1.5, 1.5];
    let rows: Vec<_> = (0..).zip(values).map(|(i, v)| row("rm", "in", i, "token_auc", v)).collect();
    inputs.measure(&[("task", "easy"), ("seed", "2")], &rows);
    let values = inputs.report(params()).values();
    let of = |metric: &str| values[&format!("easy,rm,in,all,{metric}")];
    assert_eq!(of("token_auc"), 1.125);
    assert!(
        of("token_auc:low") < 1.125 && of("token_auc:high") == 1.125,
        "an interval ends where a share does"
    );
}

#[test]
fn others_can_compute_the_verdicts_again() {
    let report = experiment().report(params());
    let mut csv = csv::Reader::from_reader(report.verdicts.as_bytes());
    let header: Vec<String> = csv.headers().unwrap().iter().map(String::from).collect();
    assert_eq!(
        header.join(","),
        "family,claim,task,split,verdict,estimate,low,high,standard_error,df,p,p_corrected,seeds,metric,minus,arm,baseline,factor,\
         less_arm,less_baseline,threshold,side,reason"
    );
    let rows: Vec<BTreeMap<String, String>> = csv.deserialize().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 9, "{}", report.verdicts);
    let number = |row: &BTreeMap<String, String>, key: &str| -> f64 { row[key].parse().unwrap() };
    let tested: Vec<_> = rows.iter().filter(|r| !r["p"].is_empty()).collect();
    for (row, corrected) in tested.iter().zip(corrected(&rows)) {
        assert_eq!(number(row, "p_corrected"), corrected);
        let t = (number(row, "estimate") - number(row, "threshold")) / number(row, "standard_error");
        assert!((number(row, "p") - student::p_value(t, number(row, "df"))).abs() < 1e-12);
        let [low, high, threshold] = ["low", "high", "threshold"].map(|key| number(row, key));
        assert!(low <= number(row, "estimate") && number(row, "estimate") <= high);
        let side = match (low > threshold, high < threshold) {
            (true, false) => Some("above"),
            (false, true) => Some("below"),
            _ => None,
        };
        let verdict = match side {
            Some(side) if corrected <= 0.05 => {
                if side == row["side"] {
                    "confirmed"
                } else {
                    "refuted"
                }
            }
            _ => "inconclusive",
        };
        assert_eq!(row["verdict"], verdict, "{row:?}");
    }
    let (last, premise) = (&rows[8], &rows[5]);
    assert_eq!((last["claim"].as_str(), last["verdict"].as_str()), ("elsewhere", "not-tested"));
    assert!(
        last["reason"].contains("no task `other`") && last["estimate"].is_empty() && last["seeds"].is_empty()
    );
    assert_eq!((premise["claim"].as_str(), premise["estimate"].as_str()), ("premise", "1.25"));
    assert!(premise["p"].is_empty() && !premise["low"].is_empty());
}

/// What Holm's correction makes of the p-values of a family's rows: of those that have one, but counting all that were
/// measured.
fn corrected(rows: &[BTreeMap<String, String>]) -> Vec<f64> {
    let measured: Vec<&str> =
        rows.iter().filter(|r| !r["estimate"].is_empty()).map(|r| r["p"].as_str()).collect();
    let p: Vec<f64> = measured.iter().map(|p| p.parse().unwrap_or(1.0)).collect();
    let corrected = measured.iter().zip(holm(&p));
    corrected.filter(|(p, _)| !p.is_empty()).map(|(_, corrected)| corrected).collect()
}

/// Claims of two families, with factors and differences of differences.
fn families() -> Value {
    let excess = |rest: Value| {
        let mut expect = json!({ "metric": "length", "minus": "ideal_length", "arm": "a", "baseline": "b" });
        expect.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        expect
    };
    json!([
        // 3.25 - 2 * 1.25
        { "name": "twice", "text": "a is more than twice too long", "splits": ["in"],
          "expect": excess(json!({ "factor": 2, "above": 0 })) },
        { "name": "wins", "text": "b beats a", "splits": ["in"], "family": "quality",
          "expect": { "metric": "win_vs_a", "arm": "b", "above": 0.5 } },
        // (3.25 - 0.5 * 1.25) - (1.25 - 0.5 * 3.25)
        { "name": "more", "text": "more so than the other way round", "splits": ["out"],
          "expect": excess(json!({ "factor": 0.5, "less": { "arm": "b", "baseline": "a" }, "below": 0 })) },
        { "name": "missing", "text": "nothing to subtract", "splits": ["in"],
          "expect": excess(json!({ "less": { "arm": "b", "baseline": "unheard" }, "below": 0 })) },
    ])
}

#[test]
fn differences_of_differences_and_factors_are_what_they_say() {
    let report = experiment().report(json!({ "claims": families() }));
    let values = report.values();
    let mut csv = csv::Reader::from_reader(report.verdicts.as_bytes());
    let rows: Vec<BTreeMap<String, String>> = csv.deserialize().map(Result::unwrap).collect();
    let mut estimated = 0;
    for row in rows.iter().filter(|r| !r["estimate"].is_empty()) {
        let mean =
            |arm: &str, metric: &str| values[&format!("{},{arm},{},all,{metric}", row["task"], row["split"])];
        let x = |arm: &str| {
            mean(arm, &row["metric"]) - if row["minus"].is_empty() { 0.0 } else { mean(arm, &row["minus"]) }
        };
        let difference = |arm: &str, baseline: &str| match (arm, baseline) {
            ("", _) => 0.0,
            (_, "") => x(arm),
            _ => x(arm) - row["factor"].parse::<f64>().unwrap() * x(baseline),
        };
        let expected =
            difference(&row["arm"], &row["baseline"]) - difference(&row["less_arm"], &row["less_baseline"]);
        assert!((row["estimate"].parse::<f64>().unwrap() - expected).abs() < 1e-9, "{row:?}: {expected}");
        estimated += 1;
    }
    assert_eq!((estimated, rows.len()), (6, 8), "{}", report.verdicts);
    let of = |claim: &str, key: &str| rows.iter().find(|r| r["claim"] == claim).unwrap()[key].clone();
    assert_eq!((of("twice", "estimate"), of("twice", "verdict")), ("0.75".into(), "confirmed".into()));
    assert_eq!((of("more", "estimate"), of("more", "verdict")), ("3".into(), "refuted".into()));
    assert!(of("missing", "reason").contains("no arm `unheard`"), "{}", report.verdicts);
    let words = "length minus ideal length: (a minus 0.5 times b) minus (b minus 0.5 times a), below 0";
    assert!(report.markdown.contains(&format!("Expected: {words}.")), "{}", report.markdown);
}

#[test]
fn each_family_is_corrected_on_its_own() {
    let report = experiment().report(json!({ "claims": families() }));
    let mut csv = csv::Reader::from_reader(report.verdicts.as_bytes());
    let rows: Vec<BTreeMap<String, String>> = csv.deserialize().map(Result::unwrap).collect();
    for (family, size) in [("claims", 4), ("quality", 2)] {
        let of_family: Vec<_> = rows.iter().filter(|r| r["family"] == family).cloned().collect();
        let tested: Vec<_> = of_family.iter().filter(|r| !r["p"].is_empty()).collect();
        assert_eq!(tested.len(), size);
        for (row, corrected) in tested.iter().zip(corrected(&of_family)) {
            assert_eq!(row["p_corrected"].parse::<f64>().unwrap(), corrected, "{row:?}");
        }
    }
    assert!(report.markdown.contains("- Family: quality."));
    assert!(report.markdown.contains("(claims: 4, quality: 2)"), "{}", report.markdown);
    assert!(report.html.contains("<dt>Family</dt><dd>quality</dd>"));
    assert!(!experiment().report(params()).html.contains("Family"), "one family needs no name");
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let inputs = experiment();
    let with_threads = |n: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        pool.install(|| inputs.report(params()))
    };
    let first = with_threads(1);
    assert!(first == with_threads(3));
    assert!(first == experiment().report(params()), "another folder changes nothing");
    // What else is reported does not move a number.
    let mut more = experiment();
    more.measure(&[("task", "more"), ("seed", "2")], &[row("a", "in", 0, "gold", 1.0)]);
    let values = more.report(params()).values();
    assert!(first.values().iter().all(|(key, value)| values[key] == *value));
}

#[test]
fn the_page_stands_alone() {
    let html = experiment().report(params()).html;
    for outside in ["http:", "https:", "<script", "<link", "<img", "src=", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert_eq!(html.matches("<svg ").count(), html.matches("</svg>").count());
    balanced(&html);
    let ids: Vec<&str> = html.split(" id=\"").skip(1).map(|s| s.split('"').next().unwrap()).collect();
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(ids.len(), unique.len(), "{ids:?}");
}

/// Every element that is opened is closed, in order.
fn balanced(html: &str) {
    let mut open = vec![];
    for tag in html.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap();
        let name = tag.split_whitespace().next().unwrap();
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "near <{tag}>");
        } else if !tag.ends_with('/') && !["!doctype", "meta"].contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

/// The pictures of a page, with their titles.
fn pictures(html: &str) -> Vec<&str> {
    html.split("<figure>").skip(1).map(|f| f.split("</figure>").next().unwrap()).collect()
}

#[test]
fn over_optimization_has_pictures_of_its_own() {
    let mut inputs = experiment();
    let before = inputs.report(params()).html;
    assert!(!before.contains("Over-optimization"));
    for seed in ["2", "10"] {
        let point = |arm: &str, step: u32, metric: &str, value: f32| CurvePoint {
            arm: arm.into(),
            step,
            metric: metric.into(),
            value,
        };
        let points = (0..5).flat_map(|t| {
            let x = t as f32;
            let of = |arm: &str, size: f32| {
                ["in", "out"].map(|split| {
                    [
                        point(arm, t, &format!("gold_{split}"), 0.5 + 0.1 * x - 0.02 * x * x),
                        point(arm, t, &format!("proxy_{split}"), size * x),
                        point(arm, t, &format!("kl_{split}"), x * x),
                    ]
                })
            };
            [of("b", 1.0), of("ppo", 1000.0)].into_iter().flatten().flatten().collect::<Vec<_>>()
        });
        inputs.draw(&[("task", "easy"), ("seed", seed)], &points.collect::<Vec<_>>());
    }
    let html = inputs.report(params()).html;
    balanced(&html);
    let (along, others): (Vec<&str>, Vec<&str>) =
        pictures(&html).into_iter().partition(|f| f.contains(" along training"));
    let titles: Vec<&str> =
        along.iter().map(|f| &f["<figcaption>".len()..f.find("</figcaption>").unwrap()]).collect();
    assert_eq!(
        titles,
        [
            "Gold along training, in distribution",
            "Proxy along training, in distribution",
            "Gold along training, out of distribution",
            "Proxy along training, out of distribution",
        ]
    );
    for picture in along {
        assert_eq!(picture.matches("class=\"line mean").count(), 2, "one for each arm: {picture}");
        assert_eq!(picture.matches("class=\"line thin").count(), 4, "one for each seed: {picture}");
    }
    assert_eq!(others, pictures(&before), "other pictures stay as they are");
}

#[test]
fn win_rates_are_drawn_of_what_is_highlighted() {
    let mut inputs = experiment();
    let win = |arm: &str, other: &str| row(arm, "in", 0, &format!("win_vs_{other}"), 0.5);
    let rows = [win("c", "a"), win("c", "b"), win("d", "a"), win("d", "c")];
    inputs.measure(&[("task", "easy"), ("seed", "3")], &rows);
    let report = |highlight: Value| {
        let mut params = params();
        params["highlight"] = highlight;
        let report = inputs.report(params);
        let pairs = ["b against a", "c against a", "c against b", "d against a", "d against c"];
        let drawn: Vec<&str> =
            pairs.into_iter().filter(|p| report.html.contains(&format!(">{p}<"))).collect();
        (drawn.join(", "), report)
    };
    let (all, plain) = report(json!([]));
    assert_eq!(all, "b against a, c against a, c against b, d against a, d against c");
    let (some, highlighted) = report(json!(["c", "unheard"]));
    assert_eq!(some, "c against a, c against b, d against c");
    assert!(highlighted.html.contains("pairs with c\nare drawn") && highlighted.markdown == plain.markdown);
    assert_eq!(report(json!(["unheard"])).0, all);
}

#[test]
fn names_are_text_and_nothing_else() {
    let evil = "<script>alert(1)</script>|`x`\n**\"'&,\\";
    let mut inputs = Inputs::new();
    let rows = |i: u32| {
        let win = format!("win_vs_{evil}");
        ["gold", "kl", evil, &win].map(|metric| row(evil, evil, i, metric, i as f32)).to_vec()
    };
    inputs.measure(&[("task", evil), ("seed", evil)], &(0..3).flat_map(rows).collect::<Vec<_>>());
    let point = |step| {
        ["reward", "kl", "loss"].map(|m| CurvePoint { arm: evil.into(), step, metric: m.into(), value: 1.0 })
    };
    inputs.draw(&[("task", evil)], &(0..3).flat_map(point).collect::<Vec<_>>());
    let report = inputs.report(json!({
        "title": evil, "about": evil, "notes": [evil], "arms": [{ "name": evil, "about": evil }],
        "claims": [
            { "name": evil, "text": evil, "refuted_if": evil, "splits": [evil],
              "expect": { "metric": evil, "arm": evil, "above": 0.5 } },
            { "name": "2", "text": evil, "splits": [evil],
              "expect": { "metric": evil, "minus": evil, "arm": evil, "baseline": "<i>", "above": 0.5 } },
        ],
    }));
    assert!(!report.html.contains("<script") && !report.html.contains("<i>"));
    balanced(&report.html);
    assert!(!report.markdown.contains('<') && !report.markdown.contains("**\"'"));
    // A newline or a bare bar in a name would break a table: all rows of a table have the same number of bars.
    let mut columns = None;
    for line in report.markdown.lines() {
        let bars = line.replace("\\\\", "").replace("\\|", "").matches('|').count();
        assert!(bars == 0 || (line.starts_with('|') && line.ends_with('|')), "{line}");
        assert!(bars == 0 || columns.is_none_or(|c| c == bars), "{line}");
        columns = (bars > 0).then_some(bars);
    }
    let mut csv = csv::Reader::from_reader(report.csv.as_bytes());
    let records: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    assert!(records.iter().all(|r| r.len() == 6 && &r[0] == evil && &r[1] == evil));
}

#[test]
fn what_cannot_be_reported_is_said_plainly() {
    let says = |result: Result<PathBuf, StageError>, parts: &[&str]| {
        let e = result.expect_err("it should fail");
        let text = format!("{} {}", e.message, e.hint.unwrap_or_default());
        assert!(parts.iter().all(|p| text.contains(p)), "{text:?} lacks one of {parts:?}");
    };
    let at = [("task", "t"), ("seed", "3")];
    let one = [row("ppo", "in", 5, "gold", 1.0)];

    let mut twice = Inputs::new();
    twice.measure(&at, &one);
    twice.measure(&at, &one);
    let names = ["two measurements", "`gold`", "`ppo`", "`t`", "`in`", "`3`", "item 5", "arm:"];
    says(twice.try_report("a", json!({})), &names);

    let mut nan = Inputs::new();
    nan.measure(&at, &[row("ppo", "in", 5, "gold", f32::NAN)]);
    says(nan.try_report("b", json!({})), &["NaN", "`gold`", "`ppo`", "item 5", "finite"]);

    says(Inputs::new().try_report("c", json!({})), &["no measurements"]);

    let mut curves = Inputs::new();
    curves.measure(&at, &one);
    let point = CurvePoint { arm: "ppo".into(), step: 7, metric: "kl".into(), value: f32::NAN };
    curves.draw(&at, std::slice::from_ref(&point));
    let report = Report::read(curves.try_report("d", json!({})).unwrap());
    assert!(report.markdown.contains("1 point of training curves are not finite"), "{}", report.markdown);
    curves.draw(&at, &[point]);
    says(curves.try_report("e", json!({})), &["two curves", "`kl`", "`ppo`", "step 7"]);

    let claim = |expect: Value| json!({ "claims": [{ "name": "x", "text": "y", "expect": expect }] });
    let both = json!({ "metric": "gold", "arm": "a", "above": 1.0, "below": 2.0 });
    says(twice.try_report("f", claim(both)), &["both `above` and `below`"]);
    says(twice.try_report("g", claim(json!({ "metric": "gold", "arm": "a" }))), &["neither"]);
    let misspelt = json!({ "metric": "gold", "arm": "a", "abov": 1.0 });
    says(twice.try_report("h", claim(misspelt)), &["abov", "above"]);
    let refused = [
        (json!({ "factor": 0.5 }), ["expect.factor", "`factor` and no `baseline`"]),
        (json!({ "factor": -1, "baseline": "b" }), ["expect.factor", "between 0 and 100, found -1"]),
        (json!({ "less": { "arm": "c", "baseline": "d" } }), ["expect.less", "`less` and no `baseline`"]),
        (json!({ "less": { "arm": "c" }, "baseline": "b" }), ["less", "baseline"]),
    ];
    for (i, (rest, parts)) in refused.into_iter().enumerate() {
        let mut expect = json!({ "metric": "gold", "arm": "a", "above": 0 });
        expect.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        says(twice.try_report(&format!("refused-{i}"), claim(expect)), &parts);
    }
    let mut nameless = claim(json!({ "metric": "gold", "arm": "a", "above": 0 }));
    nameless["claims"][0]["family"] = " ".into();
    says(twice.try_report("nameless", nameless), &["claims[0].family", "`x`", "without a name"]);
    let mut same = claim(json!({ "metric": "gold", "arm": "a", "above": 1.0 }));
    let again = same["claims"][0].clone();
    same["claims"].as_array_mut().unwrap().push(again);
    says(twice.try_report("i", same), &["two claims are called `x`"]);
    says(twice.try_report("j", json!({ "confidence": 95 })), &["confidence", "95"]);
}
