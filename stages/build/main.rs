//! Computes the code fingerprint of every stage module, for `src/registry.rs`.

use std::{env, fs, path::PathBuf, process::Command};

mod fingerprint;

fn main() {
    let stages = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let root = stages.parent().expect("stages/ lies in the workspace").to_path_buf();
    for path in ["stages/src", "lm/src", "lm/Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
    }
    let compiler = Command::new(env::var_os("RUSTC").expect("cargo sets it")).arg("-vV").output();
    let mut compiler = compiler.expect("the compiler gives its version").stdout;
    // Other instructions round otherwise.
    compiler.extend(env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().into_bytes());
    let prints = fingerprint::of_stages(&root, &compiler).expect("the sources can be read");
    let arms: String = prints.iter().map(|(m, p)| format!("        {m:?} => {p:?},\n")).collect();
    let code = format!(
        "/// The code fingerprint of the module of that path in this crate.\n\
         fn fingerprint(module: &str) -> &'static str {{\n    match module {{\n{arms}        \
         other => panic!(\"there is no module `{{other}}`\"),\n    }}\n}}\n"
    );
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("fingerprints.rs"), code).expect("OUT_DIR takes files");
}
