//! Batched generation on a device of dfdx. The cache of keys and values stays there; logits are copied to the
//! host, where tokens are drawn as on the CPU. Sequences that end leave the batch.
//!
//! dfdx cannot write to a part of a tensor: a new token's keys and values are added to a cache that is zero at
//! its position, which reads and writes the whole cache for each token. Attention reads all of it anyway.

use super::choice::{Chooser, Sampling};
use super::streams::{Rows, Sampled, Stream};
use crate::config::Config;
use crate::decoder::{Decoder, Ready};
use crate::ops::composed::attention::{Block, MASKED, Positions, Rotated, attend, pick};
use crate::ops::composed::{self, Product};
use crate::ops::{Attention, Composed, Matrix, Norm, Ops, Rope};
use dfdx::prelude::*;
use std::sync::Arc;

/// Sequences that go on side by side; more would need more memory for caches and logits.
const SIDE_BY_SIDE: usize = 256;

pub(crate) fn generate<D: Device<f32>, P: Product<D>>(
    decoder: &Decoder<Composed<D, P>>,
    sampling: &Sampling,
    prompts: &[Vec<u32>],
    seeds: &[u64],
) -> Vec<Sampled> {
    let ready = decoder.ready();
    let parts = prompts.chunks(SIDE_BY_SIDE).zip(seeds.chunks(SIDE_BY_SIDE));
    parts.flat_map(|(prompts, seeds)| generate_part(&ready, sampling, prompts, seeds)).collect()
}

fn generate_part<D: Device<f32>, P: Product<D>>(
    ready: &Ready<Composed<D, P>>,
    sampling: &Sampling,
    prompts: &[Vec<u32>],
    seeds: &[u64],
) -> Vec<Sampled> {
    let mut chooser = Chooser::new(sampling);
    let streams = prompts.iter().zip(seeds).map(|(prompt, &seed)| Stream::new(prompt.len(), seed));
    let mut streams: Vec<Stream> = streams.collect();
    let mut active: Vec<usize> = (0..prompts.len()).collect();
    // The last token that is drawn is not read again.
    let capacity = prompts.iter().map(Vec::len).max().unwrap_or(0) + sampling.max_new_tokens - 1;
    let (mut cache, mut logits) = read_prompts(ready, prompts, capacity);
    loop {
        let mut next = Rows::default();
        for (&sequence, logits) in active.iter().zip(logits.chunks_exact(ready.decoder.config.vocab_size)) {
            if let Some((token, position)) = streams[sequence].draw(&mut chooser, logits) {
                next.push(token, sequence, position);
            }
        }
        if next.tokens.is_empty() {
            return streams.into_iter().map(|stream| stream.done).collect();
        }
        if next.sequences.len() < active.len() {
            let stays = |&i: &usize| next.sequences.binary_search(&active[i]).is_ok();
            cache.keep(&(0..active.len()).filter(stays).collect::<Vec<_>>());
        }
        logits = go_on(ready, &mut cache, &next);
        active = next.sequences;
    }
}

/// Keys (turned to their positions) and values of each layer: `[sequences * groups, capacity, head_dim]`, zero
/// where no token was read.
struct Cache<D: Storage<f32>> {
    layers: Vec<(Block<D>, Block<D>)>,
    groups: usize,
}

impl<D: Device<f32>> Cache<D> {
    /// Keeps the sequences with these places.
    fn keep(&mut self, sequences: &[usize]) {
        let kept = sequences.len();
        for block in self.layers.iter_mut().flat_map(|(keys, values)| [keys, values]) {
            let (blocks, capacity, dim) = *block.shape();
            let (all, width) = (blocks / self.groups, self.groups * capacity * dim);
            let rows: composed::Rows<D> = block.device().tensor_from_vec(sequences.to_vec(), (kept,));
            let kept_rows: Matrix<D> = pick(&block.clone().reshape_like(&(all, width)), width, &rows);
            *block = kept_rows.reshape_like(&(kept * self.groups, capacity, dim));
        }
    }

