//! Batched generation: one token at a time for all sequences that go on, and whole prompts for those that join them.

use super::cache::Cache;
use super::choice::{Chooser, Sampling};
use super::streams::{Rows, Sampled, Stream};
use crate::backend::{Backend, Engine};
use crate::batch::check_tokens;
use crate::config::Head;
use crate::decoder::{Decoder, Ready};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::ops::parallel::map_alike;
use crate::ops::view::view;
use crate::ops::{Fused, Old, Turn, kernels, room};
use dfdx::prelude::{Cpu, HasShape};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most sequences that go on side by side; more gain nothing.
const MOST: usize = 128;

/// With fewer sequences the products are too small to gain from a cache that holds everything.
const WORTH_WHILE: usize = 8;

/// Bytes of the processor's outermost cache that one thread may count on.
const PROCESSOR_CACHE: usize = 8 << 20;

impl<B: Backend> Model<B> {
    /// Continues each prompt. Every sequence draws from a stream of its own seed: what it gets depends on
    /// nothing else in the call. Equal prompts that follow each other are read once for as many as go on side by side.
    ///
    /// # Errors
    /// If the head is scalar, a prompt is empty, has a token beyond the vocabulary, or leaves too few positions
    /// for `max_new_tokens`, or if there is not one seed for each prompt; and if a device fails.
    pub fn sample(&self, prompts: &[Vec<u32>], sampling: &Sampling, seeds: &[u64]) -> Result<Vec<Sampled>> {
        self.need(Head::Lm, "sample")?;
        sampling.validate(self.config())?;
        if prompts.len() != seeds.len() {
            let (found, expected) = (format!("{} seeds", seeds.len()), format!("{} prompts", prompts.len()));
            return Err(Error::Sampling { field: "seeds", found, expected });
        }
        let most = self.config().max_position_embeddings;
        for (sequence, prompt) in prompts.iter().enumerate() {
            check_tokens(sequence, prompt, self.config())?;
            if sampling.max_new_tokens > most - prompt.len() {
                return Err(Error::Batch {
                    sequence,
                    found: format!("{} tokens and {} to generate", prompt.len(), sampling.max_new_tokens),
                    expected: format!("at most {most} together (max_position_embeddings)"),
                });
            }
        }
        if sampling.max_new_tokens == 0 || prompts.is_empty() {
            return Ok(vec![Sampled::default(); prompts.len()]);
        }
        B::Engine::guard(|| B::Engine::generate(&self.decoder, sampling, prompts, seeds))
    }
}

pub(crate) fn generate(
    decoder: &Decoder<Fused>,
    sampling: &Sampling,
    prompts: &[Vec<u32>],
    seeds: &[u64],
) -> Vec<Sampled> {
    let ready = decoder.ready();
    let weights = ready.weights.iter().map(|weight| weight.forward.bytes()).sum();
    let capacity = prompts.iter().map(Vec::len).max().unwrap_or(0) + sampling.max_new_tokens;
    let most = side_by_side(weights, Cache::bytes(&decoder.config, capacity));
    let threads = rayon::current_num_threads().min(prompts.len());
    let width = prompts.len().div_ceil(threads).min(most);
    let queue = Queue::new(prompts, width.div_ceil(2));
    let work = Work { ready: &ready, sampling, prompts, seeds, capacity, width };
    let mut done = map_alike(0..threads, |_| 1, |_| Generation::new(&work).run(&queue)).concat();
    done.sort_by_key(|(sequence, _)| *sequence);
    done.into_iter().map(|(_, sampled)| sampled).collect()
}

/// As many sequences as the processor's cache holds beside the weights, for every token reads all of both; where few
/// or none fit, as many as share one reading of the weights well. Numbers do not depend on it.
fn side_by_side(weights: usize, sequence: usize) -> usize {
    let fit = PROCESSOR_CACHE.saturating_sub(weights) / sequence;
    if fit < WORTH_WHILE { MOST } else { fit.min(MOST) }
}

/// The prompts that wait, for all threads: one group after the other, each of equal neighbours, which are read once.
struct Queue {
    groups: Vec<Range<usize>>,
    next: AtomicUsize,
}

