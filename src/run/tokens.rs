//! What running instances share: threads, memory and graphics cards, as tokens that are taken and given back.

use std::collections::BTreeSet;

use crate::{
    experiment::{Memory, Needs},
    graph::Instance,
};

/// All that a run may use, or what is left of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    pub threads: usize,
    pub memory: Memory,
    /// Names of cards, as the driver knows them.
    pub gpus: BTreeSet<String>,
}

/// Why an instance cannot start now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    Threads,
    Memory,
    Gpus,
}

impl Tokens {
    /// What of these is too little for `needs`.
    pub fn short_of(&self, needs: &Needs) -> Option<Short> {
        match () {
            () if self.threads < threads(needs).unwrap_or(1) => Some(Short::Threads),
            () if self.memory < needs.memory => Some(Short::Memory),
            () if self.gpus.len() < usize::from(needs.gpus) => Some(Short::Gpus),
            () => None,
        }
    }

    /// Takes what an instance needs, and of the threads `share` unless it says how many.
    ///
    /// # Panics
    /// If it is short of something.
    pub fn take(&mut self, needs: &Needs, share: usize) -> Self {
        assert_eq!(self.short_of(needs), None, "what is taken is there");
        let threads = threads(needs).unwrap_or(share.clamp(1, self.threads));
        self.threads -= threads;
        self.memory.0 -= needs.memory.0;
        let gpus = (0..needs.gpus).filter_map(|_| self.gpus.pop_first()).collect();
        Self { threads, memory: needs.memory, gpus }
    }

    pub fn give_back(&mut self, taken: Self) {
        self.threads += taken.threads;
        self.memory.0 += taken.memory.0;
        self.gpus.extend(taken.gpus);
    }

    /// Says of the stages of `instances` that can never start that they cannot.
    pub fn warn_of_lacks<'a>(&self, instances: impl Iterator<Item = &'a Instance>) {
        let mut told = BTreeSet::new();
        for instance in instances {
            if let Some(lacks) = self.lacks(&instance.needs)
                && told.insert(&instance.stage)
            {
                tracing::warn!(instance = instance.stage, "will fail where no cache has its result: {lacks}");
            }
        }
    }

    /// What is missing, in words, for an instance that can never start.
    pub fn lacks(&self, needs: &Needs) -> Option<String> {
        Some(match self.short_of(needs)? {
            Short::Threads => {
                let needed = threads(needs).unwrap_or(1);
                format!(
                    "it needs {needed} threads, and this run has {}\nhint: give it more with `--threads`",
                    self.threads
                )
            }
            Short::Memory => format!(
                "it needs {} of memory, and this run has {}\nhint: give it more with `--memory`",
                needs.memory, self.memory
            ),
            Short::Gpus => format!(
                "it needs {} graphics card{}, and this run has {}\nhint: name some with `--gpus 0,1`",
                needs.gpus,
                if needs.gpus == 1 { "" } else { "s" },
                self.gpus.len()
            ),
        })
    }
}

/// How many an instance asks for, if it does.
fn threads(needs: &Needs) -> Option<usize> {
    needs.threads.map(|threads| threads.get().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZero;

    fn needs(threads: Option<u16>, gib: u64, gpus: u16) -> Needs {
        let threads = threads.and_then(NonZero::new);
        Needs { threads, memory: Memory(gib << 30), gpus, ..Needs::default() }
    }

    #[test]
    fn what_is_taken_comes_back() {
        let all = Tokens { threads: 8, memory: Memory(16 << 30), gpus: ["0", "1"].map(String::from).into() };
        let mut free = all.clone();
        let first = free.take(&needs(None, 10, 1), 3);
        assert_eq!((first.threads, first.gpus.len(), free.threads), (3, 1, 5));
        assert_eq!(free.short_of(&needs(None, 7, 0)), Some(Short::Memory));
        assert_eq!(free.short_of(&needs(Some(6), 0, 0)), Some(Short::Threads));
        assert_eq!(free.short_of(&needs(None, 0, 2)), Some(Short::Gpus));
        let second = free.take(&needs(Some(5), 6, 1), 1);
        assert!(second.gpus.is_disjoint(&first.gpus), "no two have one card");
        assert_eq!(free.short_of(&needs(None, 0, 0)), Some(Short::Threads));
        free.give_back(first);
        free.give_back(second);
        assert_eq!(free, all);
        assert!(all.lacks(&needs(None, 0, 3)).is_some_and(|why| why.contains("this run has 2\nhint: ")));
        assert_eq!(all.lacks(&needs(Some(8), 16, 2)), None);
    }
}
