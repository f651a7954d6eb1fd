//! The experiments that come with the repository can be run: every name, type and parameter in them is known.

mod common;

use std::path::Path;

use common::Lab;

#[test]
fn every_experiment_in_the_repository_unrolls() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lab = Lab::new("");
    let sizes = |file: &Path, arguments: &[&str]| {
        let file = file.to_str().expect("a path in UTF-8");
        lab.plan(&[&["-f", file], arguments].concat()).len()
    };
    let default = root.join("pipeline.yaml");
    let (quick, full) = (sizes(&default, &[]), sizes(&default, &["--profile", "full"]));
    assert!(full > 2 * quick, "{full} {quick}");
    let more: Vec<_> = std::fs::read_dir(root.join("experiments")).expect("a folder").collect();
    assert!(more.len() > 3);
    for entry in more {
        let file = entry.expect("a file").path();
        assert!(sizes(&file, &[]) > 10, "{}", file.display());
    }
}