impl Queue {
    /// Groups of at most `most` prompts.
    fn new(prompts: &[Vec<u32>], most: usize) -> Queue {
        let mut groups: Vec<Range<usize>> = vec![];
        for (sequence, prompt) in prompts.iter().enumerate() {
            match groups.last_mut() {
                Some(group) if group.len() < most && prompts[group.start] == *prompt => group.end += 1,
                _ => groups.push(sequence..sequence + 1),
            }
        }
        Queue { groups, next: AtomicUsize::new(0) }
    }

    fn take(&self) -> Option<Range<usize>> {
        self.groups.get(self.next.fetch_add(1, Ordering::Relaxed)).cloned()
    }
}

/// What is to be done, the same for all threads.
struct Work<'a> {
    ready: &'a Ready<'a, Fused>,
    sampling: &'a Sampling,
    prompts: &'a [Vec<u32>],
    seeds: &'a [u64],
    /// Of a cache, in tokens.
    capacity: usize,
    /// Sequences that one thread keeps going.
    width: usize,
}

/// The sequences of one thread: as some end, the next prompts take their places.
struct Generation<'a> {
    work: &'a Work<'a>,
    chooser: Chooser<'a>,
    active: Vec<Active>,
    /// Caches of sequences that have ended.
    spare: Vec<Cache>,
    buffers: Buffers,
}

struct Active {
    sequence: usize,
    stream: Stream,
    cache: Cache,
    /// The token to read next, and its position; none before the prompt is read.
    next: Option<(u32, usize)>,
    /// Which of the logits that are asked for are its own.
    row: usize,
}

/// Memory of a pass, used again by the next one.
#[derive(Default)]
struct Buffers {
    x: Vec<f32>,
    h: Vec<f32>,
    qkv: Vec<f32>,
    attended: Vec<f32>,
    gate_up: Vec<f32>,
    gated: Vec<f32>,
    scratch: Vec<f32>,
    logits: Vec<f32>,
}

impl<'a> Generation<'a> {
    fn new(work: &'a Work<'a>) -> Self {
        let chooser = Chooser::new(work.sampling);
        Generation { work, chooser, active: vec![], spare: vec![], buffers: Buffers::default() }
    }

    /// Sequences, each with what was generated, until no prompt is left.
    fn run(mut self, queue: &Queue) -> Vec<(usize, Sampled)> {
        let vocabulary = self.work.ready.decoder.config.vocab_size;
        let mut done = vec![];
        loop {
            let (rows, wanted) = self.next_rows(queue);
            if rows.tokens.is_empty() {
                return done;
            }
            self.pass(&rows, &wanted);
            self.share_prompts();
            for mut active in std::mem::take(&mut self.active) {
                let logits = &self.buffers.logits[active.row * vocabulary..][..vocabulary];
                active.next = active.stream.draw(&mut self.chooser, logits);
                if active.next.is_some() {
                    self.active.push(active);
                } else {
                    self.spare.push(active.cache);
                    done.push((active.sequence, active.stream.done));
                }
            }
        }
    }

    /// The rows of the next pass, and those of them whose logits are wanted: a token of each sequence that goes on, and
    /// whole prompts of new ones while there is room.
    fn next_rows(&mut self, queue: &Queue) -> (Rows, Vec<usize>) {
        let work = self.work;
        let mut rows = Rows::default();
        for (place, active) in self.active.iter_mut().enumerate() {
            let (token, position) = active.next.expect("its prompt was read");
            rows.push(token, place, position);
            active.row = place;
        }
        let mut wanted: Vec<usize> = (0..self.active.len()).collect();
        while self.active.len() < work.width
            && let Some(group) = queue.take()
        {
            let prompt = &work.prompts[group.start];
            for (position, &token) in prompt.iter().enumerate() {
                rows.push(token, self.active.len(), position);
            }
            wanted.push(rows.tokens.len() - 1);
            for sequence in group {
                let cache =
                    self.spare.pop().unwrap_or_else(|| Cache::new(&work.ready.decoder.config, work.capacity));
                let stream = Stream::new(prompt.len(), work.seeds[sequence]);
                self.active.push(Active { sequence, stream, cache, next: None, row: wanted.len() - 1 });
            }
        }
        (rows, wanted)
    }

    /// Gives the keys and values of a prompt that was read to those that wait for the same.
    fn share_prompts(&mut self) {
        for place in 1..self.active.len() {
            let (before, after) = self.active.split_at_mut(place);
            let (reader, follower) = (&before[place - 1], &mut after[0]);
            if reader.row == follower.row {
                follower.cache.copy_from(&reader.cache);
            }
        }
    }

