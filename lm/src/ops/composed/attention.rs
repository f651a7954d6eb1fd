//! Attention over sequences of different lengths as a few products of blocks.
//!
//! The rows of a packed batch are gathered into blocks `[sequences * heads, longest, head_dim]`, and what real
//! rows attended to is gathered back. Behind the end of a shorter sequence its last row is repeated: causality
//! keeps real rows from seeing it, and as nobody reads what it attends to, its gradient is zero.
//!
//! Everything is a gather of whole rows, which dfdx adds up in the gradient where rows repeat (`slice` does not:
//! on the CPU the second of two slices of the same elements replaces the gradient of the first).

use super::{Matrix, Rows};
use crate::ops::{Attention, Rope};
use dfdx::prelude::*;

pub(crate) type Block<D, T = NoneTape> = Tensor<(usize, usize, usize), f32, D, T>;

/// Far below any score, and still finite: `-inf - -inf` would be NaN in a gradient.
pub(crate) const MASKED: f32 = -1e10;

/// What attention needs to know of a batch, on the device; the same for all layers.
pub(crate) struct Plan<D: Storage<f32> + Storage<usize>> {
    query: Rotated<D>,
    key: Rotated<D>,
    value: Rows<D>,
    /// For each token and head its row of the result.
    back: Rows<D>,
    /// `[1, longest, longest]`, broadcast to the scores' shape.
    mask: Block<D>,
    tokens: usize,
}

/// Vectors `[a, b, head_dim]` picked from rows of `[queries | keys | values]` and turned to their positions.
///
/// With the row seen as halves of heads, `rotate(x) = x * [cos, cos] + swap(x) * [-sin, sin]`, and `swap` is one
/// gather more.
pub(crate) struct Rotated<D: Storage<f32> + Storage<usize>> {
    halves: Rows<D>,
    swapped: Rows<D>,
    cos: Block<D>,
    sin: Block<D>,
}

/// Which axis of `[a, b, head_dim]` says the position.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Positions {
    First,
    Second,
}

impl<D: Device<f32>> Rotated<D> {
    /// `heads` are the vectors to pick, in order, as indices of `head_dim` columns; `shape` is `(a, b)`. There is
    /// a position for each place along its axis. What is turned is also multiplied by `scale`.
    pub fn new(
        device: &D,
        rope: &Rope,
        heads: &[usize],
        (a, b): (usize, usize),
        (axis, positions): (Positions, &[usize]),
        scale: f32,
    ) -> Self {
        let rows = |swap: usize| {
            let rows: Vec<usize> =
                heads.iter().flat_map(|&head| [2 * head + swap, 2 * head + 1 - swap]).collect();
            let len = rows.len();
            device.tensor_from_vec(rows, (len,))
        };
        let dim = 2 * rope.at(0).0.len();
        let table = |row: &dyn Fn(usize) -> [Vec<f32>; 2]| -> Block<D> {
            let values = positions.iter().flat_map(|&position| row(position)).flatten();
            let values = values.map(|x| x * scale).collect();
            let table: Matrix<D> = device.tensor_from_vec(values, (positions.len(), dim));
            match axis {
                Positions::First => table.broadcast_like::<_, Axis<1>>(&(a, b, dim)),
                Positions::Second => table.broadcast_like::<_, Axis<0>>(&(a, b, dim)),
            }
        };
        let cos = table(&|position| [rope.at(position).0.to_vec(), rope.at(position).0.to_vec()]);
        let sin = table(&|position| {
            let sin = rope.at(position).1;
            [sin.iter().map(|x| -x).collect(), sin.to_vec()]
        });
        Rotated { halves: rows(0), swapped: rows(1), cos, sin }
    }

    /// Vectors for each place along the second axis.
    pub fn heads(&self) -> usize {
        self.cos.shape().1
    }

