//! The shared cache in a run: it is asked for what must be made, and gives it; what was made is sent there. None of this takes
//! a thread, memory or a card from what runs, nor counts against its time.

use super::*;

/// Questions that are open at once.
const QUESTIONS: usize = 16;
/// Results that are fetched at once, and that are sent at once.
const TRANSFERS: usize = 4;

impl Queue {
    /// Whose turn it is, if fewer than `most` have theirs.
    fn next(&mut self, most: usize) -> Option<NodeIndex> {
        if self.now.len() < most { self.waiting.pop_front() } else { None }
    }

    fn begin(&mut self, node: NodeIndex) -> Handle {
        self.now.entry(node).or_default().clone()
    }
}

impl Dispatcher<'_> {
    pub(super) fn transfer_what_fits(&mut self, start: &impl Fn(NodeIndex, Task)) -> Result<()> {
        let Some(remote) = &self.options.remote else { return Ok(()) };
        while let Some(node) = self.ask.next(QUESTIONS) {
            if remote.gives() {
                start(node, Task::Ask(self.key(node), self.ask.begin(node)));
            } else {
                self.ready.insert(self.urgency(node));
            }
        }
        while let Some(node) = self.fetch.next(TRANSFERS) {
            if !remote.gives() {
                self.ready.insert(self.urgency(node));
                continue;
            }
            let key = self.key(node);
            let Some(lock) = self.hold(node, &key, Held::ToFetch)? else { continue };
            start(node, Task::Fetch(key, self.fetch.begin(node), lock));
        }
        while let Some(node) = self.send.next(TRANSFERS) {
            if remote.takes() {
                start(node, Task::Send(self.key(node), self.send.begin(node)));
            }
        }
        Ok(())
    }
}