    /// Runs the decoder over rows (of a sequence in order of position); the logits of the `wanted` ones are then in
    /// their buffer.
    fn pass(&mut self, rows: &Rows, wanted: &[usize]) {
        let ready = self.work.ready;
        let (decoder, config) = (ready.decoder, &ready.decoder.config);
        let (n, width, qkv_width) = (rows.tokens.len(), config.hidden_size, config.qkv_width());
        let (eps, inner) = (config.rms_norm_eps, config.intermediate_size);
        let (scale, gate) = (config.embedding_scale(), config.gate());
        let heads = (config.num_attention_heads, config.num_key_value_heads);
        let heads_width = heads.0 * config.head_dim;
        let buffers = &mut self.buffers;
        let (x, h) = (room(&mut buffers.x, n * width), room(&mut buffers.h, n * width));
        let (qkv, attended) =
            (room(&mut buffers.qkv, n * qkv_width), room(&mut buffers.attended, n * heads_width));
        let (gate_up, gated) =
            (room(&mut buffers.gate_up, n * 2 * inner), room(&mut buffers.gated, n * inner));
        for (x, &token) in x.chunks_exact_mut(width).zip(&rows.tokens) {
            let row = &view(decoder.embedding())[token as usize * width..][..width];
            x.iter_mut().zip(row).for_each(|(x, row)| *x = row * scale);
        }
        for (index, layer) in ready.layers().enumerate() {
            norm(x, layer.attention_norm, eps, h);
            layer.qkv.forward.product(h, qkv, Old::Overwrite);
            // After the last attention no position looks at another: go on with the wanted rows only.
            let is_last = index + 1 == config.num_hidden_layers;
            let goes_on = |row: usize| !is_last || wanted.binary_search(&row).is_ok();
            let mut out = attended.chunks_exact_mut(heads_width);
            let places = rows.sequences.iter().zip(&rows.positions);
            for ((row, qkv), (&place, &position)) in qkv.chunks_exact_mut(qkv_width).enumerate().zip(places) {
                let cache = &mut self.active[place].cache;
                let scratch = room(&mut buffers.scratch, cache.scratch_len());
                decoder.rope.turn(Turn::To, position, qkv, heads);
                cache.store(index, position, qkv);
                if goes_on(row)
                    && let Some(out) = out.next()
                {
                    cache.attend(index, position, qkv, scratch, out);
                }
            }
            if is_last {
                for (to, &from) in wanted.iter().enumerate() {
                    x.copy_within(from * width..(from + 1) * width, to * width);
                }
            }
            let n = if is_last { wanted.len() } else { n };
            let (x, h) = (&mut x[..n * width], &mut h[..n * width]);
            layer.output.forward.product(&attended[..n * heads_width], x, Old::Add);
            norm(x, layer.mlp_norm, eps, h);
            let (gate_up, gated) = (&mut gate_up[..n * 2 * inner], &mut gated[..n * inner]);
            layer.gate_up.forward.product(h, gate_up, Old::Overwrite);
            for (y, x) in gated.chunks_exact_mut(inner).zip(gate_up.chunks_exact(2 * inner)) {
                kernels::gated(gate, x, y);
            }
            layer.down.forward.product(gated, x, Old::Add);
        }
        let (x, h) = (&x[..wanted.len() * width], &mut h[..wanted.len() * width]);
        norm(x, decoder.norm(), eps, h);
        let logits = room(&mut buffers.logits, wanted.len() * config.vocab_size);
        ready.unembedding().forward.product(h, logits, Old::Overwrite);
    }
}

type Matrix = crate::ops::Matrix<Cpu>;

fn norm(x: &[f32], gain: &Matrix, eps: f32, y: &mut [f32]) {
    let (gain, width) = (view(gain), gain.shape().1);
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        kernels::rms_norm(x, gain, eps, y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_side_by_side_as_the_cache_holds_or_as_share_the_weights_well() {
        let sequence = 1 << 16;
        let beside = |sequences: usize| side_by_side(PROCESSOR_CACHE - sequences * sequence, sequence);
        assert_eq!([7, 8, 18, 128].map(beside), [128, 8, 18, 128]);
        assert_eq!(side_by_side(2 * PROCESSOR_CACHE, sequence), 128);
        assert_eq!(side_by_side(0, 1), 128);
    }
}
