//! Decides what runs when. All state of a run is here; executors send messages.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry},
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use petgraph::{Direction::Outgoing, graph::NodeIndex};
use stages::contract::{Artifact, Progress};

use super::{
    execute::{Death, Failure, Handle, Job, Launcher, Success, execute},
    manifest::Manifest,
    outcome::{End, Outcome, Summary},
    publish::{can_publish, publish},
    remote::Shared,
    resolve::{Decision, Outputs, Resolver, Waiting, key_of},
    tokens::{Short, Tokens},
    watch::{Event, Overall, Watcher},
};
use crate::{
    error::Result,
    experiment::{Memory, Timeout},
    graph::{Graph, Instance},
    key::{Digest, Key},
    store::{Lock, Store},
};

mod end;
mod start;
mod transfer;

/// How to run.
#[derive(Debug)]
pub struct Options {
    /// Instances that run side by side, at most.
    pub jobs: usize,
    /// What all of them have together.
    pub tokens: Tokens,
    /// How often an instance is tried again that has failed, where its stage does not say.
    pub retries: u16,
    /// The first failure ends the run.
    pub fail_fast: bool,
    pub launcher: Launcher,
    /// Results are looked for there before they are made, and sent there afterwards.
    pub remote: Option<Shared>,
    /// Where this experiment's published outputs go.
    pub reports: PathBuf,
}

/// Asks a run to stop: it ends its processes, and every finished instance stays finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt;

/// What an executor does, in a thread of its own.
enum Task {
    Run(Box<Job>, Handle),
    /// Asks the shared cache whether it has the result of a key.
    Ask(Digest, Handle),
    /// Fetches the result of a key from the shared cache. Holds the key.
    Fetch(Digest, Handle, Lock),
    /// Sends it there.
    Send(Digest, Handle),
}

impl Task {
    /// What is heard of it where the system has no thread for it.
    fn lost(&self, node: NodeIndex) -> Message {
        let message =
            "the system has no thread for it\nhint: see how many it allows (`ulimit -u`), and run again";
        match self {
            Self::Run(..) => Message::Ended(node, Err(message.to_string().into())),
            Self::Ask(..) => Message::Asked(node, false),
            Self::Fetch(..) => Message::Fetched(node, None),
            Self::Send(..) => Message::Sent(node),
        }
    }
}

/// What executors say.
enum Message {
    Progress(NodeIndex, Progress),
    Ended(NodeIndex, std::result::Result<Success, Failure>),
    /// Whether the shared cache says that it has it.
    Asked(NodeIndex, bool),
    /// With the contents of the outputs, if the shared cache had them.
    Fetched(NodeIndex, Option<BTreeMap<String, Digest>>),
    Sent(NodeIndex),
}

/// While another run holds a key, how often to look again.
const POLL: Duration = Duration::from_millis(200);

