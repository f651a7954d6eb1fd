//! Causal self-attention within each sequence: rotary positions, grouped queries, blocks of queries.
//!
//! The query heads that share a key-value head are stacked, so that a product serves them all. Queries go in
//! blocks: a block looks only at keys up to its own end, which spares almost half of the work on long sequences.

use super::handover::{Input, Output, give_back};
use super::matmul::{Mat, Old, Size, matmul_here};
use super::parallel::{each_with, pieces_mut};
use super::transpose::{TILE, transpose};
use super::view::view;
use super::{Attention, Cpu, Matrix, Tape, add, kernels, record, room, tensor};
use dfdx::prelude::{HasShape, PutTape, SplitTape};
use std::sync::Arc;

/// Query positions in a block.
const BLOCK: usize = 32;

/// A block of query positions of one sequence.
#[derive(Clone, Copy)]
struct Block {
    first: usize,
    positions: usize,
    /// Keys that the block may look at.
    end: usize,
}

fn blocks(len: usize) -> impl Iterator<Item = Block> {
    (0..len).step_by(BLOCK).map(move |first| {
        let positions = BLOCK.min(len - first);
        Block { first, positions, end: first + positions }
    })
}

/// Where the parts of one key-value head lie in the rows of one sequence.
#[derive(Clone, Copy)]
struct Group {
    /// Query heads that share the key-value head.
    heads: usize,
    dim: usize,
    /// Width of a row of `[queries | keys | values]` and of an output row.
    width: usize,
    out_width: usize,
    /// Columns of the first query head (in rows and in outputs), the keys and the values.
    query: usize,
    key: usize,
    value: usize,
}

impl Attention {
    fn groups(&self) -> impl Iterator<Item = Group> {
        let (dim, heads) = (self.head_dim, self.heads / self.key_value_heads);
        (0..self.key_value_heads).map(move |group| Group {
            heads,
            dim,
            width: (self.heads + 2 * self.key_value_heads) * dim,
            out_width: self.heads * dim,
            query: group * heads * dim,
            key: (self.heads + group) * dim,
            value: (self.heads + self.key_value_heads + group) * dim,
        })
    }

    fn lengths(&self) -> impl Iterator<Item = usize> {
        self.starts.windows(2).map(|w| w[1] - w[0])
    }

