//! What comes from outside never panics: YAML, overrides, records, archives, datasets and weights of any bytes.

use std::path::Path;

use pipeline::{
    experiment::Document,
    graph::unroll,
    history::{History, Ref},
    key::Digest,
    run::Report,
    store::Store,
};
use proptest::{collection::vec, prelude::*, sample::Index};

const EXPERIMENT: &str = "name: x
axes: { seed: [1, 2], how: { a: {}, b: { sft: { training: { steps: 3 } } } } }
stages:
  data: { uses: data, with: { world: summary } }
  sft: { uses: sft, over: [seed, how], inputs: { demonstrations: data }, with: { arm: \"${how}\" } }
profiles: { full: { axes: { seed: [1, 2, 3] } } }
";

/// Pieces that make YAML, and some that break it.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z$]{1,4}".boxed(),
        r#"[-\[\]{}:,&*#?|>!%@`'"<~. \n\t]{1,3}"#.boxed(),
        Just("${seed}".to_string()).boxed(),
        Just("null".to_string()).boxed(),
        Just("1e999".to_string()).boxed(),
        any::<char>().prop_map(String::from).boxed(),
    ];
    vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// Reads an experiment as far as it goes.
fn read(text: &str, set: &str) -> Option<()> {
    let mut document = Document::parse("pipeline.yaml", text).ok()?;
    let _ = document.select_profile("full");
    let _ = document.set(set);
    let experiment = document.experiment().ok()?;
    unroll(&experiment, &document, &stages::registry()).ok().map(|_| ())
}

/// Bytes with some of them replaced, taken out or doubled.
fn spoilt(mut bytes: Vec<u8>, edits: &[(Index, u8, u8)]) -> Vec<u8> {
    for (at, how, byte) in edits {
        if bytes.is_empty() {
            break;
        }
        let at = at.index(bytes.len());
        match how % 4 {
            0 => bytes[at] = *byte,
            1 => bytes[at] ^= 1 << (byte % 8),
            2 => bytes.truncate(at),
            _ => bytes.insert(at, *byte),
        }
    }
    bytes
}

fn edits() -> impl Strategy<Value = Vec<(Index, u8, u8)>> {
    vec((any::<Index>(), any::<u8>(), any::<u8>()), 1..4)
}

/// A store with one result, made as a run makes it.
fn store(folder: &Path) -> (Store, Digest) {
    let store = Store::new(folder);
    let artifact = folder.join("artifact");
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(&artifact, "weights").unwrap();
    let stored = store.take_in(&artifact).unwrap();
    let record = serde_json::json!({
        "key": { "format": 1, "kind": "sft", "code": "0a", "params": {}, "seed": 1, "inputs": {} },
        "outputs": { "model": stored },
        "provenance": { "instance": "sft", "finished": 1, "seconds": 1.5, "threads": 1, "pipeline": "0.1.0" },
    });
    let record: pipeline::store::Record = serde_json::from_value(record).unwrap();
    let key = record.key.digest();
    store.record(&key, &record).unwrap();
    (store, key)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_text_makes_the_reader_panic(text in pieces(), at in any::<Index>(), set in pieces()) {
        let boundary = EXPERIMENT.char_indices().map(|(i, _)| i).collect::<Vec<_>>();
        let at = boundary[at.index(boundary.len())];
        let _ = read(&format!("{}{text}{}", &EXPERIMENT[..at], &EXPERIMENT[at..]), &set);
        let _ = read(&text, &set);
        let _ = read(EXPERIMENT, &format!("stages.sft.with.{set}"));
    }

    #[test]
    fn no_record_makes_the_store_panic_or_believe(edits in edits()) {
        let folder = tempfile::tempdir().unwrap();
        let (store, key) = store(folder.path());
        let path = folder.path().join("results").join(format!("{key}.json"));
        let sound = std::fs::read(&path).unwrap();
        let bytes = spoilt(sound.clone(), &edits);
        std::fs::write(&path, &bytes).unwrap();
        if let pipeline::store::Lookup::Hit(outputs) = store.lookup(&key) {
            prop_assert_eq!(store.record_of(&key).map(|record| record.key.digest()), Some(key.clone()));
            let whole = outputs.values().all(|s| store.object(&s.content).exists());
            prop_assert!(whole, "a hit has all that it names");
        }
        let _ = store.verify(|_, _| {}).unwrap();
        let _ = store.records();
    }

    #[test]
    fn no_archive_gets_something_unsound_in(edits in edits()) {
        let folder = tempfile::tempdir().unwrap();
        let (source, key) = store(&folder.path().join("a"));
        let mut archive = vec![];
        source.export(&[key].into(), &[("x.json".into(), b"{}".to_vec())], &mut archive).unwrap();
        let target = Store::new(folder.path().join("b"));
        let _ = target.import(std::io::Cursor::new(spoilt(archive, &edits)));
        let verified = target.verify(|_, _| {}).unwrap();
        prop_assert!(verified.is_sound());
        // Nothing is left outside of the store.
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        prop_assert!(names.iter().all(|name| name == "a" || name == "b"), "{names:?}");
    }

    #[test]
    fn no_name_of_a_run_leaves_its_folder(name in "[./a-zA-Z0-9~-]{0,12}", bytes in vec(any::<u8>(), 0..20)) {
        let folder = tempfile::tempdir().unwrap();
        let history = History::new(&folder.path().join("cache"));
        if let Ok(which) = name.parse::<Ref>() {
            prop_assert!(history.find(&which).is_err());
        }
        let name = format!("{name}.json");
        prop_assert!(history.take_in(&name, &bytes).is_err());
        prop_assert!(!folder.path().join("cache").exists());
    }
}

#[test]
fn the_end_of_a_line_that_is_too_long_is_no_report() {
    let said = |before: usize| format!("{}\"done\"\n", " ".repeat(before));
    assert_eq!(Report::last(said(0).as_bytes(), |_| {}), Some(Report::Done));
    assert_eq!(Report::last(format!("{}x{}", said(0), said(1 << 20)).as_bytes(), |_| {}), Some(Report::Done));
    assert_eq!(Report::last(format!("x{}", said((1 << 20) - 1)).as_bytes(), |_| {}), None);
}
