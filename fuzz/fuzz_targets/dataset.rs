//! Arrow files, as the stages read datasets and as the engine reads metrics.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use stages::dataset::{self, CurvePoint, Demonstration, Measurement, Pair, Prompt, Response, Row, Snapshot};

/// What is read can be written, and is then read as the same.
fn read<R: Row + std::fmt::Debug>(path: &Path) {
    let Ok(rows) = dataset::read::<R>(path) else { return };
    let again = path.with_extension("again");
    dataset::write(&again, &rows).expect("rows can be written");
    let read: Vec<R> = dataset::read(&again).expect("what was written can be read");
    // By their texts: a number that is none is not equal to itself.
    assert_eq!(format!("{read:?}"), format!("{rows:?}"));
}

fuzz_target!(
    // Where the library panics the readers catch it, and the fuzzer must not end at the sight of it.
    init: std::panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("x");
        std::fs::write(&path, bytes).expect("the folder takes files");
        read::<Demonstration>(&path);
        read::<Prompt>(&path);
        read::<Pair>(&path);
        read::<Response>(&path);
        read::<Snapshot>(&path);
        read::<Measurement>(&path);
        read::<CurvePoint>(&path);
        let _ = stages::registry().metrics(&path);
    }
);
