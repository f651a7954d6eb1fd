//! Decides what runs when. All state of a run is here; executors send messages.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

use petgraph::{
    Direction::{Incoming, Outgoing},
    graph::NodeIndex,
};
use rayon::prelude::*;
use stages::contract::{Artifact, Progress};

use super::{
    execute::{Handle, Job, Launcher, Success, execute},
    manifest::Manifest,
    outcome::{End, Outcome, Summary},
    publish::{can_publish, publish},
    remote::Shared,
    resolve::{Decision, Outputs, Resolver, contents, key_of},
    tokens::{Short, Tokens},
    watch::{Event, Watcher},
};
use crate::{
    error::Result,
    experiment::{Memory, Timeout},
    graph::{Graph, Instance, ordered},
    key::{Digest, Key},
    store::{Lock, Record, Store},
};

mod start;

/// How to run.
#[derive(Debug)]
pub struct Options {
    /// Instances that run side by side, at most.
    pub jobs: usize,
    /// What all of them have together.
    pub tokens: Tokens,
    /// How often an instance is tried again that has failed, where its stage does not say.
    pub retries: u16,
    pub launcher: Launcher,
    /// Results are looked for there before they are made, and sent there afterwards.
    pub remote: Option<Shared>,
    /// Where this experiment's published outputs go.
    pub reports: PathBuf,
}

/// Asks a run to stop: it ends its processes, and every finished instance stays finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt;

/// What executors say.
enum Message {
    Progress(NodeIndex, Progress),
    Ended(NodeIndex, std::result::Result<Success, String>),
}

/// While another run holds a key, how often to look again.
const POLL: Duration = Duration::from_millis(200);

/// Brings the `chosen` instances up to date. `chosen` holds all that its members need. What became of each, in their
/// order, producers first.
///
/// # Errors
/// If the cache or the reports folder cannot be written. What is finished by then is kept.
pub fn run(
    graph: &Graph,
    chosen: &BTreeSet<NodeIndex>,
    store: &Store,
    options: &Options,
    watcher: &dyn Watcher,
    interrupts: &Receiver<Interrupt>,
) -> Result<(Summary, Vec<Outcome>)> {
    let begun = Instant::now();
    let (sender, messages) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let mut d = Dispatcher {
            graph,
            store,
            options,
            watcher,
            resolver: Resolver::new(store),
            left: BTreeMap::new(),
            rank: BTreeMap::new(),
            ready: BTreeSet::new(),
            locked: vec![],
            announced: BTreeSet::new(),
            sharing: BTreeMap::new(),
            running: BTreeMap::new(),
            free: options.tokens.clone(),
            tries: BTreeMap::new(),
            outputs: Outputs::new(),
            outcomes: BTreeMap::new(),
            summary: Summary { total: chosen.len(), ..Summary::default() },
        };
        for &node in chosen {
            let producers = graph.neighbors_directed(node, Incoming).count();
            d.left.insert(node, producers);
        }
        let mut result = d.settle(chosen.iter().copied().filter(|n| d.left[n] == 0).collect());
        if result.is_ok() && !d.is_idle() {
            // Only now: what is all cached needs no order, and no look at what earlier results took.
            d.rank = ranks(graph, chosen, |instance| d.resolver.duration(instance));
            d.ready = d.ready.iter().map(|(_, std::cmp::Reverse(node))| d.urgency(*node)).collect();
            result = chosen.iter().try_for_each(|n| can_publish(&graph[*n], &options.reports));
        }
        while result.is_ok() {
            let start = |job: Job, node: NodeIndex, handle: Handle| {
                let sender = sender.clone();
                scope.spawn(move || executor(&job, node, options, store, &handle, &sender));
            };
            result = d.start_what_fits(&start);
            if result.is_err() || d.is_idle() {
                break;
            }
            if let Ok(Interrupt) = interrupts.try_recv() {
                d.summary.interrupted = true;
                break;
            }
            d.end_what_takes_too_long();
            result = match messages.recv_timeout(POLL) {
                Ok(message) => d.hear(message),
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => unreachable!("a sender is kept"),
            };
        }
        // The scope waits for the executors, and these for their processes.
        d.running.values().for_each(|running| running.handle.kill());
        d.summary.seconds = begun.elapsed().as_secs_f64();
        result.map(|()| {
            let outcomes = chosen.iter().map(|node| d.outcome(*node).clone()).collect();
            (d.summary, outcomes)
        })
    })
}

fn executor(
    job: &Job,
    node: NodeIndex,
    options: &Options,
    store: &Store,
    handle: &Handle,
    sender: &Sender<Message>,
) {
    let progress = |p| drop(sender.send(Message::Progress(node, p)));
    let remote = options.remote.as_ref();
    let result = match remote.and_then(|remote| remote.fetch(job, store, handle, &progress)) {
        Some(record) => Ok(Success { record, made: None }),
        None => execute(job, &options.launcher, store, handle, progress)
            .inspect(|_| remote.into_iter().for_each(|remote| remote.push(job, store, handle))),
    };
    // Nobody listens any more after an interrupt.
    let _ = sender.send(Message::Ended(node, result));
}

