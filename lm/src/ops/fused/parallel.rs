//! Sharing tasks out over threads, and doing without where there is nothing to share.

use rayon::prelude::*;
use std::cell::Cell;

thread_local! {
    /// Whether this thread is on a task of its own beside others on theirs: it then shares out nothing.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// How many threads a task on this one can be shared out over.
pub(crate) fn threads() -> usize {
    if BUSY.get() { 1 } else { rayon::current_num_threads() }
}

/// Runs `work` on every task. With one thread the tasks run here, in order: entering a thread pool for each
/// operation would cost more than small operations take.
pub(crate) fn each<T: Send>(tasks: impl Iterator<Item = T>, work: impl Fn(T) + Sync + Send) {
    each_with(tasks, || (), |(), task| work(task));
}

/// As [`each`] with memory that tasks use which follow each other on a thread.
pub(crate) fn each_with<T: Send, M>(
    tasks: impl Iterator<Item = T>,
    memory: impl Fn() -> M + Sync + Send,
    work: impl Fn(&mut M, T) + Sync + Send,
) {
    if threads() == 1 {
        let mut memory = memory();
        return tasks.for_each(|task| work(&mut memory, task));
    }
    let tasks: Vec<T> = tasks.collect();
    if tasks.len() == 1 {
        return tasks.into_iter().for_each(|task| work(&mut memory(), task));
    }
    tasks.into_par_iter().for_each_init(memory, work);
}

/// What `work` gives for every task, in order.
pub(crate) fn map<T: Send, R: Send>(
    tasks: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> R + Sync + Send,
) -> Vec<R> {
    let tasks = tasks.into_iter();
    if threads() == 1 {
        return tasks.map(work).collect();
    }
    let tasks: Vec<T> = tasks.collect();
    tasks.into_par_iter().map(work).collect()
}

/// As [`map`] for large tasks. Where each thread gets as much as the others by the `size` of its tasks, they share out
/// nothing on the way.
pub(crate) fn map_alike<T: Send, R: Send>(
    tasks: impl IntoIterator<Item = T>,
    size: impl Fn(&T) -> usize,
    work: impl Fn(T) -> R + Sync + Send,
) -> Vec<R> {
    let tasks: Vec<T> = tasks.into_iter().collect();
    let (most, all) = (tasks.iter().map(&size).max().unwrap_or(0), tasks.iter().map(&size).sum::<usize>());
    let alike = tasks.len().is_multiple_of(threads()) && 2 * most * tasks.len() <= 3 * all;
    map(tasks, |task| if alike { busy(|| work(task)) } else { work(task) })
}

/// Runs `work` with [`BUSY`] set.
fn busy<R>(work: impl FnOnce() -> R) -> R {
    struct Reset(bool);
    impl Drop for Reset {
        fn drop(&mut self) {
            BUSY.set(self.0);
        }
    }
    let _reset = Reset(BUSY.replace(true));
    work()
}

/// Cuts `all` into pieces of the given lengths.
pub(crate) fn pieces_mut<'a, T>(
    mut all: &'a mut [T],
    lengths: impl Iterator<Item = usize> + 'a,
) -> impl Iterator<Item = &'a mut [T]> + 'a {
    lengths.map(move |len| {
        let (piece, rest) = std::mem::take(&mut all).split_at_mut(len);
        all = rest;
        piece
    })
}
