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
    let code = fingerprint::of_stages(&root, &compiler).expect("the sources can be read");
    // Stage kinds are modules at the top.
    let kinds = code.iter().filter(|(module, _)| !module.contains("::"));
    let arm = |(module, code): (&String, &fingerprint::Code)| {
        let parts: Vec<(&String, &String)> = code.parts.iter().collect();
        format!("        {module:?} => Code {{ fingerprint: {:?}, parts: &{parts:?} }},\n", code.fingerprint)
    };
    let code = format!(
        "/// The code of the module of that name in this crate.\n\
         fn code(module: &str) -> Code {{\n    match module {{\n{}        \
         other => panic!(\"there is no module `{{other}}`\"),\n    }}\n}}\n",
        kinds.map(arm).collect::<String>()
    );
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("fingerprints.rs"), code).expect("OUT_DIR takes files");
}
