//! Sharing tasks out over threads, and doing without when there is one thread.

use rayon::prelude::*;

/// Runs `work` on every task. With one thread the tasks run here, in order: entering a thread pool for each
/// operation would cost more than small operations take.
pub(crate) fn each<T: Send>(tasks: impl Iterator<Item = T>, work: impl Fn(T) + Sync + Send) {
    if rayon::current_num_threads() == 1 {
        return tasks.for_each(work);
    }
    let tasks: Vec<T> = tasks.collect();
    if tasks.len() == 1 {
        return tasks.into_iter().for_each(work);
    }
    tasks.into_par_iter().for_each(work);
}

/// What `work` gives for every task, in order.
pub(crate) fn map<T: Send, R: Send>(
    tasks: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> R + Sync + Send,
) -> Vec<R> {
    let tasks = tasks.into_iter();
    if rayon::current_num_threads() == 1 {
        return tasks.map(work).collect();
    }
    let tasks: Vec<T> = tasks.collect();
    tasks.into_par_iter().map(work).collect()
}

/// Cuts `all` into pieces of the given lengths.
pub(crate) fn pieces_mut<'a>(
    mut all: &'a mut [f32],
    lengths: impl Iterator<Item = usize> + 'a,
) -> impl Iterator<Item = &'a mut [f32]> + 'a {
    lengths.map(move |len| {
        let (piece, rest) = std::mem::take(&mut all).split_at_mut(len);
        all = rest;
        piece
    })
}
