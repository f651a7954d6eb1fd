//! The process of one instance.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use stages::contract::{Context, Registry, StageError};

use super::manifest::{Manifest, Report};

/// Runs the instance that a manifest describes, with its progress as JSON lines on `out`. Whether it finished.
pub fn run(manifest: &Manifest, registry: &Registry, out: impl Write + Send + 'static) -> bool {
    let out = Arc::new(Mutex::new(out));
    let report = move |report: &Report| {
        let mut line = serde_json::to_string(report).unwrap_or_default();
        line.push('\n');
        let mut out = out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // A parent that is gone hears nothing; this process ends when it sees that its input has ended.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    };
    // Reported, too: on a full disk there is no log to read it in.
    let lock = settle_in(manifest).map_err(|e| StageError::because("its folder could not be made", e));
    let (_lock, result) = match lock {
        Ok(lock) => (Some(lock), start(manifest, registry, report.clone())),
        Err(e) => (None, Err(e)),
    };
    report(&match &result {
        Ok(()) => Report::Done,
        Err(e) => failure(e),
    });
    result.is_ok()
}

/// Waits until `input` ends: the parent holds its other end, and lets go of it however it dies.
pub fn wait_for_parents_end(mut input: impl Read) {
    let mut buffer = [0; 64];
    while input.read(&mut buffer).is_ok_and(|n| n > 0) {}
}

/// A long stage that is killed loses no more time than this, and a step.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(120);

/// Takes the work folder over from earlier attempts.
fn settle_in(manifest: &Manifest) -> io::Result<File> {
    let lock = File::options().create(true).truncate(false).write(true).open(&manifest.lock)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            tracing::info!("waits for a process of an earlier run, which has not ended yet");
            lock.lock()?;
        }
        Err(TryLockError::Error(e)) => return Err(e),
    }
    if manifest.outputs.exists() {
        fs::remove_dir_all(&manifest.outputs)?;
    }
    fs::create_dir_all(&manifest.outputs)?;
    fs::create_dir_all(&manifest.checkpoints)?;
    Ok(lock)
}

fn start(
    manifest: &Manifest,
    registry: &Registry,
    report: impl Fn(&Report) + Send + Sync + 'static,
) -> Result<(), StageError> {
    let rebuilt = "run the command again: the program was rebuilt while it ran";
    let Some(kind) = registry.get(&manifest.kind) else {
        return Err(StageError::new(format!("there is no stage kind `{}`", manifest.kind)).hint(rebuilt));
    };
    if kind.code.fingerprint != manifest.code {
        return Err(
            StageError::new("the stage's code is not the one that the key was computed for").hint(rebuilt)
        );
    }
    let ctx = Context {
        inputs: manifest.inputs.clone(),
        outputs: manifest.outputs.clone(),
        checkpoints: manifest.checkpoints.clone(),
        key: manifest.key.to_string(),
        checkpoint_every: CHECKPOINT_EVERY,
        seed: manifest.seed,
        watcher: Box::new(move |progress| report(&Report::Progress(progress))),
    };
    tracing::info!(instance = manifest.instance, threads = manifest.threads, "started");
    (kind.run)(manifest.params.clone(), &ctx)?;
    tracing::info!(instance = manifest.instance, "finished");
    Ok(())
}

fn failure(error: &StageError) -> Report {
    let (mut causes, mut full) = (vec![], false);
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        let io = error.downcast_ref::<io::Error>();
        full |= io.is_some_and(|e| e.kind() == io::ErrorKind::StorageFull);
        cause = error.source();
    }
    tracing::error!(?causes, hint = error.hint, "{}", error.message);
    Report::Failed { message: error.message.clone(), causes, hint: error.hint.clone(), full }
}
