//! Experiment files and overrides: whatever the text, it unrolls or is refused with a message that can be shown.
//!
//! What stands after a zero byte is an override, as `--set` takes it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pipeline::{
    error::Result,
    experiment::Document,
    graph::{dot, mermaid, unroll},
};

fn read(text: &str, profile: bool, set: Option<&str>) -> Result<()> {
    let mut document = Document::parse("pipeline.yaml", text)?;
    if profile {
        document.select_profile("full")?;
    }
    set.iter().try_for_each(|set| document.set(set))?;
    let experiment = document.experiment()?;
    let graph = unroll(&experiment, &document, &stages::registry())?;
    drop((dot(&graph), mermaid(&graph)));
    Ok(())
}

fuzz_target!(|input: &str| {
    let (text, set) = input.split_once('\0').map_or((input, None), |(text, set)| (text, Some(set)));
    for profile in [false, true] {
        if let Err(e) = read(text, profile, set) {
            assert!(!e.to_string().is_empty());
        }
    }
});