    /// Number of attention weights that one head of a sequence holds.
    fn weights(len: usize) -> usize {
        blocks(len).map(|b| b.positions * b.end).sum()
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// Memory of one task, used again for each sequence, head and block.
#[derive(Default)]
struct Scratch {
    queries: Vec<f32>,
    keys: Vec<f32>,
    /// Keys or values as `[dim][positions]`.
    columns: Vec<f32>,
    stacked: Vec<f32>,
    dscores: Vec<f32>,
    dqueries: Vec<f32>,
    dkeys: Vec<f32>,
    dvalues: Vec<f32>,
}

impl Group {
    /// Calls `visit(row in the stack, position, query head)` for the queries of a block. The stack holds a
    /// head's positions side by side.
    fn stack(self, block: Block, mut visit: impl FnMut(usize, usize, usize)) {
        for head in 0..self.heads {
            for i in 0..block.positions {
                visit(head * block.positions + i, block.first + i, head);
            }
        }
    }

    /// The rows of the stack of a block, as outputs have them; in place if one head makes the stack.
    fn stacked<'a>(self, block: Block, outputs: &'a [f32], buffer: &'a mut Vec<f32>) -> Mat<'a> {
        let (dim, width) = (self.dim, self.out_width);
        if self.heads == 1 {
            return Mat::rows(&outputs[block.first * width + self.query..], width);
        }
        let stack = room(buffer, self.heads * block.positions * dim);
        self.stack(block, |row, position, head| {
            let from = position * width + self.query + head * dim;
            stack[row * dim..][..dim].copy_from_slice(&outputs[from..][..dim]);
        });
        Mat::rows(stack, dim)
    }

    /// Turned and scaled queries (block by block, each block stacked), and turned keys.
    fn turned(self, how: &Attention, x: &[f32], queries: &mut [f32], keys: &mut [f32]) {
        let (dim, len) = (self.dim, x.len() / self.width);
        for block in blocks(len) {
            let queries = &mut queries[block.first * self.heads * dim..];
            self.stack(block, |row, position, head| {
                let from = position * self.width + self.query + head * dim;
                how.rope.turn(position, &x[from..][..dim], &mut queries[row * dim..][..dim], how.scale());
            });
        }
        for (position, key) in keys.chunks_exact_mut(dim).enumerate() {
            how.rope.turn(position, &x[position * self.width + self.key..][..dim], key, 1.0);
        }
    }
}

pub(super) fn attention<T: Tape<f32, Cpu>>(qkv: Matrix<Cpu, T>, how: &Arc<Attention>) -> Matrix<Cpu, T> {
    let (qkv, mut tape) = qkv.split_tape();
    let (tokens, width) = *qkv.shape();
    let out_width = how.heads * how.head_dim;
    let mut y = vec![0.0; tokens * out_width];
    let total: usize = how.lengths().map(|len| how.heads * Attention::weights(len)).sum();
    let mut weights = vec![0.0; total];
    let sequences = view_sequences(how, view(&qkv), width)
        .zip(pieces_mut(&mut y, how.lengths().map(|len| len * out_width)))
        .zip(pieces_mut(&mut weights, how.lengths().map(|len| how.heads * Attention::weights(len))));
    each_with(sequences, Scratch::default, |scratch, ((x, y), weights)| {
        forward(how, x, y, weights, scratch);
    });
    let y = tensor(&qkv, y, (tokens, out_width));
    let (out, how, input) = (Output::new::<T>(&y), how.clone(), Input::new(&qkv));
    record(&mut tape, move |gradients| {
        let dy = out.take(gradients)?;
        let mut rest = &weights[..];
        let weights = how.lengths().map(|len| {
            let (piece, after) = rest.split_at(how.heads * Attention::weights(len));
            rest = after;
            piece
        });
        input.write(gradients, |dqkv, old| {
            let sequences = view_sequences(&how, view(&qkv), width)
                .zip(view_sequences(&how, &dy, out_width))
                .zip(weights)
                .zip(pieces_mut(dqkv, how.lengths().map(|len| len * width)));
            each_with(sequences, Scratch::default, |scratch, (((x, dy), weights), dx)| {
                backward(&how, x, dy, weights, dx, old, scratch);
            });
        })?;
        give_back(dy);
        Ok(())
    });
    y.put_tape(tape)
}

fn view_sequences<'a>(how: &'a Attention, rows: &'a [f32], width: usize) -> impl Iterator<Item = &'a [f32]> {
    how.starts.windows(2).map(move |w| &rows[w[0] * width..w[1] * width])
}

/// Rows of `(positions, dim)` as `[dim][positions]`, whose rows are a second number apart: products lay that out faster.
fn columns<'a>(
    rows: &[f32],
    stride: usize,
    (positions, dim): (usize, usize),
    buffer: &'a mut Vec<f32>,
) -> (&'a [f32], usize) {
    let to_stride = positions.next_multiple_of(TILE);
    let columns = room(buffer, dim * to_stride);
    transpose(&rows[..(positions - 1) * stride + dim], stride, dim, columns, to_stride);
    (columns, to_stride)
}

/// One sequence: fills its outputs `y` and the attention weights, which the gradient needs.
fn forward(how: &Attention, x: &[f32], y: &mut [f32], mut weights: &mut [f32], scratch: &mut Scratch) {
    for group in how.groups() {
        let Group { heads, dim, width, out_width, .. } = group;
        let len = x.len() / width;
        let queries = room(&mut scratch.queries, heads * len * dim);
        let keys = room(&mut scratch.keys, len * dim);
        group.turned(how, x, queries, keys);
        let (keys, stride) = columns(keys, dim, (len, dim), &mut scratch.columns);
        for block in blocks(len) {
            let (rows, end) = (heads * block.positions, block.end);
            let scores;
            (scores, weights) = std::mem::take(&mut weights).split_at_mut(rows * end);
            let queries = Mat::rows(&queries[block.first * heads * dim..], dim);
            let size = Size { m: rows, n: end, k: dim };
            matmul_here(scores, end, size, queries, Mat::rows(keys, stride), Old::Overwrite);
            group.stack(block, |row, position, _| {
                let (seen, later) = scores[row * end..][..end].split_at_mut(position + 1);
                kernels::softmax(seen);
                later.fill(0.0);
            });
            let size = Size { m: block.positions, n: dim, k: end };
            let values = Mat::rows(&x[group.value..], width);
            for (head, scores) in scores.chunks_exact(block.positions * end).enumerate() {
                let y = &mut y[block.first * out_width + group.query + head * dim..];
                matmul_here(y, out_width, size, Mat::rows(scores, end), values, Old::Overwrite);
            }
        }
    }
}

/// One sequence: writes the gradient `dx` of its queries, keys and values, or adds to it.
fn backward(
    how: &Attention,
    x: &[f32],
    dy: &[f32],
    mut weights: &[f32],
    dx: &mut [f32],
    old: Old,
    scratch: &mut Scratch,
) {
    for group in how.groups() {
        let Group { heads, dim, width, .. } = group;
        let len = x.len() / width;
        let queries = room(&mut scratch.queries, heads * len * dim);
        let keys = room(&mut scratch.keys, len * dim);
        group.turned(how, x, queries, keys);
        let dqueries = room(&mut scratch.dqueries, heads * len * dim);
        let (dkeys, dvalues) = (room(&mut scratch.dkeys, len * dim), room(&mut scratch.dvalues, len * dim));
        dkeys.fill(0.0);
        dvalues.fill(0.0);
        let (values, stride) = columns(&x[group.value..], width, (len, dim), &mut scratch.columns);
        for block in blocks(len) {
            let (rows, end) = (heads * block.positions, block.end);
            let probabilities;
            (probabilities, weights) = weights.split_at(rows * end);
            let dout = group.stacked(block, dy, &mut scratch.stacked);
            let dscores = room(&mut scratch.dscores, rows * end);
            let size = Size { m: rows, n: end, k: dim };
            matmul_here(dscores, end, size, dout, Mat::rows(values, stride), Old::Overwrite);
            for (dscores, p) in dscores.chunks_exact_mut(end).zip(probabilities.chunks_exact(end)) {
                let mean = kernels::dot(dscores, p);
                for (dscore, p) in dscores.iter_mut().zip(p) {
                    *dscore = (*dscore - mean) * p;
                }
            }
            let (dscores, p) = (Mat::rows(dscores, end), Mat::rows(probabilities, end));
            let offset = block.first * heads * dim;
            let size = Size { m: rows, n: dim, k: end };
            matmul_here(&mut dqueries[offset..], dim, size, dscores, Mat::rows(keys, dim), Old::Overwrite);
            let size = Size { m: end, n: dim, k: rows };
            let queries = Mat::rows(&queries[offset..], dim);
            matmul_here(dkeys, dim, size, dscores.transposed(), queries, Old::Add);
            matmul_here(dvalues, dim, size, p.transposed(), dout, Old::Add);
        }
        // Each value of `dx` belongs to one head.
        for block in blocks(len) {
            let dqueries = &dqueries[block.first * heads * dim..];
            group.stack(block, |row, position, head| {
                let dx = &mut dx[position * width + group.query + head * dim..][..dim];
                how.rope.turn_back(position, &dqueries[row * dim..][..dim], dx, how.scale(), old);
            });
        }
        let rows = dkeys.chunks_exact(dim).zip(dvalues.chunks_exact(dim));
        for (position, (dkey, dvalue)) in rows.enumerate() {
            let dx = &mut dx[position * width..];
            how.rope.turn_back(position, dkey, &mut dx[group.key..][..dim], 1.0, old);
            let dx = &mut dx[group.value..][..dim];
            match old {
                Old::Overwrite => dx.copy_from_slice(dvalue),
                Old::Add => add(dx, dvalue),
            }
        }
    }
}