    /// The vectors of `qkv`, without its past.
    pub fn of<T: Tape<f32, D>>(&self, qkv: &Matrix<D, impl Sized>) -> Block<D, T> {
        let shape = *self.cos.shape();
        let half = shape.2 / 2;
        let pick = |rows: &Rows<D>| -> Block<D, T> { pick(qkv, half, rows).reshape_like(&shape) };
        pick(&self.halves) * self.cos.clone() + pick(&self.swapped) * self.sin.clone()
    }
}

/// Rows of `x` seen as a matrix of this width, without its past.
pub(crate) fn pick<D: Device<f32>, T: Tape<f32, D>>(
    x: &Matrix<D, impl Sized>,
    width: usize,
    rows: &Rows<D>,
) -> Matrix<D, T> {
    let (height, columns) = *x.shape();
    GatherTo::gather(x.retaped::<T>().reshape_like(&(height * columns / width, width)), rows.clone())
}

impl<D: Device<f32>> Plan<D> {
    pub fn new(device: &D, how: &Attention) -> Plan<D> {
        let (heads, groups, dim) = (how.heads, how.key_value_heads, how.head_dim);
        let (columns, sharing) = (heads + 2 * groups, heads / groups);
        let spans: Vec<(usize, usize)> = how.starts.windows(2).map(|w| (w[0], w[1] - w[0])).collect();
        let longest = spans.iter().map(|&(_, len)| len).max().unwrap_or(0);
        // For each sequence, head and place the index of a vector of `head_dim`.
        let vectors = |column: &dyn Fn(usize) -> usize| -> Vec<usize> {
            let mut all = Vec::with_capacity(spans.len() * heads * longest);
            for &(start, len) in &spans {
                for head in 0..heads {
                    let column = column(head);
                    all.extend((0..longest).map(|t| (start + t.min(len - 1)) * columns + column));
                }
            }
            all
        };
        let positions: Vec<usize> = (0..longest).collect();
        let blocks = spans.len() * heads;
        let rotated = |column: &dyn Fn(usize) -> usize, scale| {
            let (shape, positions) = ((blocks, longest), (Positions::Second, &positions[..]));
            Rotated::new(device, &how.rope, &vectors(column), shape, positions, scale)
        };
        let rows = |rows: Vec<usize>| {
            let len = rows.len();
            device.tensor_from_vec(rows, (len,))
        };
        let mut back = vec![];
        for (sequence, &(_, len)) in spans.iter().enumerate() {
            for t in 0..len {
                back.extend((0..heads).map(|head| (sequence * heads + head) * longest + t));
            }
        }
        let mask: Matrix<D> = device.upper_tri_like(&(longest, longest), MASKED, 1);
        Plan {
            query: rotated(&|head| head, 1.0 / (dim as f32).sqrt()),
            // Heads that share keys and values get copies of them.
            key: rotated(&|head| heads + head / sharing, 1.0),
            value: rows(vectors(&|head| heads + groups + head / sharing)),
            back: rows(back),
            mask: mask.broadcast_like::<_, Axis<0>>(&(blocks, longest, longest)),
            tokens: spans.iter().map(|&(_, len)| len).sum(),
        }
    }
}

pub(crate) fn attend<D: Device<f32>, T: Tape<f32, D>>(qkv: Matrix<D, T>, plan: &Plan<D>) -> Matrix<D, T> {
    let (qkv, past) = qkv.split_tape();
    let shape = *plan.query.cos.shape();
    let (blocks, longest, dim) = shape;
    let query: Block<D, T> = plan.query.of(&qkv);
    let key: Block<D, T> = plan.key.of(&qkv);
    let value = pick::<D, T>(&qkv, dim, &plan.value).reshape_like(&shape);
    let scores = query.matmul(key.permute::<_, Axes3<0, 2, 1>>()) + plan.mask.clone();
    let attended = scores.softmax::<Axis<2>>().matmul(value).reshape_like(&(blocks * longest, dim));
    let rows: Matrix<D, T> = GatherTo::gather(attended, plan.back.clone());
    let width = rows.shape().0 * dim / plan.tokens;
    let (y, recorded) = rows.reshape_like(&(plan.tokens, width)).split_tape();
    y.put_tape(past.merge(recorded))
}
