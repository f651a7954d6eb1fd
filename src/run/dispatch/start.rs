//! Which instances start now, and with what.

use super::*;

impl Dispatcher<'_> {
    /// What will fail when its turn comes is said when the run begins, not after days. Of what is found in a cache until then
    /// nothing is needed.
    pub(super) fn warn_of_what_cannot_start(&self, chosen: &BTreeSet<NodeIndex>) {
        // What was looked up fails at once, if it is not found elsewhere.
        let later = chosen.iter().filter(|node| !self.outcomes.contains_key(node));
        self.options.tokens.warn_of_lacks(later.map(|node| &self.graph[*node]));
    }

    pub(super) fn start_what_fits(&mut self, start: &impl Fn(NodeIndex, Task)) -> Result<()> {
        // What cannot start yet. What waits for memory or a card is not overtaken by what takes some.
        let (mut waiting, mut is_short) = (vec![], false);
        while self.running.len() < self.options.jobs && self.free.threads > 0 {
            let candidates = self.ready.len().min(self.options.jobs - self.running.len());
            let Some(urgency @ (_, std::cmp::Reverse(node))) = self.ready.pop_last() else { break };
            let needs = &self.graph[node].needs;
            if let Some(lacks) = self.options.tokens.lacks(needs) {
                // Not while another run works on it.
                if self.hold(node, &self.key(node), Held::ToRun)?.is_some() {
                    self.give_up(node, lacks);
                }
                continue;
            }
            let takes_some = needs.memory > Memory::default() || needs.gpus > 0;
            match self.free.short_of(needs) {
                Some(short) => {
                    is_short |= short != Short::Threads;
                    waiting.push(urgency);
                    if short == Short::Threads { break } else { continue }
                }
                None if is_short && takes_some => {
                    waiting.push(urgency);
                    continue;
                }
                None => {}
            }
            let digest = self.key(node);
            let Some(lock) = self.hold(node, &digest, Held::ToRun)? else { continue };
            let key = key_of(self.graph, node, &self.outputs);
            let taken = self.free.take(needs, self.free.threads / candidates);
            let handle = Handle::default();
            // None where it is too far away to be named.
            let deadline = needs.timeout.and_then(|Timeout(most)| Instant::now().checked_add(most));
            let job = self.job(node, key, digest, &taken, lock);
            let threads = taken.threads;
            let running = Running { handle: handle.clone(), taken, deadline, timed_out: false };
            self.running.insert(node, running);
            self.tell(node, Event::Started { threads });
            start(node, Task::Run(Box::new(job), handle));
        }
        self.ready.extend(waiting);
        Ok(())
    }

    /// The lock of a key, to work on it. None while another run works on it, or if one has finished it since: then it is
    /// dealt with.
    pub(super) fn hold(&mut self, node: NodeIndex, key: &Digest, why: Held) -> Result<Option<Lock>> {
        let Some(lock) = self.store.try_lock(key)? else {
            if self.announced.insert(node) {
                self.tell(node, Event::Waits);
            }
            self.locked.push((node, why));
            return Ok(None);
        };
        let Some(outputs) = self.resolver.hit(&self.graph[node], key) else { return Ok(Some(lock)) };
        self.is_cached(node, key);
        self.succeed(node, outputs)?;
        Ok(None)
    }

    /// What another run held is tried once more.
    pub(super) fn look_at_locks(&mut self) {
        for (node, why) in std::mem::take(&mut self.locked) {
            match why {
                Held::ToFetch => self.fetch.waiting.push_back(node),
                Held::ToRun => drop(self.ready.insert(self.urgency(node))),
            }
        }
    }

    pub(super) fn end_what_takes_too_long(&mut self) {
        for running in self.running.values_mut() {
            if running.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                running.timed_out = true;
                running.handle.kill();
            }
        }
    }

    fn job(&self, node: NodeIndex, key: Key, digest: Digest, taken: &Tokens, lock: Lock) -> Job {
        let instance = &self.graph[node];
        let work = self.store.work(&digest);
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
            key: digest.clone(),
            code: key.code.clone(),
            params: key.params.clone(),
            seed: key.seed,
            inputs,
            outputs: work.join("out"),
            checkpoints: work.join("checkpoints"),
            lock: work.join("lock"),
            threads: taken.threads,
        };
        Job {
            instance: instance.name.clone(),
            key,
            digest,
            manifest,
            outputs: instance.kind.outputs,
            code: instance.kind.code,
            gpus: taken.gpus.iter().cloned().collect(),
            _lock: lock,
        }
    }
}
