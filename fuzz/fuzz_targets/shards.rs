//! The index of a model in several files.

#![no_main]

use std::{path::Path, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use lm::{Config, Head, Model};

/// A sound model, all but its index.
static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = r#"{ "vocab_size": 3, "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1,
        "num_attention_heads": 1, "max_position_embeddings": 8, "tie_word_embeddings": true }"#;
    let config: Config = serde_json::from_str(config).expect("it is sound");
    let model = Model::new(config, Head::Lm, 1).expect("it is sound");
    model.save_sharded(folder.path(), 100).expect("the folder takes files");
    folder
});

fuzz_target!(|index: &[u8]| {
    let folder: &Path = FOLDER.path();
    std::fs::write(folder.join("model.safetensors.index.json"), index).expect("the folder takes files");
    let _ = Model::load(folder);
});