/// The critical path: how long it takes from the start of each instance to the end of all that wait for it, as far as earlier
/// runs tell. The longest first keeps all cores busy to the end.
fn ranks(
    graph: &Graph,
    chosen: &BTreeSet<NodeIndex>,
    duration: impl Fn(&Instance) -> Duration,
) -> BTreeMap<NodeIndex, Duration> {
    let mut ranks: BTreeMap<NodeIndex, Duration> = BTreeMap::new();
    for node in ordered(graph).into_iter().rev().filter(|n| chosen.contains(n)) {
        let below = graph.neighbors_directed(node, Outgoing).filter_map(|n| ranks.get(&n)).max();
        let rank = duration(&graph[node]) + below.copied().unwrap_or_default();
        ranks.insert(node, rank);
    }
    ranks
}

/// An instance's rank, and of equals the first in the graph.
type Urgency = (Duration, std::cmp::Reverse<NodeIndex>);

struct Running {
    key: Digest,
    handle: Handle,
    taken: Tokens,
    /// When it is ended.
    deadline: Option<Instant>,
    timed_out: bool,
}

/// The instances of one key, which runs once.
struct Sharing {
    first: NodeIndex,
    /// They wait for the first's result.
    others: Vec<NodeIndex>,
    failed: bool,
}

struct Dispatcher<'a> {
    graph: &'a Graph,
    store: &'a Store,
    options: &'a Options,
    watcher: &'a dyn Watcher,
    resolver: Resolver<'a>,
    /// Producers that an instance still waits for.
    left: BTreeMap<NodeIndex, usize>,
    /// See [`ranks`].
    rank: BTreeMap<NodeIndex, Duration>,
    /// Must run and can, the most urgent last.
    ready: BTreeSet<Urgency>,
    /// Another run holds the key.
    locked: Vec<NodeIndex>,
    /// Of these it was said that they wait.
    announced: BTreeSet<NodeIndex>,
    /// By the key of what is ready, locked, running or has failed.
    sharing: BTreeMap<Digest, Sharing>,
    running: BTreeMap<NodeIndex, Running>,
    free: Tokens,
    /// How often an instance has failed and was tried again.
    tries: BTreeMap<NodeIndex, u16>,
    outputs: Outputs,
    /// Of what was found, failed or is to run.
    outcomes: BTreeMap<NodeIndex, Outcome>,
    summary: Summary,
}

