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
use serde::Serialize;
use stages::contract::{Artifact, Progress};

use super::{
    execute::{Handle, Job, Launcher, Success, execute},
    manifest::Manifest,
    publish::{can_publish, publish},
    resolve::{Decision, Outputs, Resolver, contents, key_of},
    watch::{Event, Watcher},
};
use crate::{
    error::Result,
    graph::{Graph, ordered},
    key::{Digest, Key},
    store::{Lock, Record, Store},
};

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Instances that run side by side, at most.
    pub jobs: usize,
    /// Threads that all of them have together.
    pub threads: usize,
    pub launcher: Launcher,
    /// Where this experiment's published outputs go.
    pub reports: PathBuf,
}

/// Asks a run to stop: it ends its processes, and every finished instance stays finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt;

/// What a run did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    pub total: usize,
    pub ran: usize,
    pub cached: usize,
    pub failed: usize,
    /// Not run, for something that they need has failed.
    pub skipped: usize,
    pub seconds: f64,
    /// Instance and message of each failure.
    #[serde(skip)]
    pub failures: Vec<(String, String)>,
    pub interrupted: bool,
}

/// What executors say.
enum Message {
    Progress(NodeIndex, Progress),
    Ended(NodeIndex, std::result::Result<Success, String>),
}

/// While another run holds a key, how often to look again.
const POLL: Duration = Duration::from_millis(200);

/// Brings the `chosen` instances up to date. `chosen` holds all that its members need.
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
) -> Result<Summary> {
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
            rank: ranks(graph, chosen),
            ready: BTreeSet::new(),
            locked: vec![],
            announced: BTreeSet::new(),
            sharing: BTreeMap::new(),
            running: BTreeMap::new(),
            outputs: Outputs::new(),
            summary: Summary { total: chosen.len(), ..Summary::default() },
        };
        for &node in chosen {
            let producers = graph.neighbors_directed(node, Incoming).count();
            d.left.insert(node, producers);
        }
        let mut result = d.settle(chosen.iter().copied().filter(|n| d.left[n] == 0).collect());
        if result.is_ok() && !d.is_idle() {
            result = chosen.iter().try_for_each(|n| can_publish(&graph[*n], &options.reports));
        }
        while result.is_ok() {
            let start = |job: Job, node: NodeIndex, handle: Handle| {
                let (sender, launcher) = (sender.clone(), &options.launcher);
                scope.spawn(move || executor(&job, node, launcher, store, &handle, &sender));
            };
            result = d.start_what_fits(&start);
            if result.is_err() || d.is_idle() {
                break;
            }
            if let Ok(Interrupt) = interrupts.try_recv() {
                d.summary.interrupted = true;
                break;
            }
            result = match messages.recv_timeout(POLL) {
                Ok(message) => d.hear(message),
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => unreachable!("a sender is kept"),
            };
        }
        // The scope waits for the executors, and these for their processes.
        d.running.values().for_each(|running| running.handle.kill());
        d.summary.seconds = begun.elapsed().as_secs_f64();
        result.map(|()| d.summary)
    })
}

fn executor(
    job: &Job,
    node: NodeIndex,
    launcher: &Launcher,
    store: &Store,
    handle: &Handle,
    sender: &Sender<Message>,
) {
    let progress = |p| drop(sender.send(Message::Progress(node, p)));
    let result = execute(job, launcher, store, handle, progress);
    // Nobody listens any more after an interrupt.
    let _ = sender.send(Message::Ended(node, result));
}

/// How many instances in a row wait for each: the longest chain first keeps all cores busy to the end.
fn ranks(graph: &Graph, chosen: &BTreeSet<NodeIndex>) -> BTreeMap<NodeIndex, usize> {
    let mut ranks: BTreeMap<NodeIndex, usize> = BTreeMap::new();
    for node in ordered(graph).into_iter().rev().filter(|n| chosen.contains(n)) {
        let below = graph.neighbors_directed(node, Outgoing).filter_map(|n| ranks.get(&n));
        let rank = below.max().map_or(0, |r| r + 1);
        ranks.insert(node, rank);
    }
    ranks
}

struct Running {
    key: Digest,
    handle: Handle,
    threads: usize,
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
    rank: BTreeMap<NodeIndex, usize>,
    /// Must run and can, the most urgent last.
    ready: BTreeSet<(usize, std::cmp::Reverse<NodeIndex>)>,
    /// Another run holds the key.
    locked: Vec<NodeIndex>,
    /// Of these it was said that they wait.
    announced: BTreeSet<NodeIndex>,
    /// By the key of what is ready, locked, running or has failed.
    sharing: BTreeMap<Digest, Sharing>,
    running: BTreeMap<NodeIndex, Running>,
    outputs: Outputs,
    summary: Summary,
}

