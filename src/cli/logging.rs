//! Logs to standard error, which they share with the progress bars.

use std::io::{self, Write};

use indicatif::MultiProgress;
use tracing::{Event, Level, Subscriber, field::Visit, level_filters::LevelFilter};
use tracing_subscriber::{
    filter::Targets,
    fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer},
    prelude::*,
    registry::LookupSpan,
};

use super::{
    args::{LogFormat, LogOptions},
    output::{INSISTED, SAID},
};

/// What the command line shows beside its output.
pub struct Logs {
    pub options: LogOptions,
    pub bars: MultiProgress,
}

/// Starts logging. The log of a stage's process is a file: it has times.
pub fn start(options: LogOptions, of_stage: bool) -> Logs {
    let bars = MultiProgress::new();
    let level = match (options.quiet, options.verbose) {
        (true, _) => LevelFilter::WARN,
        (_, 0) => LevelFilter::INFO,
        (_, 1) => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // What libraries say of their work is for those who look for a fault.
    let others = if options.verbose > 1 { level } else { LevelFilter::WARN };
    let ours = ["pipeline", "stages"].map(|name| (name, level));
    let said = [(SAID, level), (INSISTED, LevelFilter::INFO)];
    let wanted = Targets::new().with_default(others).with_targets(ours).with_targets(said);
    let layer = tracing_subscriber::fmt::layer().with_writer(Beside(bars.clone())).with_ansi(false);
    let layer = match (options.log_format, of_stage) {
        (LogFormat::Json, _) => layer.json().flatten_event(true).boxed(),
        (LogFormat::Human, true) => layer.with_target(false).boxed(),
        (LogFormat::Human, false) => layer.event_format(Lines).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(wanted)).init();
    Logs { options, bars }
}

/// Writes whole lines above the progress bars.
#[derive(Clone)]
struct Beside(MultiProgress);

impl<'a> MakeWriter<'a> for Beside {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Beside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Where nobody can read a log, nobody misses it.
        let _ = self.0.suspend(|| io::stderr().write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `ppo[seed=1]  done in 3.2 s`: what an event is about, then what it says. Only warnings and errors name their
/// level.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            _ => "",
        };
        writeln!(out, "{level}{}{}{}", fields.instance, fields.message, fields.others)
    }
}

#[derive(Default)]
struct Fields {
    instance: String,
    message: String,
    others: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        match field.name() {
            "instance" => self.instance = format!("{value}  "),
            "message" => self.message = value.into(),
            name => self.others.push_str(&format!("  {name}={value}")),
        }
    }

    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