    /// Stores what a row of each sequence says, and gives what its queries attend to.
    fn attend(&mut self, layer: usize, qkv: &Matrix<D>, at: &Step<D>) -> Matrix<D> {
        let (blocks, capacity, dim) = *self.layers[layer].0.shape();
        let (sequences, groups) = (blocks / self.groups, self.groups);
        let key: Block<D> = at.key.of(qkv);
        let value: Matrix<D> = pick(qkv, dim, &at.value);
        let store = |new: Block<D>, old: &mut Block<D>| {
            // Taken out, so that the sum is written over it.
            let zero = new.clone();
            let all = std::mem::replace(old, zero);
            *old = all + at.here.clone().matmul(new);
        };
        let (keys, values) = &mut self.layers[layer];
        store(key.reshape_like(&(blocks, 1, dim)), keys);
        store(value.reshape_like(&(blocks, 1, dim)), values);
        let sharing = at.query.heads() / groups;
        let query: Block<D> = at.query.of::<NoneTape>(qkv).reshape_like(&(blocks, sharing, dim));
        let scores = query.matmul(keys.clone().permute::<_, Axes3<0, 2, 1>>());
        let mask = at.mask.clone().broadcast_like::<_, Axis<1>>(&(blocks, sharing, capacity));
        let attended = (scores + mask).softmax::<Axis<2>>().matmul(values.clone());
        attended.reshape_like(&(sequences, groups * sharing * dim))
    }
}

/// Where the tokens of a step stand.
struct Step<D: Storage<f32> + Storage<usize>> {
    query: Rotated<D>,
    key: Rotated<D>,
    value: composed::Rows<D>,
    /// One at each sequence's position: `[sequences * groups, capacity, 1]`.
    here: Block<D>,
    /// Hides what was not read yet: `[sequences * groups, capacity]`.
    mask: Matrix<D>,
}

impl<D: Device<f32>> Step<D> {
    fn new(device: &D, config: &Config, rope: &Rope, positions: &[usize], capacity: usize) -> Self {
        let (heads, groups) = (config.num_attention_heads, config.num_key_value_heads);
        let (n, columns) = (positions.len(), heads + 2 * groups);
        let vectors = |first: usize, count: usize| -> Vec<usize> {
            (0..n).flat_map(|row| (first..first + count).map(move |head| row * columns + head)).collect()
        };
        let rotated = |first, count, scale| {
            let places = (Positions::First, positions);
            Rotated::new(device, rope, &vectors(first, count), (n, count), places, scale)
        };
        let per_place = |f: &dyn Fn(usize, usize) -> f32| -> Vec<f32> {
            let mut all = Vec::with_capacity(n * groups * capacity);
            for &position in positions {
                for _ in 0..groups {
                    all.extend((0..capacity).map(|place| f(place, position)));
                }
            }
            all
        };
        let here = per_place(&|place, position| f32::from(u8::from(place == position)));
        let mask = per_place(&|place, position| if place <= position { 0.0 } else { MASKED });
        Step {
            query: rotated(0, heads, 1.0 / (config.head_dim as f32).sqrt()),
            key: rotated(heads, groups, 1.0),
            value: device.tensor_from_vec(vectors(heads + groups, groups), (n * groups,)),
            here: device.tensor_from_vec(here, (n * groups, capacity, 1)),
            mask: device.tensor_from_vec(mask, (n * groups, capacity)),
        }
    }
}

/// Reads one token of each sequence and gives the logits of the next.
fn go_on<D: Device<f32>, P: Product<D>>(
    ready: &Ready<Composed<D, P>>,
    cache: &mut Cache<D>,
    rows: &Rows,
) -> Vec<f32> {
    let decoder = ready.decoder;
    let device = decoder.embedding().device();
    let capacity = cache.layers[0].0.shape().1;
    let step = Step::new(device, &decoder.config, &decoder.rope, &rows.positions, capacity);
    let x = Composed::<D, P>::embedding(
        decoder.embedding(),
        &rows.tokens,
        decoder.config.embedding_scale(),
        NoneTape,
    );
    logits(ready, x, None, |layer, qkv| cache.attend(layer, &qkv, &step))
}

