//! The report through the contract, on measurements whose right answers are known.

mod common;

use std::{collections::BTreeMap, fs, path::PathBuf};

use common::{Gathered, Workshop};
use serde_json::{Value, json};
use stages::{
    contract::{Artifact, StageError},
    dataset::{self, CurvePoint, Measurement, Row},
};

/// Inputs of a report, written into a workshop.
struct Inputs {
    workshop: Workshop,
    measurements: Vec<Artifact>,
    curves: Vec<Artifact>,
}

impl Inputs {
    fn new() -> Self {
        Self { workshop: Workshop::new(), measurements: vec![], curves: vec![] }
    }

    fn artifact<R: Row>(&self, rows: &[R], at: &[(&str, &str)]) -> Artifact {
        let count = self.measurements.len() + self.curves.len();
        let path = self.workshop.folder.path().join(format!("input-{count}"));
        dataset::write(&path, rows).unwrap();
        Artifact { path, coordinates: at.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect() }
    }

    fn measure(&mut self, at: &[(&str, &str)], rows: &[Measurement]) {
        let artifact = self.artifact(rows, at);
        self.measurements.push(artifact);
    }

    fn draw(&mut self, at: &[(&str, &str)], rows: &[CurvePoint]) {
        let artifact = self.artifact(rows, at);
        self.curves.push(artifact);
    }

    fn try_report(&self, name: &str, params: Value) -> Result<PathBuf, StageError> {
        let inputs: [Gathered; 2] =
            [("measurements", self.measurements.clone()), ("curves", self.curves.clone())];
        self.workshop.try_gather(name, "report", params, &inputs)
    }

    fn report(&self, params: Value) -> Report {
        Report::read(self.try_report("report", params).unwrap())
    }
}

#[derive(PartialEq)]
struct Report {
    html: String,
    markdown: String,
    csv: String,
    verdicts: String,
}

impl Report {
    fn read(folder: PathBuf) -> Self {
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        Self {
            html: text("index.html"),
            markdown: text("report.md"),
            csv: text("results.csv"),
            verdicts: text("verdicts.csv"),
        }
    }

    /// Value by `task,arm,split,seed,metric`.
    fn values(&self) -> BTreeMap<String, f64> {
        let lines = self.csv.lines().skip(1).map(|l| l.rsplit_once(',').unwrap());
        lines.map(|(key, value)| (key.to_string(), value.parse().unwrap())).collect()
    }
}

fn row(arm: &str, split: &str, item: u32, metric: &str, value: f32) -> Measurement {
    Measurement { arm: arm.into(), split: split.into(), item, metric: metric.into(), value }
}

/// Two tasks and two seeds. In `easy`, `b` wins 4 of 5 times against `a`; in `hard`, half the time. `a` is 3
/// tokens too long, `b` is 1; `c` is measured in `easy` only.
fn experiment() -> Inputs {
    let mut inputs = Inputs::new();
    for task in ["hard", "easy"] {
        for (s, seed) in ["10", "2"].into_iter().enumerate() {
            let mut rows = vec![];
            for i in 0..60 {
                for split in ["out", "in"] {
                    let gold = 0.25 * (i % 4) as f32;
                    let wins = if task == "easy" { i % 5 != 0 } else { (i + s as u32).is_multiple_of(2) };
                    let wins = if wins { 1.0 } else { 0.0 };
                    rows.push(row("a", split, i, "gold", gold));
                    rows.push(row("b", split, i, "gold", gold + 0.125 * wins));
                    rows.push(row("b", split, i, "win_vs_a", wins));
                    rows.push(row("a", split, i, "win_vs_b", 1.0 - wins));
                    let ideal = 4.0 + (i % 3) as f32;
                    for (arm, excess) in [("a", 3.0), ("b", 1.0)] {
                        let length = ideal + excess + 0.5 * ((i + s as u32) % 2) as f32;
                        rows.push(row(arm, split, i, "length", length));
                        rows.push(row(arm, split, i, "ideal_length", ideal));
                        rows.push(row(arm, split, i, "kl", excess));
                    }
                    if task == "easy" {
                        rows.push(row("c", split, i, "gold", gold));
                    }
                }
            }
            inputs.measure(&[("task", task), ("seed", seed)], &rows);
            let point = |metric: &str, step: u32, value: f32| CurvePoint {
                arm: "b".into(),
                step,
                metric: metric.into(),
                value,
            };
            let curve = (1..20).flat_map(|t| {
                let x = t as f32 / 20.0;
                [
                    point("reward", t, x.sqrt() + 0.1 * s as f32),
                    point("kl", t, 2.0 * x),
                    point("loss", t, 1.0 - x),
                ]
            });
            inputs.draw(&[("task", task), ("seed", seed)], &curve.collect::<Vec<_>>());
        }
    }
    inputs
}

