//! Archives: whatever is taken in is sound, and nothing is written outside of the store.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline::store::Store;

const BLOCK: usize = 512;

/// Gives every header the checksum that it needs: a fuzzer would hardly find it.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(BLOCK).filter(|block| &block[257..262] == b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }
    bytes
}

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::new(folder.path().join("cache"));
    let _ = store.import(std::io::Cursor::new(with_checksums(bytes)));
    assert!(store.verify(|_, _| {}).expect("the store can be read").is_sound());
    let names =
        std::fs::read_dir(folder.path()).expect("it is there").map(|e| e.expect("an entry").file_name());
    assert!(names.into_iter().all(|name| name == "cache"));
});
