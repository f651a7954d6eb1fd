//! What a run looks like: bars on a terminal, plain lines elsewhere.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use stages::contract::Progress;

use super::{args::LogFormat, logging::Logs};
use crate::run::{Event, Watcher};

/// Without a terminal, a running instance says how far it is no more often than this.
const PAUSE: Duration = Duration::from_secs(10);

/// Shows a run. Starts and ends are logged; progress is drawn, or logged now and then.
pub struct Show {
    bars: MultiProgress,
    overall: ProgressBar,
    running: RefCell<BTreeMap<String, Running>>,
}

struct Running {
    bar: ProgressBar,
    told: Instant,
}

impl Show {
    pub fn new(logs: &Logs, total: usize) -> Self {
        let bars = logs.bars.clone();
        if logs.options.quiet || logs.options.log_format == LogFormat::Json {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        let overall = bars.add(ProgressBar::new(total as u64));
        overall.set_style(style("{bar:24} {pos}/{len} instances  {elapsed} {msg}"));
        overall.enable_steady_tick(Duration::from_millis(250));
        Self { bars, overall, running: RefCell::default() }
    }

    pub fn end(&self) {
        self.running.borrow_mut().values().for_each(|running| running.bar.finish_and_clear());
        self.overall.finish_and_clear();
    }

    fn progress(&self, instance: &str, progress: &Progress) {
        let mut running = self.running.borrow_mut();
        let Some(Running { bar, told }) = running.get_mut(instance) else { return };
        let figures: Vec<String> = progress.figures.iter().map(|(k, v)| format!("{k} {v:.4}")).collect();
        let figures = figures.join("  ");
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        bar.set_message(format!("{}  {figures}", progress.unit));
        if bar.is_hidden() && told.elapsed() >= PAUSE {
            *told = Instant::now();
            let Progress { done, total, unit, .. } = progress;
            let left = bar.eta().as_secs();
            tracing::info!(instance, "{done}/{total} {unit}  {figures}  {left} s left");
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is sound").progress_chars("=> ")
}

impl Watcher for Show {
    fn event(&self, instance: &str, event: Event<'_>) {
        match event {
            Event::Started { threads } => {
                tracing::info!(
                    instance,
                    "started on {threads} {}",
                    if threads == 1 { "thread" } else { "threads" }
                );
                let bar = self.bars.insert_before(&self.overall, ProgressBar::new(0));
                bar.set_style(style("{bar:24} {prefix}  {pos}/{len} {msg}  {per_sec}, {eta} left"));
                bar.set_prefix(instance.to_string());
                self.running.borrow_mut().insert(instance.into(), Running { bar, told: Instant::now() });
            }
            Event::Progress(progress) => return self.progress(instance, progress),
            Event::Cached => tracing::debug!(instance, "cached"),
            Event::Fetched => tracing::info!(instance, "taken from the shared cache"),
            Event::Finished { elapsed } => tracing::info!(instance, "done in {:.1} s", elapsed.as_secs_f64()),
            Event::Waits => tracing::info!(instance, "another run works on it: waiting for its result"),
            Event::Retried { message } => {
                tracing::warn!(
                    instance,
                    "failed, and is tried again: {}",
                    message.lines().next().unwrap_or_default()
                );
            }
            Event::Failed { message } => {
                tracing::error!(instance, "failed: {}", message.lines().next().unwrap_or_default());
            }
            Event::Skipped => tracing::warn!(instance, "skipped: something that it needs has failed"),
        }
        if matches!(
            event,
            Event::Fetched | Event::Finished { .. } | Event::Retried { .. } | Event::Failed { .. }
        ) && let Some(running) = self.running.borrow_mut().remove(instance)
        {
            running.bar.finish_and_clear();
            self.bars.remove(&running.bar);
        }
    }

    fn overall(&self, done: usize, _: usize) {
        self.overall.set_position(done as u64);
    }
}
