//! How fast the store hashes and takes in: 1 GB as one file and as a folder of 10,000, beside what the machine can do.
//!
//!     cargo bench --bench store [-- FOLDER]
//!
//! FOLDER, by default a temporary one, says which disk is measured. Figures are medians of five rounds. The files were just
//! written and are in memory.

use std::{fs, io::Write, path::Path, time::Instant};

use pipeline::store::{Store, content_of};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BYTES: usize = 1_000_000_000;
const FILES: usize = 10_000;
const ROUNDS: usize = 5;

fn main() {
    let place = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let folder =
        place.map_or_else(tempfile::tempdir, tempfile::tempdir_in).expect("a folder that can be written");
    let bytes: Vec<u8> = (0..BYTES).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    println!("{:<44} {:>8} {:>8}", "", "seconds", "GB/s");
    row("bytes in memory, hashed by blake3 on all cores", || {
        time(|| {
            blake3::Hasher::new().update_rayon(&bytes);
        })
    });
    for count in [1, FILES] {
        let what = if count == 1 { "one file".into() } else { format!("{count} files") };
        let path = folder.path().join("source");
        write(&path, &bytes, count);
        row(&format!("{what}: only read, on one core"), || time(|| read(&path)));
        row(&format!("{what}: hashed"), || time(|| drop(content_of(&path).expect("it can be read"))));
        let mut round = 0;
        row(&format!("{what}: hashed, synced and taken in"), || {
            round += 1;
            let (store, draft) =
                (Store::new(folder.path().join(format!("store-{round}"))), folder.path().join("draft"));
            write(&draft, &bytes, count);
            let seconds = time(|| drop(store.take_in(&draft).expect("it is taken in")));
            fs::remove_dir_all(store.root()).expect("it can be removed");
            seconds
        });
        row(&format!("{what}: written and synced, without hashing"), || {
            let draft = folder.path().join("draft");
            let seconds = time(|| {
                write(&draft, &bytes, count);
                sync(&draft);
            });
            remove(&draft);
            seconds
        });
        remove(&path);
    }
}

fn time(act: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    act();
    begun.elapsed().as_secs_f64()
}

fn row(name: &str, mut round: impl FnMut() -> f64) {
    let mut seconds: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    seconds.sort_by(f64::total_cmp);
    let median = seconds[ROUNDS / 2];
    println!("{name:<44} {median:>8.3} {:>8.2}", BYTES as f64 / 1e9 / median);
}

/// As one file, or as a folder of some.
fn write(path: &Path, bytes: &[u8], count: usize) {
    if count == 1 {
        return fs::write(path, bytes).expect("it can be written");
    }
    fs::create_dir(path).expect("it can be made");
    for (i, part) in bytes.chunks(bytes.len() / count).enumerate() {
        fs::write(path.join(i.to_string()), part).expect("it can be written");
    }
}

fn each(path: &Path, mut act: impl FnMut(&Path)) {
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("a folder");
        entries.for_each(|entry| act(&entry.expect("an entry").path()));
    } else {
        act(path);
    }
}

fn read(path: &Path) {
    let mut sink = std::io::sink();
    each(path, |file| sink.write_all(&fs::read(file).expect("it can be read")).expect("it takes all"));
}

fn sync(path: &Path) {
    each(path, |file| fs::File::open(file).and_then(|file| file.sync_all()).expect("it can be synced"));
}

fn remove(path: &Path) {
    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("it can be removed");
}
