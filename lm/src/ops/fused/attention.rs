//! Causal self-attention within each sequence: rotary positions, grouped queries, blocks of queries.
//!
//! The query heads that share a key-value head are stacked, so that a product serves them all. Queries go in
//! blocks: a block looks only at keys up to its own end, which spares almost half of the work on long sequences.
//!
//! Queries and keys are turned as soon as they are computed, and their gradients are turned back just before they are used: in
//! between, products read and write heads where they lie in rows of `[queries | keys | values]`.

use super::handover::{Input, Output, give_back, memory};
use super::matmul::{Mat, Old, Size, matmul_here, new_matmul_here, write_here};
use super::normed::Normed;
use super::parallel::{each_with, pieces_mut};
use super::transpose::{TILE, transpose};
use super::view::view;
use super::{
    Attention, Cpu, Matrix, Norm, ROWS, Tape, Weight, kernels, record, room, tensor, unwritten, written,
};
use crate::ops::Turn;
use dfdx::prelude::{HasShape, PutTape, SplitTape};
use std::mem::MaybeUninit;
use std::sync::Arc;

/// Query positions in a block.
const BLOCK: usize = 32;

/// What all layers need to know of a batch.
pub(crate) struct Plan {
    how: Arc<Attention>,
    /// Of each token in its sequence.
    positions: Vec<usize>,
}

impl Plan {
    pub fn new(how: &Arc<Attention>) -> Plan {
        Plan { how: how.clone(), positions: how.lengths().flat_map(|len| 0..len).collect() }
    }

    /// Turns the queries and keys of some rows to their positions, or their gradients back.
    fn turn(&self, turn: Turn, positions: &[usize], rows: &mut [f32]) {
        let heads = (self.how.heads, self.how.key_value_heads);
        for (row, &position) in rows.chunks_exact_mut(self.how.width()).zip(positions) {
            self.how.rope.turn(turn, position, row, heads);
        }
    }
}

pub(super) fn attend<T: Tape<f32, Cpu>>(
    x: Matrix<Cpu, T>,
    norm: Norm<Cpu>,
    qkv: &Weight,
    plan: &Arc<Plan>,
) -> Matrix<Cpu, T> {
    let (x, mut tape) = x.split_tape();
    let (normed, how) = (Normed::new(norm, qkv), &plan.how);
    let ((tokens, hidden), width, out_width) = (*x.shape(), how.width(), how.heads * how.head_dim);
    assert!(plan.positions.len() == tokens, "a plan for another batch");
    assert!(
        normed.width() == width && how.heads.is_multiple_of(how.key_value_heads),
        "a weight of another width"
    );
    let project = |rows: &mut [MaybeUninit<f32>]| {
        let chunks = view(&x).chunks(ROWS * hidden).zip(rows.chunks_mut(ROWS * width));
        each_with(chunks.zip(plan.positions.chunks(ROWS)), Vec::new, |scratch, ((x, rows), positions)| {
            plan.turn(Turn::To, positions, normed.product(x, scratch, rows));
        });
    };
    // SAFETY: a product overwrites all: there is a chunk of positions for each of rows.
    let rows = unsafe { written(tokens * width, project) };
    let mut probabilities = vec![];
    let total = if T::OWNS_TAPE { how.weights().sum() } else { 0 };
    let kept = unwritten(&mut probabilities, total);
    let attend = |y: &mut [MaybeUninit<f32>]| {
        let mut kept = pieces_mut(kept, how.weights());
        let sequences = how.sequences(&rows, width);
        let sequences = sequences.zip(pieces_mut(y, how.lengths().map(|len| len * out_width)));
        let sequences = sequences.map(|task| (task, if T::OWNS_TAPE { kept.next() } else { None }));
        each_with(sequences, Scratch::default, |scratch, ((x, y), kept)| forward(how, x, y, kept, scratch));
    };
    // SAFETY: sequences have as many rows as there are positions; products overwrite those of each head, and all heads
    // together have all columns.
    let y = unsafe { written(tokens * out_width, attend) };
    // SAFETY: so many were kept: each head and block overwrote its own.
    unsafe { probabilities.set_len(total) };
    let y = tensor(&x, y, (tokens, out_width));
    let (out, plan, input) = (Output::new::<T>(&y), plan.clone(), Input::new(&x));
    record(&mut tape, move |gradients| {
        let (dy, how) = (out.take(gradients)?, &plan.how);
        let mut drows = memory(tokens * width);
        let mut rest = &probabilities[..];
        let kept = how.weights().map(|len| {
            let (piece, after) = rest.split_at(len);
            rest = after;
            piece
        });
        let sequences = how.sequences(&rows, width).zip(how.sequences(&dy, out_width)).zip(kept);
        let sequences = sequences.zip(pieces_mut(&mut drows, how.lengths().map(|len| len * width)));
        each_with(sequences, Scratch::default, |scratch, (((x, dy), probabilities), dx)| {
            backward(how, x, dy, probabilities, dx, scratch);
        });
        drop((rows, probabilities));
        give_back(dy);
        let positions = |rows: usize| plan.positions.chunks(rows);
        normed.back(&input, gradients, drows, None, positions, |positions, rows, _, drows| {
            plan.turn(Turn::Back, &positions[rows], drows);
        })
    });
    y.put_tape(tape)
}

