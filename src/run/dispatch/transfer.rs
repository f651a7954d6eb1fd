//! The shared cache in a run: it is asked for what must be made, and gives it; what was made is sent there. None of this takes
//! a thread, memory or a card from what runs, nor counts against its time.

use super::*;

/// Questions that are open at once.
const QUESTIONS: usize = 16;
/// Results that are fetched at once, and that are sent at once.
const TRANSFERS: usize = 4;

impl Dispatcher<'_> {
    pub(super) fn transfer_what_fits(&mut self, start: &impl Fn(NodeIndex, Task)) -> Result<()> {
        let Some(remote) = &self.options.remote else { return Ok(()) };
        while self.asking.len() < QUESTIONS {
            let Some(node) = self.to_ask.pop_front() else { break };
            if remote.gives() {
                let handle = Handle::default();
                self.asking.insert(node, handle.clone());
                start(node, Task::Ask(self.key(node), handle));
            } else {
                self.ready.insert(self.urgency(node));
            }
        }
        while self.fetching.len() < TRANSFERS {
            let Some(node) = self.to_fetch.pop_front() else { break };
            if !remote.gives() {
                self.ready.insert(self.urgency(node));
                continue;
            }
            let key = self.key(node);
            let Some(lock) = self.hold(node, &key, Held::ToFetch)? else { continue };
            let handle = Handle::default();
            self.fetching.insert(node, handle.clone());
            start(node, Task::Fetch(key, handle, lock));
        }
        while self.sending.len() < TRANSFERS {
            let Some(node) = self.to_send.pop_front() else { break };
            if remote.takes() {
                let handle = Handle::default();
                self.sending.insert(node, handle.clone());
                start(node, Task::Send(self.key(node), handle));
            }
        }
        Ok(())
    }
}