fn claims() -> Value {
    let excess = |arm: &str, above: f64| json!({ "metric": "length", "minus": "ideal_length", "arm": arm, "above": above });
    json!([
        { "name": "wins", "text": "b beats a", "refuted_if": "it loses", "splits": ["in"],
          "expect": { "metric": "win_vs_a", "arm": "b", "above": 0.5 } },
        { "name": "loses", "text": "b loses against a", "splits": ["in"], "tasks": ["easy"],
          "expect": { "metric": "win_vs_a", "arm": "b", "below": 0.5 } },
        { "name": "shorter", "text": "b is less too long than a", "splits": ["out"],
          "expect": { "metric": "length", "minus": "ideal_length", "arm": "b", "baseline": "a", "below": 0.0 },
          "requires": [excess("a", 1.0)] },
        { "name": "premise", "text": "the same where its premise fails", "splits": ["in"], "tasks": ["easy"],
          "expect": excess("b", 0.5), "requires": [excess("a", 5.0)] },
        { "name": "ceiling", "text": "the ceiling is higher", "splits": ["in"],
          "expect": { "metric": "gold", "arm": "ceiling", "baseline": "b", "above": 0.0 } },
        { "name": "elsewhere", "text": "b wins in another task", "tasks": ["other"], "splits": ["in"],
          "expect": { "metric": "win_vs_a", "arm": "b", "above": 0.5 } },
    ])
}

fn params() -> Value {
    json!({ "title": "A test", "about": "One.\n\nTwo.", "resamples": 1200, "claims": claims(),
            "arms": [{ "name": "a", "about": "the baseline" }, { "name": "b" }, { "name": "unheard" }] })
}

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
fn others_can_compute_the_verdicts_again() {
    let report = experiment().report(params());
    let mut csv = csv::Reader::from_reader(report.verdicts.as_bytes());
    let header: Vec<String> = csv.headers().unwrap().iter().map(String::from).collect();
    assert_eq!(
        header.join(","),
        "family,claim,task,split,verdict,estimate,low,high,p,p_corrected,seeds,metric,minus,arm,baseline,factor,\
         less_arm,less_baseline,threshold,side,reason"
    );
    let rows: Vec<BTreeMap<String, String>> = csv.deserialize().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 9, "{}", report.verdicts);
    let number = |row: &BTreeMap<String, String>, key: &str| -> f64 { row[key].parse().unwrap() };
    let tested: Vec<_> = rows.iter().filter(|r| !r["p"].is_empty()).collect();
    let p: Vec<f64> = tested.iter().map(|r| number(r, "p")).collect();
    let corrected = stages::statistics::holm(&p);
    for (row, corrected) in tested.iter().zip(corrected) {
        assert_eq!(number(row, "p_corrected"), corrected);
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
        let tested: Vec<_> = rows.iter().filter(|r| r["family"] == family && !r["p"].is_empty()).collect();
        assert_eq!(tested.len(), size);
        let number = |row: &BTreeMap<String, String>, key: &str| -> f64 { row[key].parse().unwrap() };
        let corrected = stages::statistics::holm(&tested.iter().map(|r| number(r, "p")).collect::<Vec<_>>());
        for (row, corrected) in tested.iter().zip(corrected) {
            assert_eq!(number(row, "p_corrected"), corrected, "{row:?}");
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