impl Attention {
    fn groups(&self) -> impl Iterator<Item = Group> {
        let (dim, heads) = (self.head_dim, self.heads / self.key_value_heads);
        (0..self.key_value_heads).map(move |group| Group {
            heads,
            dim,
            width: self.width(),
            out_width: self.heads * dim,
            query: group * heads * dim,
            key: (self.heads + group) * dim,
            value: (self.heads + self.key_value_heads + group) * dim,
        })
    }

    fn lengths(&self) -> impl Iterator<Item = usize> {
        self.starts.windows(2).map(|w| w[1] - w[0])
    }

    /// Of a row of `[queries | keys | values]`.
    fn width(&self) -> usize {
        (self.heads + 2 * self.key_value_heads) * self.head_dim
    }

    /// Number of attention weights that each sequence holds.
    fn weights(&self) -> impl Iterator<Item = usize> {
        self.lengths().map(|len| self.heads * blocks(len).map(|b| b.positions * b.end).sum::<usize>())
    }

    /// The rows of each sequence.
    fn sequences<'a>(&'a self, rows: &'a [f32], width: usize) -> impl Iterator<Item = &'a [f32]> {
        self.starts.windows(2).map(move |w| &rows[w[0] * width..w[1] * width])
    }
}

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

/// Memory of one task, used again for each sequence, head and block.
#[derive(Default)]
struct Scratch {
    /// Keys or values as `[dim][positions]`.
    columns: Vec<f32>,
    /// Query heads, and gradients of what they attended to, side by side.
    queries: Vec<f32>,
    douts: Vec<f32>,
    probabilities: Vec<f32>,
    dscores: Vec<f32>,
}

impl Group {
    /// The query heads of a block: a head's positions side by side, in rows that are `width` wide. Where they lie if there is
    /// only one.
    fn stacked<'a>(self, block: Block, rows: &'a [f32], width: usize, buffer: &'a mut Vec<f32>) -> Mat<'a> {
        let (dim, positions) = (self.dim, block.positions);
        let rows = &rows[block.first * width + self.query..];
        if self.heads == 1 {
            return Mat::rows(rows, width);
        }
        let stack = room(buffer, self.heads * positions * dim);
        for (head, stack) in stack.chunks_exact_mut(positions * dim).enumerate() {
            for (to, row) in stack.chunks_exact_mut(dim).zip(rows.chunks(width)) {
                to.copy_from_slice(&row[head * dim..][..dim]);
            }
        }
        Mat::rows(stack, dim)
    }

    /// Keys or values, at this column, as `[dim][positions]`. These rows are a second number apart: products lay that out
    /// faster.
    fn columns<'a>(self, x: &[f32], column: usize, buffer: &'a mut Vec<f32>) -> Mat<'a> {
        let (dim, width, positions) = (self.dim, self.width, x.len() / self.width);
        // An odd number of lines: rows then lie in different sets of the innermost cache.
        let stride = (positions.div_ceil(TILE) | 1) * TILE;
        let columns = room(buffer, dim * stride);
        transpose(&x[column..][..(positions - 1) * width + dim], width, dim, columns, stride);
        Mat::rows(columns, stride)
    }
}

