//! What a run may use of the machine.

use std::{collections::BTreeSet, fs};

use clap::Args;

use crate::{
    error::{Error, Result},
    experiment::Memory,
    run::Tokens,
};

/// What a run may use, and what it does about failures.
#[derive(Debug, Args)]
pub struct Resources {
    /// Instances that run side by side, at most; by default as many as there are processors.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,

    /// Threads that all of them share; by default as many as there are processors.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// Memory that instances which say what they need share, such as `16 GiB`; by default what the machine has.
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Memory>,

    /// Graphics cards that instances share, as the driver numbers them: `0,1`. Each is used by one instance at a time.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub gpus: Vec<String>,

    /// How often an instance that fails is tried again, from its last checkpoint; a stage's `needs.retries` comes first.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub retries: u16,

    /// Go on after a failure with all that does not depend on it: what happens without this option, too.
    #[arg(short, long)]
    pub keep_going: bool,

    /// Stop at the first failure. What runs then is ended, and goes on from its last checkpoint next time.
    #[arg(long, conflicts_with = "keep_going")]
    pub fail_fast: bool,
}

impl Resources {
    /// What a run may use: of what is not said, all that the machine has.
    ///
    /// # Errors
    /// If a card is named twice, or has no name.
    pub fn tokens(&self) -> Result<Tokens> {
        let gpus: BTreeSet<String> = self.gpus.iter().map(|name| name.trim().to_string()).collect();
        if gpus.len() < self.gpus.len() || gpus.contains("") {
            return Err(Error::experiment("`--gpus` names a card twice, or one without a name")
                .hint("name each once: `--gpus 0,1`"));
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.map_or(processors, usize::from);
        Ok(Tokens { threads, memory: self.memory.unwrap_or_else(memory), gpus })
    }
}

/// The machine's memory; all that can be, where it does not say.
fn memory() -> Memory {
    let total = || {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix(" kB")?;
        kib.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Memory(total().unwrap_or(u64::MAX))
}