/// Brings the `chosen` instances up to date. `chosen` holds all that its members need. What became of each, in their
/// order, producers first. Where something is made, `noting` is told the keys of all instances, each before it is made.
///
/// # Errors
/// If the cache or the reports folder cannot be written. What is finished by then is kept.
pub fn run(
    graph: &Graph,
    chosen: &BTreeSet<NodeIndex>,
    store: &Store,
    options: &Options,
    watcher: &dyn Watcher,
    noting: &dyn Fn(&[Digest]),
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
            noting,
            unnoted: vec![],
            resolver: Resolver::new(store),
            waiting: Waiting::new(graph, chosen),
            rank: BTreeMap::new(),
            ready: BTreeSet::new(),
            locked: vec![],
            announced: BTreeSet::new(),
            sharing: BTreeMap::new(),
            running: BTreeMap::new(),
            ask: Queue::default(),
            fetch: Queue::default(),
            send: Queue::default(),
            free: options.tokens.clone(),
            tries: BTreeMap::new(),
            outputs: Outputs::new(),
            outcomes: BTreeMap::new(),
            summary: Summary { total: chosen.len(), ..Summary::default() },
        };
        let mut result = d.settle(d.waiting.first());
        if result.is_ok() && !d.is_idle() {
            // Only now: what is all cached needs no order, and no look at what earlier results took.
            d.rank = ranks(graph, chosen, |instance| d.resolver.duration(instance));
            d.ready = d.ready.iter().map(|(_, std::cmp::Reverse(node))| d.urgency(*node)).collect();
            d.warn_of_what_cannot_start(chosen);
            result = chosen.iter().try_for_each(|n| can_publish(&graph[*n], &options.reports));
        }
        while result.is_ok() && !(options.fail_fast && d.summary.failed > 0) {
            let start = |node: NodeIndex, task: Task| {
                let (there, here, lost) = (sender.clone(), &sender, task.lost(node));
                let work = move || {
                    let progress = |p| drop(there.send(Message::Progress(node, p)));
                    let message = perform(task, node, graph, options, store, &progress);
                    // Nobody listens any more after an interrupt.
                    let _ = there.send(message);
                };
                if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    tracing::warn!(instance = graph[node].name, "the system has no thread for it");
                    let _ = here.send(lost);
                }
            };
            if !d.is_idle() {
                d.note_keys();
            }
            d.look_at_locks();
            result = d.transfer_what_fits(&start).and_then(|()| d.start_what_fits(&start));
            if result.is_err() || d.is_idle() {
                break;
            }
            d.tell_overall();
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
        d.queues().into_iter().flat_map(|queue| queue.now.values()).for_each(Handle::kill);
        d.summary.seconds = begun.elapsed().as_secs_f64();
        d.summary.unfinished = d.summary.total - d.summary.done();
        result.map(|()| {
            let outcomes = chosen.iter().map(|node| d.outcome(*node).clone()).collect();
            (d.summary, outcomes)
        })
    })
}

fn perform(
    task: Task,
    node: NodeIndex,
    graph: &Graph,
    options: &Options,
    store: &Store,
    progress: &(dyn Fn(Progress) + Sync),
) -> Message {
    let (instance, remote) = (&graph[node], options.remote.as_ref());
    match task {
        Task::Run(job, handle) => {
            // Before there is a result: a run that ends then leaves it to the next one to send it.
            remote.iter().for_each(|remote| remote.owe(&job.digest));
            let ended = execute(&job, &options.launcher, store, &handle, progress);
            if ended.is_err() {
                remote.iter().for_each(|remote| remote.owe_no_more(&job.digest));
            }
            Message::Ended(node, ended)
        }
        Task::Ask(key, handle) => {
            Message::Asked(node, remote.is_some_and(|remote| remote.has(instance, &key, &handle)))
        }
        Task::Fetch(key, handle, _lock) => {
            let found = remote.and_then(|remote| remote.fetch(instance, &key, store, &handle, progress));
            Message::Fetched(node, found)
        }
        Task::Send(key, handle) => {
            remote.iter().for_each(|remote| remote.push(instance, &key, store, &handle));
            Message::Sent(node)
        }
    }
}

/// The critical path: how long it takes from the start of each instance to the end of all that wait for it, as far as earlier
/// runs tell. The longest first keeps all cores busy to the end. `chosen` has producers before consumers.
fn ranks(
    graph: &Graph,
    chosen: &BTreeSet<NodeIndex>,
    duration: impl Fn(&Instance) -> Duration,
) -> BTreeMap<NodeIndex, Duration> {
    let mut ranks: BTreeMap<NodeIndex, Duration> = BTreeMap::new();
    for &node in chosen.iter().rev() {
        let below = graph.neighbors_directed(node, Outgoing).filter_map(|n| ranks.get(&n)).max();
        let rank = duration(&graph[node]).saturating_add(below.copied().unwrap_or_default());
        ranks.insert(node, rank);
    }
    ranks
}

/// An instance's rank, and of equals the first in the graph.
type Urgency = (Duration, std::cmp::Reverse<NodeIndex>);

struct Running {
    handle: Handle,
    taken: Tokens,
    /// When it is ended.
    deadline: Option<Instant>,
    timed_out: bool,
}

/// What a key is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    ToFetch,
    ToRun,
}

/// The instances of one key, which runs once.
struct Sharing {
    first: NodeIndex,
    /// They wait for the first's result.
    others: Vec<NodeIndex>,
    failed: bool,
}

