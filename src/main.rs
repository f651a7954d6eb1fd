//! The `pipeline` program.

use std::{io::Write, process::ExitCode};

// The C library's allocator makes a training step 1.3 to 1.8 times slower.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Err(message) = processor() {
        let _ = writeln!(std::io::stderr(), "error: {message}");
        return ExitCode::from(pipeline::cli::MACHINE);
    }
    pipeline::cli::main(&stages::registry())
}

/// The program is built for processors with AVX2 and FMA (.cargo/config.toml): an older one would end it with
/// an illegal instruction.
#[cfg(target_arch = "x86_64")]
fn processor() -> Result<(), &'static str> {
    let all = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("movbe");
    all.then_some(()).ok_or(
        "this processor is older than x86-64-v3 (AVX2 and FMA), for which the program was built\n\
         hint: take the `rustflags` out of .cargo/config.toml and build again; training is then some times slower",
    )
}

#[cfg(not(target_arch = "x86_64"))]
fn processor() -> Result<(), &'static str> {
    Ok(())
}
