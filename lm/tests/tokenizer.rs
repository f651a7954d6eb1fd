//! Text to tokens and back.

use lm::{Error, Tokenizer};
use proptest::prelude::*;
use std::fs;

const SPECIALS: [&str; 3] = ["<pad>", "<end>", "<sep>"];
const TEXTS: [&str; 3] = ["the cat sat on the mat", "a cat is not a dog", "Dogs, cats; mats!"];

fn word_level() -> Tokenizer {
    Tokenizer::word_level(TEXTS, &SPECIALS).unwrap()
}

fn bpe() -> Tokenizer {
    Tokenizer::bpe(TEXTS.iter().cycle().take(60).copied(), 300, &SPECIALS).unwrap()
}

fn reloaded(tokenizer: &Tokenizer) -> Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("tokenizer.json"), dir.path().join("again.json"));
    tokenizer.save(&first).unwrap();
    let loaded = Tokenizer::load(&first).unwrap();
    loaded.save(&second).unwrap();
    assert!(
        fs::read(first).unwrap() == fs::read(second).unwrap(),
        "the file changes when it is written again"
    );
    loaded
}

#[test]
fn a_word_is_a_token() {
    for tokenizer in [word_level(), reloaded(&word_level())] {
        // Three specials, what is unknown, 12 words.
        assert_eq!(tokenizer.vocab_size(), 16);
        let id = |word| tokenizer.id(word).unwrap();
        assert_eq!(["<pad>", "<end>", "<sep>", "<unk>"].map(id), [0, 1, 2, 3]);
        // Alphabetical, capitals first.
        assert_eq!((id("Dogs,"), id("a")), (4, 5));
        let text = "the dog sat <sep> on a cat <end>";
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(ids, text.split(' ').map(id).collect::<Vec<_>>());
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        assert_eq!(tokenizer.encode("the zebra").unwrap(), [id("the"), id("<unk>")]);
        assert!(tokenizer.encode(" \n ").unwrap().is_empty());
        assert_eq!(tokenizer.id("zebra"), None);
    }
}

#[test]
fn bytes_are_merged() {
    for tokenizer in [bpe(), reloaded(&bpe())] {
        assert!((3 + 256..=300).contains(&tokenizer.vocab_size()), "{}", tokenizer.vocab_size());
        assert_eq!(SPECIALS.map(|s| tokenizer.id(s).unwrap()), [0, 1, 2]);
        let text = "the cat sat<end>";
        let ids = tokenizer.encode(text).unwrap();
        assert!(ids.len() < text.len() / 2, "nothing was merged: {ids:?}");
        assert_eq!(ids.last(), Some(&1));
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        assert!(tokenizer.encode("").unwrap().is_empty());
    }
}

#[test]
fn the_same_texts_make_the_same_tokenizer() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = |tokenizer: Tokenizer| {
        let path = dir.path().join("tokenizer.json");
        tokenizer.save(&path).unwrap();
        fs::read(path).unwrap()
    };
    assert!(bytes(word_level()) == bytes(word_level()));
    assert!(bytes(bpe()) == bytes(bpe()));
}

#[test]
fn what_cannot_be_a_tokenizer_is_refused() {
    let small = Tokenizer::bpe(TEXTS, 258, &SPECIALS).map(|_| ());
    assert!(matches!(&small, Err(Error::Tokenizer(text)) if text.contains("258") && text.contains("259")));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    assert!(matches!(Tokenizer::load(&path), Err(Error::Io { .. })));
    word_level().save(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    for len in (0..whole.len() - 2).step_by(31) {
        fs::write(&path, &whole[..len]).unwrap();
        assert!(matches!(Tokenizer::load(&path), Err(Error::Format { .. })), "{len} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_survives_bytes(text in any::<String>()) {
        let tokenizer = bpe();
        prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text).unwrap()).unwrap(), text);
    }

    #[test]
    fn known_words_survive(ids in prop::collection::vec(0u32..16, 0..30)) {
        let tokenizer = word_level();
        prop_assert_eq!(tokenizer.encode(&tokenizer.decode(&ids).unwrap()).unwrap(), ids);
    }
}
