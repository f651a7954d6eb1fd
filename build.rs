//! How the program is linked, and what compiled it.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let compiler =
        Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("--version").output();
    let compiler = compiler.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_string());
    println!("cargo::rustc-env=PIPELINE_COMPILER={}", compiler.unwrap_or_else(|_| "unknown".into()));
    let is = |name: &str, wanted: &str| env::var(name).is_ok_and(|found| found == wanted);
    let is_static =
        env::var("CARGO_CFG_TARGET_FEATURE").is_ok_and(|all| all.split(',').any(|one| one == "crt-static"));
    // To a fixed place: the loader would mend 249,000 addresses at every start, and each instance is a process. Stages' data
    // lies elsewhere each time all the same.
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") && !is_static {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