impl Dispatcher<'_> {
    fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.locked.is_empty() && self.running.is_empty()
    }

    fn tell(&self, node: NodeIndex, event: Event<'_>) {
        self.watcher.event(&self.graph[node].name, event);
        let s = &self.summary;
        self.watcher.overall(s.ran + s.cached + s.failed + s.skipped, s.total);
    }

    /// Looks instances up whose producers have finished, and then all that this sets free. In their order: the first of
    /// several with one key runs, as a plan says.
    fn settle(&mut self, waiting: Vec<NodeIndex>) -> Result<()> {
        let mut waiting = BTreeSet::from_iter(waiting);
        while let Some(node) = waiting.pop_first() {
            let key = key_of(self.graph, node, &self.outputs);
            match self.resolver.decide(&self.graph[node], &key) {
                Decision::Hit(record) => {
                    self.summary.cached += 1;
                    self.tell(node, Event::Cached);
                    waiting.extend(self.finish(node, contents(&record))?);
                }
                Decision::Miss { reason } => self.must_run(node, key.digest(), &reason),
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
                self.ready.insert((self.rank[&node], std::cmp::Reverse(node)));
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

    fn start_what_fits(&mut self, start: &impl Fn(Job, NodeIndex, Handle)) -> Result<()> {
        for node in std::mem::take(&mut self.locked) {
            self.ready.insert((self.rank[&node], std::cmp::Reverse(node)));
        }
        loop {
            let in_use: usize = self.running.values().map(|r| r.threads).sum();
            let free_threads = self.options.threads.saturating_sub(in_use);
            let free_slots = self.options.jobs.saturating_sub(self.running.len()).min(free_threads);
            if free_slots == 0 {
                return Ok(());
            }
            let candidates = self.ready.len().min(free_slots);
            let Some((_, std::cmp::Reverse(node))) = self.ready.pop_last() else { return Ok(()) };
            let key = key_of(self.graph, node, &self.outputs);
            let Some(lock) = self.store.try_lock(&key.digest())? else {
                if self.announced.insert(node) {
                    self.tell(node, Event::Waits);
                }
                self.locked.push(node);
                continue;
            };
            // Another run may have finished it since.
            if let Some(record) = self.resolver.hit(&self.graph[node], &key) {
                self.summary.cached += 1;
                self.tell(node, Event::Cached);
                self.succeed(node, &key.digest(), &record)?;
                continue;
            }
            let threads = free_threads / candidates;
            let handle = Handle::default();
            self.running.insert(node, Running { key: key.digest(), handle: handle.clone(), threads });
            let job = self.job(node, key, threads, lock);
            self.tell(node, Event::Started { threads });
            start(job, node, handle);
        }
    }

    fn job(&self, node: NodeIndex, key: Key, threads: usize, lock: Lock) -> Job {
        let instance = &self.graph[node];
        let work = self.store.work(&key.digest());
        let artifact = |item: &crate::graph::InputItem| Artifact {
            path: self.store.object(&self.outputs[&item.producer][item.output]),
            coordinates: item.coordinates.clone(),
        };
        let inputs = instance
            .inputs
            .iter()
            .map(|input| (input.name.to_string(), input.items.iter().map(artifact).collect()))
            .collect();
        let manifest = Manifest {
            instance: instance.name.clone(),
            kind: key.kind.clone(),
            code: key.code.clone(),
            params: key.params.clone(),
            seed: key.seed,
            inputs,
            outputs: work.join("out"),
            checkpoints: work.join("checkpoints"),
            lock: work.join("lock"),
            threads,
        };
        Job { instance: instance.name.clone(), key, manifest, outputs: instance.kind.outputs, _lock: lock }
    }

    fn hear(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Progress(node, progress) => self.tell(node, Event::Progress(&progress)),
            Message::Ended(node, result) => {
                let Some(Running { key, .. }) = self.running.remove(&node) else { return Ok(()) };
                match result {
                    Ok(success) => {
                        self.summary.ran += 1;
                        self.tell(node, Event::Finished { elapsed: success.elapsed });
                        self.succeed(node, &key, &success.record)?;
                    }
                    Err(message) => {
                        self.fail(node, message);
                        let others = self.sharing.get_mut(&key).map(|sharing| {
                            sharing.failed = true;
                            std::mem::take(&mut sharing.others)
                        });
                        let first = &self.graph[node].name;
                        others.into_iter().flatten().for_each(|other| self.fail_alike(other, first));
                    }
                }
            }
        }
        Ok(())
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
        self.summary.failed += 1;
        self.tell(node, Event::Failed { message: &message });
        self.summary.failures.push((self.graph[node].name.clone(), message));
        let mut waiting = vec![node];
        while let Some(node) = waiting.pop() {
            for consumer in self.graph.neighbors_directed(node, Outgoing) {
                if self.left.remove(&consumer).is_some() {
                    self.summary.skipped += 1;
                    self.tell(consumer, Event::Skipped);
                    waiting.push(consumer);
                }
            }
        }
    }
}
