//! Ctrl-C, and a request to end.

use std::sync::{
    atomic::{AtomicBool, Ordering},
    mpsc::{Receiver, channel},
};

use super::INTERRUPTED;
use crate::{
    error::{Error, Result},
    run::Interrupt,
};

/// Sends the first signal on; a second one ends the program at once.
pub fn listen() -> Result<Receiver<Interrupt>> {
    let (sender, receiver) = channel();
    let again = AtomicBool::new(false);
    let handler = move || {
        if again.swap(true, Ordering::Relaxed) || sender.send(Interrupt).is_err() {
            std::process::exit(i32::from(INTERRUPTED));
        }
    };
    ctrlc::set_handler(handler).map_err(|e| Error::machine(format!("cannot listen to signals: {e}")))?;
    Ok(receiver)
}