/// Fills a cache with the prompts and gives the logits of their first tokens.
fn read_prompts<D: Device<f32>, P: Product<D>>(
    ready: &Ready<Composed<D, P>>,
    prompts: &[Vec<u32>],
    capacity: usize,
) -> (Cache<D>, Vec<f32>) {
    let decoder = ready.decoder;
    let (config, device) = (&decoder.config, decoder.embedding().device());
    let (heads, groups, dim) = (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
    let columns = heads + 2 * groups;
    let mut starts = vec![0];
    prompts.iter().for_each(|p| starts.push(starts[starts.len() - 1] + p.len()));
    // For each sequence, group and place of the cache the vector that belongs there, or any if none does.
    let vectors = |first: usize| -> Vec<usize> {
        let mut all = Vec::with_capacity(prompts.len() * groups * capacity);
        for (prompt, start) in prompts.iter().zip(&starts) {
            for group in first..first + groups {
                all.extend((0..capacity).map(|t| (start + t.min(prompt.len() - 1)) * columns + group));
            }
        }
        all
    };
    let blocks = prompts.len() * groups;
    let positions: Vec<usize> = (0..capacity).collect();
    let places = (Positions::Second, &positions[..]);
    let keys = Rotated::new(device, &decoder.rope, &vectors(heads), (blocks, capacity), places, 1.0);
    let values: composed::Rows<D> = device.tensor_from_vec(vectors(heads + groups), (blocks * capacity,));
    let filled = prompts
        .iter()
        .flat_map(|p| (0..groups * capacity).map(move |i| f32::from(u8::from(i % capacity < p.len()))));
    let filled: Matrix<D> = device.tensor_from_vec(filled.collect(), (blocks, capacity));
    let filled: Block<D> = filled.broadcast_like::<_, Axis<2>>(&(blocks, capacity, dim));

    let last: Vec<usize> = starts[1..].iter().map(|end| end - 1).collect();
    let rope = decoder.rope.clone();
    let attention = Attention { heads, key_value_heads: groups, head_dim: dim, rope, starts };
    let plan = Composed::<D, P>::plan(device, &Arc::new(attention));
    let mut cache = Cache { layers: vec![], groups };
    let x = Composed::<D, P>::embedding(
        decoder.embedding(),
        &prompts.concat(),
        config.embedding_scale(),
        NoneTape,
    );
    let logits = logits(ready, x, Some(&last), |_, qkv| {
        let value: Block<D> = pick::<D, NoneTape>(&qkv, dim, &values).reshape_like(&(blocks, capacity, dim));
        cache.layers.push((keys.of::<NoneTape>(&qkv) * filled.clone(), value * filled.clone()));
        attend(qkv, &plan)
    });
    (cache, logits)
}

/// The decoder over rows `x`, with attention by `attend`; logits of all rows or of some.
fn logits<D: Device<f32>, P: Product<D>>(
    ready: &Ready<Composed<D, P>>,
    mut x: Matrix<D>,
    rows: Option<&[usize]>,
    mut attend: impl FnMut(usize, Matrix<D>) -> Matrix<D>,
) -> Vec<f32> {
    type O<D, P> = Composed<D, P>;
    let decoder = ready.decoder;
    let eps = decoder.config.rms_norm_eps;
    let last = decoder.config.num_hidden_layers - 1;
    for (index, layer) in ready.layers().enumerate() {
        let h = O::<D, P>::rms_norm(x.clone(), Norm { gain: layer.attention_norm, eps });
        let mut h = attend(index, O::<D, P>::linear(h, layer.qkv, None));
        if let (true, Some(rows)) = (index == last, rows) {
            h = O::<D, P>::gather(h, rows);
            x = O::<D, P>::gather(x, rows);
        }
        x = ready.after_attention(&layer, h, x);
    }
    let x = O::<D, P>::rms_norm(x, Norm { gain: decoder.norm(), eps });
    O::<D, P>::linear(x, ready.unembedding(), None).as_vec()
}