/// One sequence: fills its outputs `y`, and `kept` with the attention weights, which the gradient needs.
fn forward(
    how: &Attention,
    x: &[f32],
    y: &mut [MaybeUninit<f32>],
    mut kept: Option<&mut [MaybeUninit<f32>]>,
    scratch: &mut Scratch,
) {
    for group in how.groups() {
        let Group { heads, dim, width, out_width, .. } = group;
        let keys = group.columns(x, group.key, &mut scratch.columns);
        for block in blocks(x.len() / width) {
            let (rows, end) = (heads * block.positions, block.end);
            let scores = match kept.take() {
                Some(all) => {
                    let (here, rest) = all.split_at_mut(rows * end);
                    kept = Some(rest);
                    here
                }
                None => unwritten(&mut scratch.probabilities, rows * end),
            };
            let queries = group.stacked(block, x, width, &mut scratch.queries);
            let scores = new_matmul_here(scores, Size { m: rows, n: end, k: dim }, queries, keys);
            for (row, scores) in scores.chunks_exact_mut(end).enumerate() {
                let position = block.first + row % block.positions;
                let (seen, later) = scores.split_at_mut(position + 1);
                kernels::softmax(seen);
                later.fill(0.0);
            }
            let size = Size { m: block.positions, n: dim, k: end };
            let values = Mat::rows(&x[group.value..], width);
            for (head, scores) in scores.chunks_exact(block.positions * end).enumerate() {
                let y = &mut y[block.first * out_width + group.query + head * dim..];
                write_here(y, out_width, size, Mat::rows(scores, end), values, Old::Overwrite);
            }
        }
    }
}

/// One sequence: writes the gradient `dx` of its queries, keys and values, each value of which belongs to one head.
fn backward(
    how: &Attention,
    x: &[f32],
    dy: &[f32],
    mut probabilities: &[f32],
    dx: &mut [f32],
    scratch: &mut Scratch,
) {
    for group in how.groups() {
        let Group { heads, dim, width, out_width, .. } = group;
        let keys = Mat::rows(&x[group.key..], width);
        let values = group.columns(x, group.value, &mut scratch.columns);
        for block in blocks(x.len() / width) {
            let (rows, end) = (heads * block.positions, block.end);
            let p;
            (p, probabilities) = probabilities.split_at(rows * end);
            let dout = group.stacked(block, dy, out_width, &mut scratch.douts);
            let dscores = room(&mut scratch.dscores, rows * end);
            matmul_here(dscores, end, Size { m: rows, n: end, k: dim }, dout, values, Old::Overwrite);
            for (dscores, p) in dscores.chunks_exact_mut(end).zip(p.chunks_exact(end)) {
                let mean = kernels::dot(dscores, p);
                for (dscore, p) in dscores.iter_mut().zip(p) {
                    *dscore = (*dscore - mean) * p;
                }
            }
            let size = Size { m: block.positions, n: dim, k: end };
            for (head, dscores) in dscores.chunks_exact(block.positions * end).enumerate() {
                let dqueries = &mut dx[block.first * width + group.query + head * dim..];
                matmul_here(dqueries, width, size, Mat::rows(dscores, end), keys, Old::Overwrite);
            }
            let queries = group.stacked(block, x, width, &mut scratch.queries);
            let (dscores, p) = (Mat::rows(dscores, end).transposed(), Mat::rows(p, end).transposed());
            // No block before has seen the keys of this one.
            for (first, m, old) in
                [(0, block.first, Old::Add), (block.first, block.positions, Old::Overwrite)]
            {
                let size = Size { m, n: dim, k: rows };
                let dkeys = &mut dx[first * width + group.key..];
                matmul_here(dkeys, width, size, dscores.from(first, 0), queries, old);
                let dvalues = &mut dx[first * width + group.value..];
                matmul_here(dvalues, width, size, p.from(first, 0), dout, old);
            }
        }
    }
}
