//! Packed batches: sequences of different lengths laid end to end, without padding.

use crate::config::{Config, Head};
use crate::error::{Error, Result};
use std::ops::Range;

/// Sequences, and the positions ("rows") of each whose output is wanted.
///
/// The row at position `r` reads the hidden state at `r`. With the language-model head it is about the next
/// token, `tokens[r + 1]`; with the scalar head it is a value. Outputs come in the order of the pushes.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    tokens: Vec<u32>,
    sequences: Vec<Sequence>,
    rows: usize,
}

#[derive(Clone, Debug)]
struct Sequence {
    start: usize,
    len: usize,
    rows: Range<usize>,
}

/// A batch that was checked against a model, as the operations want it.
#[derive(Debug)]
pub(crate) struct Packed {
    pub tokens: Vec<u32>,
    /// Where each sequence starts in `tokens`, and at last the end of the last one.
    pub starts: Vec<usize>,
    /// The rows as indices into `tokens`.
    pub rows: Vec<usize>,
    /// For each row the token that follows; empty for the scalar head.
    pub targets: Vec<u32>,
}

impl Batch {
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds a sequence. `rows` are positions in it: at most `0..len - 1` with the language-model head, at most
    /// `0..len` with the scalar head. That is checked when a model reads the batch.
    pub fn push(&mut self, tokens: &[u32], rows: Range<usize>) {
        self.rows += rows.len();
        self.sequences.push(Sequence { start: self.tokens.len(), len: tokens.len(), rows });
        self.tokens.extend_from_slice(tokens);
    }

    /// Number of rows over all sequences.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of tokens over all sequences.
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    pub fn sequences(&self) -> usize {
        self.sequences.len()
    }

    pub(crate) fn pack(&self, config: &Config, head: Head) -> Result<Packed> {
        let mut packed = Packed { tokens: vec![], starts: vec![0], rows: vec![], targets: vec![] };
        for (index, sequence) in self.sequences.iter().enumerate() {
            let Sequence { start, len, rows } = sequence.clone();
            check_tokens(index, &self.tokens[start..start + len], config)?;
            let last = if head == Head::Lm { len - 1 } else { len };
            if !rows.is_empty() && rows.end > last {
                return Err(Error::Batch {
                    sequence: index,
                    found: format!("rows {}..{} of {len} tokens", rows.start, rows.end),
                    expected: format!("rows within 0..{last} for a {} head", head.name()),
                });
            }
            if rows.is_empty() {
                continue;
            }
            // Nothing looks ahead: what follows the last row is not computed.
            let begin = packed.tokens.len();
            packed.tokens.extend_from_slice(&self.tokens[start..start + rows.end]);
            packed.rows.extend(rows.clone().map(|r| begin + r));
            if head == Head::Lm {
                packed.targets.extend(rows.map(|r| self.tokens[start + r + 1]));
            }
            packed.starts.push(packed.tokens.len());
        }
        Ok(packed)
    }
}

impl Packed {
    /// Cuts the batch into parts: whole sequences of about `len` tokens, as many parts as the tokens hold `len`, the
    /// last one begun included, or fewer.
    pub fn split(&self, len: usize) -> Vec<Packed> {
        let mut parts = vec![];
        let (mut first, mut row) = (0, 0);
        for next in 1..self.starts.len() {
            // What one part has too much, the next one has less: all of it would fall on the last one otherwise.
            let (begin, end) = (self.starts[first], self.starts[next]);
            if end < (begin / len + 1) * len && next + 1 < self.starts.len() {
                continue;
            }
            let rows = self.rows[row..].iter().take_while(|&&r| r < end).count();
            parts.push(Packed {
                tokens: self.tokens[begin..end].to_vec(),
                starts: self.starts[first..=next].iter().map(|s| s - begin).collect(),
                rows: self.rows[row..row + rows].iter().map(|r| r - begin).collect(),
                targets: self.targets.get(row..row + rows).unwrap_or_default().to_vec(),
            });
            (first, row) = (next, row + rows);
        }
        parts
    }
}

/// A sequence has at least one token, none beyond the vocabulary, and fits the positions of the model.
pub(crate) fn check_tokens(sequence: usize, tokens: &[u32], config: &Config) -> Result<()> {
    let fail = |found: String, expected: String| Err(Error::Batch { sequence, found, expected });
    if tokens.is_empty() || tokens.len() > config.max_position_embeddings {
        let most = config.max_position_embeddings;
        return fail(format!("{} tokens", tokens.len()), format!("1 to {most} (max_position_embeddings)"));
    }
    if let Some(id) = tokens.iter().find(|&&id| id as usize >= config.vocab_size) {
        return fail(format!("token id {id}"), format!("an id below vocab_size = {}", config.vocab_size));
    }
    Ok(())
}
