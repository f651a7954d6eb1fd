//! `pipeline run`.

use std::{path::PathBuf, process::ExitCode};

use serde::Serialize;
use stages::contract::Registry;

use super::{
    FAILED, INTERRUPTED,
    args::{LogFormat, RunOptions},
    bars::Show,
    interrupt,
    logging::Logs,
    output::{self, say},
    setup::Setup,
};
use crate::{
    error::{Error, Result},
    run::{self, Launcher, Options, Summary},
    store::Store,
};

/// What `--json` ends with.
#[derive(Serialize)]
struct Outcome<'a> {
    experiment: &'a str,
    #[serde(flatten)]
    summary: &'a Summary,
    reports: PathBuf,
}

pub fn run(options: &RunOptions, registry: &Registry, logs: &Logs) -> Result<ExitCode> {
    let setup = Setup::read(&options.experiment, registry)?;
    let interrupts = interrupt::listen()?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.map_or(processors, usize::from);
    // Manifests and logs name files in the cache: absolute, so that they mean the same wherever they are read.
    let store = Store::new(absolute(&options.cache.folder)?);
    let reports = options.reports.join(&setup.experiment.name);
    let how = Options {
        jobs: options.jobs.map_or(threads, usize::from),
        threads,
        launcher: launcher(logs)?,
        reports: reports.clone(),
    };
    let show = Show::new(logs, setup.chosen.len());
    let summary = run::run(&setup.graph, &setup.chosen, &store, &how, &show, &interrupts);
    show.end();
    let summary = summary?;
    if !logs.options.quiet {
        let publishes = |n: &petgraph::graph::NodeIndex| setup.graph[*n].publishes();
        tell(&summary, setup.chosen.iter().any(publishes).then_some(&reports));
    }
    if options.json {
        let experiment = &setup.experiment.name;
        output::json_line(&Outcome { experiment, summary: &summary, reports })?;
    }
    Ok(match () {
        () if summary.interrupted => ExitCode::from(INTERRUPTED),
        () if summary.failed > 0 => ExitCode::from(FAILED),
        () => ExitCode::SUCCESS,
    })
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
fn tell(summary: &Summary, reports: Option<&std::path::Path>) {
    let Summary { total, ran, cached, failed, skipped, seconds, .. } = summary;
    for (instance, message) in &summary.failures {
        say(&format!("\nfailed: {instance}\n{message}"));
    }
    let trouble = if *failed > 0 { format!(", {failed} failed, {skipped} skipped") } else { String::new() };
    say(&format!("{total} instances: {ran} ran, {cached} cached{trouble}, in {seconds:.1} s"));
    if summary.interrupted {
        say("interrupted: what was finished is kept\nhint: run the same command again to go on from there");
    } else if *failed > 0 {
        say("hint: mend the cause and run the same command again: what is finished stays finished");
    } else if let Some(reports) = reports {
        say(&format!("report: {}", reports.display()));
    }
}
