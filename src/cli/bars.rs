//! What a run looks like: a live view on a terminal, plain lines elsewhere.
//!
//! ```text
//! sft[1,dialogue]          [====>   ]  52%  9s left  41210 tokens/s  loss 1.342  lr 0.0016
//! ppo[binary,1,safety]     [=>      ]  12% 41s left  3391 tokens/s  kl 0.031  reward 0.45
//! 14/88 [===>    ] 00:00:31  0 failed, 2 running, 72 queued, 3 cached
//! ```

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use stages::contract::Progress;

use super::{args::LogFormat, logging::Logs};
use crate::run::{Event, Overall, Summary, Watcher};

/// Without a terminal, a running instance says how far it is no more often than this, and nor does the run.
const PAUSE: Duration = Duration::from_secs(10);

/// Shows a run. Starts and ends are logged; progress is drawn, or logged now and then.
pub struct Show {
    bars: MultiProgress,
    overall: ProgressBar,
    running: RefCell<BTreeMap<String, Row>>,
    told: Cell<Instant>,
    /// What was told last.
    last: Cell<Overall>,
}

/// A running instance, or one that is fetched.
struct Row {
    bar: ProgressBar,
    /// Columns for the name.
    name: u16,
    told: Instant,
}

impl Show {
    pub fn new(logs: &Logs, total: usize) -> Self {
        let bars = logs.bars.clone();
        if logs.options.quiet || logs.options.log_format == LogFormat::Json {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        let overall = bars.add(ProgressBar::new(total as u64));
        overall.set_style(style("{pos}/{len} [{bar:8}] {elapsed_precise}  {wide_msg}"));
        // Drawn by a thread of its own; not where nobody sees it.
        if !bars.is_hidden() {
            overall.enable_steady_tick(Duration::from_millis(250));
        }
        Self {
            bars,
            overall,
            running: RefCell::default(),
            told: Cell::new(Instant::now()),
            last: Cell::default(),
        }
    }

    pub fn end(&self) {
        self.running.borrow_mut().values().for_each(|row| row.bar.finish_and_clear());
        self.overall.finish_and_clear();
    }

    fn begin(&self, instance: &str) {
        // Of unknown length until it says how far it is: a bar of none would be full.
        let bar = self.bars.insert_before(&self.overall, ProgressBar::no_length());
        // Of 80 columns, 24 for the name and 29 for figures; on a wider terminal half of the rest goes to each.
        let name = (24 + console::Term::stderr().size().1.saturating_sub(80) / 2).min(60);
        bar.set_style(style(&format!("{{prefix:{name}!}} [        ]   {{elapsed:>4}}  {{wide_msg}}")));
        bar.set_prefix(brief(instance));
        self.running.borrow_mut().insert(instance.into(), Row { bar, name, told: Instant::now() });
    }

    fn progress(&self, instance: &str, progress: &Progress) {
        if !self.running.borrow().contains_key(instance) {
            self.begin(instance);
        }
        let mut running = self.running.borrow_mut();
        let Some(Row { bar, name, told }) = running.get_mut(instance) else { return };
        if bar.length().is_none() {
            bar.set_style(style(&format!(
                "{{prefix:{name}!}} [{{bar:8}}] {{percent:>3}}% {{eta:>3}} left  {{wide_msg}}"
            )));
        }
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        let figures = figures(progress, bar.per_sec());
        bar.set_message(figures.clone());
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

/// An instance's name for a narrow place: `ppo[binary,1,safety]` of `ppo[objective=binary,seed=1,task=safety]`.
fn brief(instance: &str) -> String {
    let Some((stage, point)) = instance.split_once('[') else { return instance.into() };
    let value = |part: &str| part.split_once('=').map_or(part, |(_, value)| value).to_string();
    format!("{stage}[{}", point.split(',').map(value).collect::<Vec<_>>().join(","))
}

/// `41210 tokens/s  loss 1.342`: first how fast it is, in the stage's own words or in units of its progress.
fn figures(progress: &Progress, per_second: f64) -> String {
    let number = |x: f64| match x.abs() {
        size if size >= 1000.0 => format!("{x:.0}"),
        size if size >= 1.0 => format!("{x:.3}"),
        _ => format!("{x:.4}"),
    };
    let (speeds, others): (Vec<_>, Vec<_>) =
        progress.figures.iter().partition(|(name, _)| name.ends_with("/s"));
    let mut parts: Vec<String> = speeds.iter().map(|(name, value)| format!("{value:.0} {name}")).collect();
    if parts.is_empty() {
        let digits = if per_second < 10.0 { 1 } else { 0 };
        parts.push(format!("{per_second:.digits$} {}/s", progress.unit));
    }
    parts.extend(others.iter().map(|(name, value)| format!("{name} {}", number(**value))));
    parts.join("  ")
}

fn counts(overall: Overall) -> String {
    let Overall { summary, running, fetching, sending } = overall;
    let Summary { total, cached, failed, skipped, .. } = summary;
    let queued = total.saturating_sub(summary.done() + running + fetching);
    // What is wrong first: a narrow terminal cuts the end off.
    let mut parts = vec![format!("{failed} failed")];
    parts.extend((skipped > 0).then(|| format!("{skipped} skipped")));
    parts.extend([format!("{running} running"), format!("{queued} queued"), format!("{cached} cached")]);
    parts.extend((fetching > 0).then(|| format!("{fetching} fetched now")));
    parts.extend((sending > 0).then(|| format!("{sending} to send")));
    parts.join(", ")
}

impl Watcher for Show {
    fn event(&self, instance: &str, event: Event<'_>) {
        match event {
            Event::Started { threads } => {
                let threads = if threads == 1 { "1 thread".into() } else { format!("{threads} threads") };
                tracing::info!(instance, "started on {threads}");
                self.begin(instance);
            }
            Event::Progress(progress) => return self.progress(instance, progress),
            Event::Cached => tracing::debug!(instance, "cached"),
            Event::NotFetched => tracing::debug!(instance, "could not be taken from the shared cache"),
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
            Event::Skipped => tracing::info!(instance, "skipped: something that it needs has failed"),
        }
        if !matches!(event, Event::Started { .. })
            && let Some(row) = self.running.borrow_mut().remove(instance)
        {
            row.bar.finish_and_clear();
            self.bars.remove(&row.bar);
        }
    }

    fn overall(&self, overall: Overall) {
        if !self.overall.is_hidden() {
            // What has not said how far it is shows how long it runs.
            self.running
                .borrow()
                .values()
                .filter(|row| row.bar.length().is_none())
                .for_each(|row| row.bar.tick());
        }
        if self.last.replace(overall) == overall {
            return;
        }
        self.overall.set_position(overall.summary.done() as u64);
        self.overall.set_message(counts(overall));
        if self.overall.is_hidden() && self.told.get().elapsed() >= PAUSE {
            self.told.set(Instant::now());
            let Summary { total, .. } = overall.summary;
            tracing::info!("{}/{total} instances: {}", overall.summary.done(), counts(overall));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_figures_are_short() {
        assert_eq!(brief("ppo[objective=binary,seed=1,task=safety]"), "ppo[binary,1,safety]");
        assert_eq!(brief("report"), "report");
        let all = [("loss", 1.23456), ("lr", 0.002), ("tokens/s", 41210.4), ("reward", -2000.0)];
        let figures_of = all.map(|(name, value)| (name.to_string(), value)).into();
        let progress = Progress { done: 1, total: 2, unit: "steps".into(), figures: figures_of };
        assert_eq!(figures(&progress, 3.0), "41210 tokens/s  loss 1.235  lr 0.0020  reward -2000");
        assert_eq!(figures(&Progress { figures: [].into(), ..progress }, 3.04), "3.0 steps/s");
    }

    #[test]
    fn every_instance_is_counted_once() {
        let summary = Summary { total: 10, ran: 1, cached: 2, failed: 1, ..Summary::default() };
        let mut overall = Overall { summary, running: 2, ..Overall::default() };
        assert_eq!(counts(overall), "1 failed, 2 running, 4 queued, 2 cached");
        (overall.summary.skipped, overall.fetching, overall.sending) = (1, 1, 3);
        assert_eq!(
            counts(overall),
            "1 failed, 1 skipped, 2 running, 2 queued, 2 cached, 1 fetched now, 3 to send"
        );
    }
}
