//! What a crash, or damage on the disk, leaves of the store.

use super::*;
use crate::{
    key::{FORMAT, Key},
    store::{Content, Provenance},
};
use proptest::{prelude::*, sample::Index};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::mpsc::{Sender, channel},
    thread,
};

thread_local! {
    /// How many steps this thread may take, and whom it tells that it has stopped.
    static LEFT: RefCell<Option<(usize, Sender<bool>)>> = const { RefCell::new(None) };
}

/// Stops the thread for ever where its steps end. As in a killed process nothing is tidied up: no destructor runs.
pub(super) fn step() {
    let stops = LEFT.with_borrow_mut(|left| match left {
        Some((0, told)) => told.send(false).is_ok(),
        Some((n, _)) => {
            *n -= 1;
            false
        }
        None => false,
    });
    if stops {
        loop {
            thread::park();
        }
    }
}

/// Lets `act` take `steps` steps; whether that brought it to its end.
fn up_to(steps: usize, act: impl FnOnce() + Send + 'static) -> bool {
    let (sender, ended) = channel();
    thread::spawn(move || {
        LEFT.set(Some((steps, sender.clone())));
        act();
        let _ = sender.send(true);
    });
    ended.recv().expect("it stops or comes to its end, and does not panic")
}

/// The files of an artifact: one without a name for a file.
type Artifact = BTreeMap<&'static str, Vec<u8>>;
/// By output name.
type Outputs = BTreeMap<&'static str, Artifact>;

fn file(bytes: &[u8]) -> Artifact {
    Artifact::from([("", bytes.to_vec())])
}

fn model(weights: &[u8]) -> Artifact {
    Artifact::from([("config.json", b"{}".to_vec()), ("parts/weights", weights.to_vec())])
}

/// What the instance with that seed gives. The first has an artifact in common with each of the others.
fn outputs(seed: u64) -> Outputs {
    let outputs = match seed {
        0 => [("curve", file(b"falls")), ("model", model(b"0.1 0.2"))],
        1 => [("curve", file(b"falls")), ("model", model(b"0.3"))],
        _ => [("curve", file(b"rises")), ("model", model(b"0.1 0.2"))],
    };
    outputs.into()
}

const SEEDS: u64 = 3;

fn key(seed: u64) -> Key {
    let (kind, code) = ("ppo".into(), "c0de".into());
    Key { format: FORMAT, kind, code, params: serde_json::json!({}), seed, inputs: BTreeMap::new() }
}

