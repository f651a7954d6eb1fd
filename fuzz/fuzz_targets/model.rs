//! A model's folder: what can be loaded can be saved, and loaded again.
//!
//! What stands before a zero byte is `config.json`, what follows is `model.safetensors`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lm::Model;

fuzz_target!(|bytes: &[u8]| {
    let Some(end) = bytes.iter().position(|b| *b == 0) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write =
        |name, bytes| std::fs::write(folder.path().join(name), bytes).expect("the folder takes files");
    write("config.json", &bytes[..end]);
    write("model.safetensors", &bytes[end + 1..]);
    if let Ok(model) = Model::load(folder.path()) {
        let again = folder.path().join("again");
        model.save(&again).expect("a model can be saved");
        let again = Model::load(again).expect("what was saved can be loaded");
        assert_eq!(again.config(), model.config());
    }
});
