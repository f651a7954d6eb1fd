//! How it ends for an instance, and what follows from that.

use super::*;

impl Dispatcher<'_> {
    /// Notes an instance's outputs; gives the instances that wait for nothing any more.
    pub(super) fn finish(
        &mut self,
        node: NodeIndex,
        outputs: BTreeMap<String, Digest>,
    ) -> Result<Vec<NodeIndex>> {
        publish(&self.graph[node], &outputs, self.store, &self.options.reports)?;
        self.outputs.insert(node, outputs);
        Ok(self.waiting.finish(node))
    }

    pub(super) fn hear(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Progress(node, progress) => self.tell(node, Event::Progress(&progress)),
            Message::Ended(node, result) => {
                let Some(Running { taken, timed_out, .. }) = self.running.remove(&node) else {
                    return Ok(());
                };
                self.free.give_back(taken);
                match result {
                    Ok(Success { outputs, elapsed }) => {
                        self.ends(node, End::Ran);
                        self.outcome(node).seconds = Some(elapsed.as_secs_f64());
                        self.tell(node, Event::Finished { elapsed });
                        if self.options.remote.is_some() {
                            self.send.waiting.push_back(node);
                        }
                        self.succeed(node, outputs)?;
                    }
                    Err(Failure::Died(death)) if timed_out && death.was_killed => {
                        self.try_again(node, self.too_long(node, &death));
                    }
                    Err(failure) => self.try_again(node, failure.to_string()),
                }
            }
            Message::Asked(node, found) => {
                self.ask.now.remove(&node);
                if found {
                    self.fetch.waiting.push_back(node);
                } else {
                    self.ready.insert(self.urgency(node));
                }
            }
            Message::Fetched(node, found) => {
                self.fetch.now.remove(&node);
                match found {
                    Some(outputs) => {
                        self.ends(node, End::Cached);
                        self.summary.fetched += 1;
                        self.tell(node, Event::Fetched);
                        self.succeed(node, outputs)?;
                    }
                    None => {
                        self.tell(node, Event::NotFetched);
                        self.ready.insert(self.urgency(node));
                    }
                }
            }
            Message::Sent(node) => drop(self.send.now.remove(&node)),
        }
        Ok(())
    }

    fn too_long(&self, node: NodeIndex, death: &Death) -> String {
        let most = self.graph[node].needs.timeout.map_or(Duration::ZERO, |Timeout(most)| most);
        let what = format!("it was ended after its timeout of {}", humantime::format_duration(most));
        death.told(&what, "run again to go on from its last checkpoint, or raise `needs.timeout`; ")
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
    pub(super) fn give_up(&mut self, node: NodeIndex, message: String) {
        let key = self.key(node);
        self.fail(node, message);
        let others = self.sharing.get_mut(&key).map(|sharing| {
            sharing.failed = true;
            std::mem::take(&mut sharing.others)
        });
        let first = &self.graph[node].name;
        others.into_iter().flatten().for_each(|other| self.fail_alike(other, first));
    }

    /// An instance that was to run has its result, and those that share its key find it in the store.
    pub(super) fn succeed(&mut self, node: NodeIndex, outputs: BTreeMap<String, Digest>) -> Result<()> {
        let key = self.key(node);
        self.resolver.earlier().made(&self.graph[node].name, &outputs);
        let mut free = BTreeSet::from_iter(self.finish(node, outputs)?);
        free.extend(self.sharing.remove(&key).into_iter().flat_map(|sharing| sharing.others));
        self.settle(free)
    }

    /// What failed for one instance of a key is not tried again for another.
    pub(super) fn fail_alike(&mut self, node: NodeIndex, first: &str) {
        self.fail(node, format!("it has the same key as `{first}`, which has failed"));
    }

    /// A failure takes down what depends on it, and nothing else.
    fn fail(&mut self, node: NodeIndex, message: String) {
        self.ends(node, End::Failed);
        self.tell(node, Event::Failed { message: &message });
        self.outcome(node).message = message;
        let mut failed = vec![node];
        while let Some(node) = failed.pop() {
            for consumer in self.waiting.fail(node) {
                self.ends(consumer, End::Skipped);
                self.tell(consumer, Event::Skipped);
                failed.push(consumer);
            }
        }
    }
}