impl Dispatcher<'_> {
    fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.locked.is_empty() && self.running.is_empty()
    }

    fn urgency(&self, node: NodeIndex) -> Urgency {
        (self.rank.get(&node).copied().unwrap_or_default(), std::cmp::Reverse(node))
    }

    fn tell(&self, node: NodeIndex, event: Event<'_>) {
        self.watcher.event(&self.graph[node].name, event);
        self.watcher.overall(self.summary.done(), self.summary.total);
    }

    /// What is known of an instance so far.
    fn outcome(&mut self, node: NodeIndex) -> &mut Outcome {
        self.outcomes.entry(node).or_insert_with(|| Outcome {
            instance: self.graph[node].name.clone(),
            state: End::Unfinished,
            key: None,
            seconds: None,
            reason: String::new(),
            message: String::new(),
        })
    }

    /// It has come to its end.
    fn ends(&mut self, node: NodeIndex, end: End) {
        self.summary.count(end);
        self.outcome(node).state = end;
    }

    /// Looks instances up whose producers have finished, and then all that this sets free. In their order: the first of
    /// several with one key runs, as a plan says.
    fn settle(&mut self, waiting: Vec<NodeIndex>) -> Result<()> {
        let mut waiting = BTreeSet::from_iter(waiting);
        while !waiting.is_empty() {
            // Every byte of what is found is read: on all processors.
            let (graph, resolver, outputs) = (self.graph, &self.resolver, &self.outputs);
            let decide = |node: NodeIndex| {
                let key = key_of(graph, node, outputs);
                (node, key.digest(), resolver.decide(&graph[node], &key))
            };
            let wave = Vec::from_iter(std::mem::take(&mut waiting));
            let decided: Vec<_> = wave.into_par_iter().map(decide).collect();
            for (node, digest, decision) in decided {
                self.outcome(node).key = Some(digest.clone());
                match decision {
                    Decision::Hit(record) => {
                        self.ends(node, End::Cached);
                        self.tell(node, Event::Cached);
                        waiting.extend(self.finish(node, contents(&record))?);
                    }
                    Decision::Miss(why) => {
                        let reason = why.line();
                        self.outcome(node).reason.clone_from(&reason);
                        self.must_run(node, digest, &reason);
                    }
                }
            }
        }
        Ok(())
    }

    /// The first instance of a key runs; others wait for its result, and take no place from what can run.
    fn must_run(&mut self, node: NodeIndex, key: Digest, reason: &str) {
        let instance = &self.graph[node].name;
        let first = match self.sharing.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(Sharing { first: node, others: vec![], failed: false });
                tracing::debug!(instance, reason, "must run");
                self.ready.insert(self.urgency(node));
                return;
            }
            Entry::Occupied(mut entry) => {
                let sharing = entry.get_mut();
                if !sharing.failed {
                    sharing.others.push(node);
                }
                (&self.graph[sharing.first].name, sharing.failed)
            }
        };
        match first {
            (first, true) => self.fail_alike(node, first),
            (first, false) => tracing::debug!(instance, first, "has the same key: waits for its result"),
        }
    }

    /// Notes an instance's outputs; gives the instances that wait for nothing any more.
    fn finish(&mut self, node: NodeIndex, outputs: BTreeMap<String, Digest>) -> Result<Vec<NodeIndex>> {
        publish(&self.graph[node], &outputs, self.store, &self.options.reports)?;
        self.outputs.insert(node, outputs);
        let mut free = vec![];
        for consumer in self.graph.neighbors_directed(node, Outgoing) {
            if let Some(left) = self.left.get_mut(&consumer) {
                *left -= 1;
                if *left == 0 {
                    free.push(consumer);
                }
            }
        }
        Ok(free)
    }

    fn hear(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Progress(node, progress) => self.tell(node, Event::Progress(&progress)),
            Message::Ended(node, result) => {
                let Some(Running { key, taken, timed_out, .. }) = self.running.remove(&node) else {
                    return Ok(());
                };
                self.free.give_back(taken);
                match result {
                    Ok(Success { record, made }) => {
                        match made {
                            Some(elapsed) => {
                                self.ends(node, End::Ran);
                                self.outcome(node).seconds = Some(elapsed.as_secs_f64());
                                self.tell(node, Event::Finished { elapsed });
                            }
                            None => {
                                self.ends(node, End::Cached);
                                self.summary.fetched += 1;
                                self.tell(node, Event::Fetched);
                            }
                        }
                        self.succeed(node, &key, &record)?;
                    }
                    Err(message) => {
                        self.try_again(node, if timed_out { self.too_long(node) } else { message })
                    }
                }
            }
        }
        Ok(())
    }

    fn too_long(&self, node: NodeIndex) -> String {
        let most = self.graph[node].needs.timeout.map_or(Duration::ZERO, |Timeout(most)| most);
        let most = humantime::format_duration(most);
        format!(
            "it was ended after its timeout of {most}\nhint: run again to go on from its last checkpoint, or raise `needs.timeout`"
        )
    }

    /// What has failed is tried again as often as it may be; it goes on from its last checkpoint.
    fn try_again(&mut self, node: NodeIndex, message: String) {
        let most = self.graph[node].needs.retries.unwrap_or(self.options.retries);
        let tries = self.tries.entry(node).or_default();
        if *tries >= most {
            return self.give_up(node, message);
        }
        *tries += 1;
        self.tell(node, Event::Retried { message: &message });
        self.ready.insert(self.urgency(node));
    }

    /// It fails, and with it those that share its key.
    fn give_up(&mut self, node: NodeIndex, message: String) {
        let key = key_of(self.graph, node, &self.outputs).digest();
        self.fail(node, message);
        let others = self.sharing.get_mut(&key).map(|sharing| {
            sharing.failed = true;
            std::mem::take(&mut sharing.others)
        });
        let first = &self.graph[node].name;
        others.into_iter().flatten().for_each(|other| self.fail_alike(other, first));
    }

    /// An instance that was to run has its result, and those that share its key find it in the store.
    fn succeed(&mut self, node: NodeIndex, key: &Digest, record: &Record) -> Result<()> {
        let mut free = self.finish(node, contents(record))?;
        free.extend(self.sharing.remove(key).into_iter().flat_map(|sharing| sharing.others));
        self.settle(free)
    }

    /// What failed for one instance of a key is not tried again for another.
    fn fail_alike(&mut self, node: NodeIndex, first: &str) {
        self.fail(node, format!("it has the same key as `{first}`, which has failed"));
    }

    /// A failure takes down what depends on it, and nothing else.
    fn fail(&mut self, node: NodeIndex, message: String) {
        self.ends(node, End::Failed);
        self.tell(node, Event::Failed { message: &message });
        self.outcome(node).message = message;
        let mut waiting = vec![node];
        while let Some(node) = waiting.pop() {
            for consumer in self.graph.neighbors_directed(node, Outgoing) {
                if self.left.remove(&consumer).is_some() {
                    self.ends(consumer, End::Skipped);
                    self.tell(consumer, Event::Skipped);
                    waiting.push(consumer);
                }
            }
        }
    }
}
