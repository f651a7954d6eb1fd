//! `pipeline run`.

use std::{
    cell::Cell,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use stages::contract::Registry;

use super::{
    FAILED, INTERRUPTED,
    args::{ExperimentOptions, LogFormat, RunOptions},
    bars::Show,
    interrupt,
    logging::Logs,
    output::{self, insist, say},
    setup::Setup,
    surroundings,
};
use crate::{
    error::{Error, Result},
    history::{Begun, FORMAT, Git, History, Note, Run},
    key::Digest,
    run::{self, End, Launcher, Options, Outcome, Shared, Summary},
};

/// What `--json` ends with.
#[derive(Serialize)]
struct Last<'a> {
    experiment: &'a str,
    /// The run's id; null where its record could not be written.
    run: Option<&'a str>,
    #[serde(flatten)]
    summary: &'a Summary,
    reports: PathBuf,
}

pub fn run(options: &RunOptions, registry: &Registry, logs: &Logs) -> Result<ExitCode> {
    // As it is when the run begins, and while the rest is read.
    let file = options.experiment.file.clone();
    let git = std::thread::Builder::new().spawn(move || surroundings::git(&file));
    // Manifests and logs name files in the cache: absolute, so that they mean the same wherever they are read.
    let cache = absolute(&options.cache.folder)?;
    let (setup, store) = Setup::with_store(&options.experiment, registry, &cache)?;
    let interrupts = interrupt::listen()?;
    let tokens = options.resources.tokens()?;
    let reports = options.reports.join(&setup.experiment.name);
    let _entered = store.enter();
    let how = Options {
        jobs: options.resources.jobs.map_or(tokens.threads, usize::from),
        tokens,
        retries: options.resources.retries,
        fail_fast: options.resources.fail_fast,
        launcher: launcher(logs)?,
        remote: options.remote.open()?.map(|remote| Shared::new(remote, options.read_only, &store)),
        reports: reports.clone(),
    };
    let show = Show::new(logs, setup.chosen.len());
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let history = History::new(store.root());
    let id = history.next_id(started, noise(started));
    let note = Note::new(&history, begun(&options.experiment, &setup, &id, started));
    let warned = Cell::new(false);
    let noting = |keys: &[Digest]| {
        let Err(e) = note.add(keys) else { return };
        if !warned.replace(true) {
            tracing::warn!(
                "if this run is killed, `cache gc` may take what it found: its note could not be written: {e}"
            );
        }
    };
    let ended = run::run(&setup.graph, &setup.chosen, &store, &how, &show, &noting, &interrupts);
    show.end();
    store.keep_stamps();
    let (summary, instances) = ended?;
    let publishes = |n: &petgraph::graph::NodeIndex| setup.graph[*n].publishes();
    tell(&summary, &instances, setup.chosen.iter().any(publishes).then_some(&reports));
    let git = git.ok().and_then(|git| git.join().ok().flatten());
    let record = record(&options.experiment, &setup, id, started, git, &summary, instances);
    // Results are what counts: a run whose record cannot be written has not failed.
    let made_nothing = summary.cached - summary.fetched == summary.total;
    let written = history.write(&record, !made_nothing).map_err(|e| tracing::warn!("{e}"));
    if options.json {
        let (experiment, run) = (&setup.experiment.name, written.is_ok().then_some(record.id.as_str()));
        output::json_line(&Last { experiment, run, summary: &summary, reports })?;
    }
    // The process ends: the system takes the memory back faster.
    std::mem::forget(setup);
    Ok(match () {
        () if summary.interrupted => ExitCode::from(INTERRUPTED),
        () if summary.failed > 0 => ExitCode::from(FAILED),
        () => ExitCode::SUCCESS,
    })
}

/// Tells a run from another of the same moment.
fn noise(started: Duration) -> u32 {
    let hash = blake3::hash(format!("{} {started:?}", std::process::id()).as_bytes());
    u32::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash is longer"))
}

/// What is known of the run when it begins.
fn begun(options: &ExperimentOptions, setup: &Setup, id: &str, started: Duration) -> Begun {
    Begun {
        id: id.into(),
        experiment: setup.experiment.name.clone(),
        profile: options.profile.clone(),
        set: options.set.clone(),
        only: options.only.clone(),
        started: started.as_secs(),
        ..Begun::default()
    }
}

/// What is remembered of the run.
fn record(
    options: &ExperimentOptions,
    setup: &Setup,
    id: String,
    started: Duration,
    git: Option<Git>,
    summary: &Summary,
    instances: Vec<Outcome>,
) -> Run {
    Run {
        format: FORMAT,
        id,
        experiment: setup.experiment.name.clone(),
        file: options.file.display().to_string(),
        profile: options.profile.clone(),
        set: options.set.clone(),
        only: options.only.clone(),
        resolved: setup.resolved.clone(),
        started: started.as_secs(),
        seconds: summary.seconds,
        host: surroundings::host(),
        git,
        interrupted: summary.interrupted,
        instances,
    }
}

fn absolute(path: &std::path::Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(Error::io(format!("cannot use the folder `{}`", path.display())))
}

/// This very program, even if its file is replaced while it runs.
fn launcher(logs: &Logs) -> Result<Launcher> {
    let link = PathBuf::from("/proc/self/exe");
    let program = if link.exists() {
        link
    } else {
        std::env::current_exe().map_err(Error::io("cannot find this program's own file"))?
    };
    let mut arguments: Vec<String> = vec!["exec".into()];
    if logs.options.log_format == LogFormat::Json {
        arguments.extend(["--log-format".into(), "json".into()]);
    }
    arguments.extend((0..logs.options.verbose).map(|_| "-v".into()));
    Ok(Launcher { program, arguments })
}

/// The last words, for people.
fn tell(summary: &Summary, instances: &[Outcome], reports: Option<&std::path::Path>) {
    let Summary { total, ran, cached, fetched, failed, skipped, unfinished, seconds, .. } = summary;
    for Outcome { instance, message, .. } in instances.iter().filter(|o| o.state == End::Failed) {
        insist(&format!("\nfailed: {instance}\n{message}"));
    }
    let trouble = if *failed > 0 { format!(", {failed} failed, {skipped} skipped") } else { String::new() };
    let left = if *unfinished > 0 { format!(", {unfinished} unfinished") } else { String::new() };
    let fetched = if *fetched > 0 { format!(" ({fetched} fetched)") } else { String::new() };
    say(&format!("{total} instances: {ran} ran, {cached} cached{fetched}{trouble}{left}, in {seconds:.1} s"));
    if summary.interrupted {
        say("interrupted: what was finished is kept\nhint: run the same command again to go on from there");
    } else if *failed > 0 {
        say("hint: mend the cause and run the same command again: what is finished stays finished");
    } else if let Some(reports) = reports {
        say(&format!("report: {}", reports.display()));
    }
}
