//! What a child says to its parent: lines of JSON among others.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline::run::Report;

fuzz_target!(|bytes: &[u8]| {
    let mut steps = vec![];
    let last = Report::last(bytes, |progress| steps.push(Report::Progress(progress)));
    let line = |report: &Report| serde_json::to_string(report).expect("a report is JSON") + "\n";
    let said: String = steps.iter().chain(&last).map(line).collect();
    let mut again = vec![];
    assert_eq!(Report::last(said.as_bytes(), |progress| again.push(Report::Progress(progress))), last);
    assert_eq!(again, steps);
});
