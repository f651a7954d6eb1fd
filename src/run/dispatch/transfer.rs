//! The shared cache in a run: what must be made is looked for there first, and what was made is sent there. Neither takes a
//! thread, memory or a card from what runs, nor counts against its time.

use super::*;

/// Results that are fetched at once, and that are sent at once.
const AT_ONCE: usize = 4;

impl Dispatcher<'_> {
    pub(super) fn transfer_what_fits(&mut self, start: &impl Fn(NodeIndex, Task)) -> Result<()> {
        let Some(remote) = &self.options.remote else { return Ok(()) };
        while self.fetching.len() < AT_ONCE {
            let Some(node) = self.to_fetch.pop_front() else { break };
            if !remote.gives() {
                self.ready.insert(self.urgency(node));
                continue;
            }
            let key = key_of(self.graph, node, &self.outputs).digest();
            let Some(lock) = self.hold(node, &key)? else { continue };
            let handle = Handle::default();
            self.fetching.insert(node, handle.clone());
            start(node, Task::Fetch(key, handle, lock));
        }
        while self.sending.len() < AT_ONCE {
            let Some(node) = self.to_send.pop_front() else { break };
            if !remote.takes() {
                continue;
            }
            let key = key_of(self.graph, node, &self.outputs).digest();
            let handle = Handle::default();
            self.sending.insert(node, handle.clone());
            start(node, Task::Send(key, handle));
        }
        Ok(())
    }
}
