//! Records of runs: one that is taken in from elsewhere can be read again, and nothing leaves the cache's folder.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline::history::{History, Ref};

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let history = History::new(&folder.path().join("cache"));
    let id = serde_json::from_slice::<serde_json::Value>(bytes).ok();
    let id = id.as_ref().and_then(|run| run["id"].as_str()).unwrap_or("x");
    if history.take_in(&format!("{id}.json"), bytes).is_ok() {
        let run = history.find(&Ref::Latest { before: 0 }).expect("what was taken in can be read");
        assert_eq!((run.id.as_str(), run.summary().total), (id, run.instances.len()));
        assert_eq!(history.ids().len(), 1);
    }
    let names =
        std::fs::read_dir(folder.path()).expect("it is there").map(|e| e.expect("an entry").file_name());
    assert!(names.into_iter().all(|name| name == "cache"));
});