fn write(path: &Path, artifact: &Artifact) {
    for (name, bytes) in artifact {
        let path = if name.is_empty() { path.to_path_buf() } else { path.join(name) };
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// An empty folder: in memory where the system has such a place, since syncs there take no time.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Where an artifact lies in the store.
fn object(store: &Store, artifact: &Artifact) -> PathBuf {
    let dir = folder();
    let path = dir.path().join("x");
    write(&path, artifact);
    store.object(&content_of(&path).unwrap().digest)
}

/// What lies in the store under the address of an artifact, and what its content is.
fn objects(store: &Store) -> Vec<(PathBuf, Content)> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let all = entries(&store.root().join("objects")).into_iter().flat_map(|head| entries(&head));
    all.map(|path| (path.clone(), content_of(&path).unwrap())).collect()
}

/// Makes an instance's outputs anew, as a rerun does, and takes them in.
fn take_in(store: &Store, seed: u64) -> BTreeMap<String, Stored> {
    let out = store.work(&key(seed).digest()).join("out");
    if out.exists() {
        fs::remove_dir_all(&out).unwrap();
    }
    let one = |(name, artifact): (&str, _)| {
        let path = out.join(name);
        write(&path, &artifact);
        (name.to_string(), store.take_in(&path).unwrap())
    };
    outputs(seed).into_iter().map(one).collect()
}

fn commit(store: &Store, seed: u64) {
    let provenance = Provenance {
        instance: format!("ppo[seed={seed}]"),
        finished: 0,
        seconds: 0.5,
        threads: 1,
        pipeline: "0".into(),
    };
    let record = Record { key: key(seed), outputs: take_in(store, seed), provenance };
    store.record(&key(seed).digest(), &record).unwrap();
}

/// By their names in an artifact or another folder.
fn files(path: &Path) -> BTreeMap<String, PathBuf> {
    let entries = walk(path).unwrap().into_iter();
    entries.filter(|entry| !entry.is_folder).map(|entry| (entry.name, entry.path)).collect()
}

/// Whether the store has the instance's result.
///
/// # Panics
/// On a hit that is wrong. An output under another name is none: a result that lacks an output is not used.
fn is_hit(store: &Store, seed: u64) -> bool {
    let Lookup::Hit(found) = store.lookup(&key(seed).digest()) else { return false };
    let outputs = outputs(seed);
    for (name, stored) in &found {
        let Some(expected) = outputs.get(name.as_str()) else { continue };
        let path = store.object(&stored.content);
        let all = files(&path);
        let found: BTreeMap<&str, Vec<u8>> =
            all.iter().map(|(name, path)| (name.as_str(), fs::read(path).unwrap())).collect();
        assert!(found == *expected, "a hit on wrong bytes of `{name}`");
    }
    outputs.keys().all(|name| found.contains_key(*name))
}

/// Puts other bytes into a file of the store, which are read-only.
fn overwrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_crash_between_any_two_steps_leaves_a_whole_result_or_none() {
    let mut hits = vec![];
    loop {
        let dir = folder();
        let store = Store::new(dir.path());
        commit(&store, 0);
        // The second shares its curve with the first, and its model lies there already, damaged.
        let damaged = object(&store, &outputs(1)["model"]);
        write(&damaged, &model(b"not these"));
        let damage = content_of(&damaged).unwrap();
        let in_thread = store.clone();
        let steps = hits.len();
        let ended = up_to(steps, move || commit(&in_thread, 1));

        assert!(is_hit(&store, 0), "the first result is lost after {steps} steps");
        for (path, content) in objects(&store) {
            let as_before = path == damaged && content == damage;
            let whole = path == store.object(&content.digest);
            assert!(whole || as_before, "after {steps} steps: a part of `{}`", path.display());
        }
        let hit = is_hit(&store, 1);
        let found = store.lookup(&key(1).digest());
        assert!(hit || matches!(found, Lookup::Absent), "after {steps} steps: {found:?}");
        commit(&store, 1);
        assert!(is_hit(&store, 1), "once more after {steps} steps");
        assert!(is_hit(&store, 0), "once more after {steps} steps: the first");
        if ended {
            break;
        }
        hits.push(hit);
    }
    // The record's name is what makes a result: only the sync of its folder comes after it.
    let last = hits.len() - 1;
    assert!(last >= 15 && hits.iter().enumerate().all(|(i, hit)| *hit == (i == last)), "{hits:?}");
}

/// Something that happens to a store.
#[derive(Clone, Debug)]
enum Deed {
    Commit(u64),
    /// A run that was killed before it wrote the record.
    TakeIn(u64),
    /// A bit of a file turns.
    Flip(Index, Index, u8),
    Truncate(Index, Index),
    Delete(Index),
    /// Two files change places: two records, or two files of artifacts.
    Swap(&'static str, Index, Index),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let index = any::<Index>;
    let deed = prop_oneof![
        3 => (0..SEEDS).prop_map(Deed::Commit),
        1 => (0..SEEDS).prop_map(Deed::TakeIn),
        2 => (index(), index(), 0..8_u8).prop_map(|(file, at, bit)| Deed::Flip(file, at, bit)),
        1 => (index(), index()).prop_map(|(file, length)| Deed::Truncate(file, length)),
        1 => index().prop_map(Deed::Delete),
        1 => (index(), index()).prop_map(|(a, b)| Deed::Swap("objects", a, b)),
        2 => (index(), index()).prop_map(|(a, b)| Deed::Swap("results", a, b)),
    ];
    prop::collection::vec(deed, 1..12)
}

fn happen(store: &Store, deed: &Deed) {
    let kept = |folder: &str| -> Vec<PathBuf> {
        let folder = store.root().join(folder);
        if folder.exists() { files(&folder).into_values().collect() } else { vec![] }
    };
    let any = [kept("objects"), kept("results")].concat();
    let pick = |index: &Index| (!any.is_empty()).then(|| index.get(&any));
    match deed {
        Deed::Commit(seed) => commit(store, *seed),
        Deed::TakeIn(seed) => drop(take_in(store, *seed)),
        Deed::Flip(file, at, bit) => {
            let Some(path) = pick(file) else { return };
            let mut bytes = fs::read(path).unwrap();
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
                overwrite(path, &bytes);
            }
        }
        Deed::Truncate(file, length) => {
            let Some(path) = pick(file) else { return };
            let bytes = fs::read(path).unwrap();
            overwrite(path, &bytes[..length.index(bytes.len() + 1)]);
        }
        Deed::Delete(file) => pick(file).into_iter().for_each(|path| fs::remove_file(path).unwrap()),
        Deed::Swap(folder, a, b) => {
            let kept = kept(folder);
            if kept.is_empty() {
                return;
            }
            let (a, b) = (a.get(&kept), b.get(&kept));
            let (bytes_a, bytes_b) = (fs::read(a).unwrap(), fs::read(b).unwrap());
            overwrite(a, &bytes_b);
            overwrite(b, &bytes_a);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_happens_to_the_disk_no_hit_is_wrong_and_a_commit_heals(deeds in deeds()) {
        let dir = folder();
        let store = Store::new(dir.path());
        for deed in &deeds {
            happen(&store, deed);
            let hits: Vec<bool> = (0..SEEDS).map(|seed| is_hit(&store, seed)).collect();
            if let Deed::Commit(seed) = deed {
                prop_assert!(hits[*seed as usize], "{deed:?}");
            }
        }
    }
}

/// A record says which key it is of: in another key's place it is no result.
#[test]
fn records_that_changed_places_are_no_results() {
    let dir = folder();
    let store = Store::new(dir.path());
    (0..SEEDS).for_each(|seed| commit(&store, seed));
    let [a, b] = [0, 1].map(|seed| store.result(&key(seed).digest()));
    let (bytes_a, bytes_b) = (fs::read(&a).unwrap(), fs::read(&b).unwrap());
    overwrite(&a, &bytes_b);
    overwrite(&b, &bytes_a);
    for seed in [0, 1] {
        let found = store.lookup(&key(seed).digest());
        assert!(matches!(&found, Lookup::Damaged(why) if why.contains("another key")), "{found:?}");
    }
    assert!(is_hit(&store, 2));
}

#[test]
fn what_is_damaged_is_set_aside_and_can_be_looked_at() {
    let dir = folder();
    let store = Store::new(dir.path());
    commit(&store, 0);
    let path = object(&store, &outputs(0)["curve"]);
    overwrite(&path, b"fells");
    commit(&store, 0);
    let damaged = files(&dir.path().join("damaged"));
    let found: Vec<_> = damaged.values().map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(found, [b"fells"]);
}

#[test]
fn damage_that_several_find_at_once_is_mended() {
    for _ in 0..20 {
        let dir = folder();
        let store = Store::new(dir.path());
        let target = object(&store, &model(b"0.1"));
        write(&target, &model(b"not these"));
        let take_in = |i: usize| {
            let store = store.clone();
            thread::spawn(move || {
                let path = store.root().join("work").join(i.to_string());
                write(&path, &model(b"0.1"));
                store.take_in(&path)
            })
        };
        let all: Vec<_> = (0..4).map(take_in).collect();
        all.into_iter().for_each(|thread| drop(thread.join().unwrap().unwrap()));
        assert_eq!(store.object(&content_of(&target).unwrap().digest), target);
    }
}