/// What waits for its turn with the shared cache, and what has it.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<NodeIndex>,
    now: BTreeMap<NodeIndex, Handle>,
}

struct Dispatcher<'a> {
    graph: &'a Graph,
    store: &'a Store,
    options: &'a Options,
    watcher: &'a dyn Watcher,
    noting: &'a dyn Fn(&[Digest]),
    /// Keys that are known and not noted yet.
    unnoted: Vec<Digest>,
    resolver: Resolver<'a>,
    waiting: Waiting<'a>,
    /// See [`ranks`].
    rank: BTreeMap<NodeIndex, Duration>,
    /// Must run and can, the most urgent last.
    ready: BTreeSet<Urgency>,
    /// Another run holds the key.
    locked: Vec<(NodeIndex, Held)>,
    /// Of these it was said that they wait.
    announced: BTreeSet<NodeIndex>,
    /// By the key of what must be brought or made, is, or has failed.
    sharing: BTreeMap<Digest, Sharing>,
    running: BTreeMap<NodeIndex, Running>,
    /// Must be made unless the shared cache has it, which is asked before anything is taken for it.
    ask: Queue,
    /// The shared cache has it.
    fetch: Queue,
    /// Was made, and is to be sent to the shared cache. Nothing waits for that but the end of the run.
    send: Queue,
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
        let nothing_runs = self.ready.is_empty() && self.locked.is_empty() && self.running.is_empty();
        nothing_runs && self.queues().into_iter().all(|q| q.waiting.is_empty() && q.now.is_empty())
    }

    fn queues(&self) -> [&Queue; 3] {
        [&self.ask, &self.fetch, &self.send]
    }

    fn urgency(&self, node: NodeIndex) -> Urgency {
        (self.rank.get(&node).copied().unwrap_or_default(), std::cmp::Reverse(node))
    }

    fn note_keys(&mut self) {
        if !self.unnoted.is_empty() {
            (self.noting)(&std::mem::take(&mut self.unnoted));
        }
    }

    fn tell(&self, node: NodeIndex, event: Event<'_>) {
        self.watcher.event(&self.graph[node].name, event);
    }

    fn tell_overall(&self) {
        self.watcher.overall(Overall {
            summary: self.summary,
            running: self.running.len(),
            fetching: self.fetch.now.len(),
            sending: self.send.waiting.len() + self.send.now.len(),
        });
    }

    /// The key of an instance that was looked up.
    fn key(&self, node: NodeIndex) -> Digest {
        self.outcomes.get(&node).and_then(|outcome| outcome.key.clone()).expect("it was looked up")
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
    fn settle(&mut self, mut wave: BTreeSet<NodeIndex>) -> Result<()> {
        while !wave.is_empty() {
            let decided = self.resolver.decide(self.graph, std::mem::take(&mut wave), &self.outputs);
            for (node, key, decision) in decided {
                self.outcome(node).key = Some(key.clone());
                self.unnoted.push(key.clone());
                match decision {
                    Decision::Hit(outputs) => {
                        self.is_cached(node, &key);
                        wave.extend(self.finish(node, outputs)?);
                    }
                    Decision::Miss(why) => {
                        let reason = why.line();
                        self.outcome(node).reason.clone_from(&reason);
                        self.must_run(node, key, &reason);
                    }
                }
            }
            self.tell_overall();
        }
        Ok(())
    }

    /// The store has its result; perhaps an earlier run has not sent it.
    fn is_cached(&mut self, node: NodeIndex, key: &Digest) {
        self.ends(node, End::Cached);
        self.tell(node, Event::Cached);
        if self.options.remote.as_ref().is_some_and(|remote| remote.is_owed(key)) {
            self.send.waiting.push_back(node);
        }
    }

    /// The first instance of a key runs; others wait for its result, and take no place from what can run.
    fn must_run(&mut self, node: NodeIndex, key: Digest, reason: &str) {
        let instance = &self.graph[node].name;
        let first = match self.sharing.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(Sharing { first: node, others: vec![], failed: false });
                tracing::debug!(instance, reason, "must run");
                if self.options.remote.is_some() {
                    self.ask.waiting.push_back(node);
                } else {
                    self.ready.insert(self.urgency(node));
                }
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
}
