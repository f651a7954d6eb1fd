//! Records of results: what is read has the key it was written with, when it is written and read again too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline::{
    key::{Digest, Known},
    store::Record,
};

struct Nothing;

impl Known for Nothing {
    fn maker(&self, _: &Digest) -> Option<&str> {
        None
    }

    fn code_change(&self, _: &str, _: &str) -> String {
        String::new()
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(record) = serde_json::from_slice::<Record>(bytes) else { return };
    let again = serde_json::to_vec_pretty(&record).expect("a record is JSON");
    let again: Record = serde_json::from_slice(&again).expect("what was written can be read");
    assert_eq!((again.key.digest(), &again), (record.key.digest(), &record));
    assert!(record.key.differences(&again.key, &Nothing).is_empty());
    let other = pipeline::key::Key { params: serde_json::json!({ "a": [1] }), ..again.key };
    let _ = (record.key.differences(&other, &Nothing), other.differences(&record.key, &Nothing));
    assert!(record.provenance.instance.starts_with(record.provenance.stage()));
});
