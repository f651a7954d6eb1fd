//! The decoder: the architecture of Llama (Touvron et al., 2023) and Gemma over any implementation of the operations.

use crate::batch::Packed;
use crate::config::{Config, Head};
use crate::ops::{Attention, Matrix, Norm, Ops, Rope, Vector};
use crate::parameters::{PER_LAYER, Slot, slots};
use dfdx::prelude::{Storage, Tape, TensorFromVec};
use std::sync::Arc;

#[cfg(test)]
mod tests;

pub(crate) struct Decoder<O: Ops> {
    pub config: Config,
    pub head: Head,
    pub slots: Arc<Vec<Slot>>,
    /// One for each slot, in its order.
    pub parameters: Vec<Matrix<O::Device>>,
    pub rope: Arc<Rope>,
}

impl<O: Ops> Clone for Decoder<O> {
    fn clone(&self) -> Self {
        Decoder { parameters: self.parameters.clone(), ..self.on() }
    }
}

/// A decoder whose matrices are laid out for products: what runs. Made for one step or one call.
pub(crate) struct Ready<'a, O: Ops> {
    pub decoder: &'a Decoder<O>,
    /// Those of the layers, and that of the language-model head.
    pub weights: Vec<O::Weight>,
}

/// The parameters of one layer; `W` is a matrix for products.
pub(crate) struct Layer<'a, D: Storage<f32>, W> {
    pub attention_norm: &'a Matrix<D>,
    pub qkv: &'a W,
    pub output: &'a W,
    pub mlp_norm: &'a Matrix<D>,
    pub gate_up: &'a W,
    pub down: &'a W,
}

/// Matrices of a layer, in the order of [`Decoder::ready`].
const MATRICES: usize = 4;

impl<O: Ops> Decoder<O> {
    /// This decoder for other operations, still without parameters.
    pub fn on<P: Ops>(&self) -> Decoder<P> {
        Decoder {
            config: self.config.clone(),
            head: self.head,
            slots: self.slots.clone(),
            parameters: vec![],
            rope: self.rope.clone(),
        }
    }

    /// A decoder with these values for its parameters, in the order of [`slots`]. The configuration is valid.
    pub fn new(config: Config, head: Head, device: &O::Device, values: Vec<Vec<f32>>) -> Self {
        let slots = slots(&config, head);
        let parameters = slots
            .iter()
            .zip(values)
            .map(|(slot, values)| device.tensor_from_vec(values, (slot.rows, slot.columns)))
            .collect();
        let rope = Rope::of(&config);
        Decoder { config, head, slots: Arc::new(slots), parameters, rope: Arc::new(rope) }
    }

    pub fn embedding(&self) -> &Matrix<O::Device> {
        &self.parameters[0]
    }

    pub fn ready(&self) -> Ready<'_, O> {
        let mut matrices = vec![];
        for Layer { qkv, output, gate_up, down, .. } in self.layers() {
            matrices.extend([qkv, output, gate_up, down]);
        }
        if self.head == Head::Lm {
            matrices.push(self.after_norm().first().unwrap_or(self.embedding()));
        }
        Ready { decoder: self, weights: O::weights(&matrices) }
    }

    fn layers(&self) -> impl Iterator<Item = Layer<'_, O::Device, Matrix<O::Device>>> {
        let (layers, _) = self.parameters[1..].as_chunks::<PER_LAYER>();
        layers[..self.config.num_hidden_layers].iter().map(
            |[attention_norm, qkv, output, mlp_norm, gate_up, down]| Layer {
                attention_norm,
                qkv,
                output,
                mlp_norm,
                gate_up,
                down,
            },
        )
    }

    pub fn norm(&self) -> &Matrix<O::Device> {
        &self.parameters[1 + PER_LAYER * self.config.num_hidden_layers]
    }

    fn after_norm(&self) -> &[Matrix<O::Device>] {
        &self.parameters[2 + PER_LAYER * self.config.num_hidden_layers..]
    }
}

impl<O: Ops> Ready<'_, O> {
    pub fn layers(&self) -> impl Iterator<Item = Layer<'_, O::Device, O::Weight>> {
        let (weights, _) = self.weights.as_chunks::<MATRICES>();
        self.decoder.layers().zip(weights).map(|(layer, [qkv, output, gate_up, down])| Layer {
            attention_norm: layer.attention_norm,
            qkv,
            output,
            mlp_norm: layer.mlp_norm,
            gate_up,
            down,
        })
    }

    /// What gives logits; for a decoder with a language-model head.
    pub fn unembedding(&self) -> &O::Weight {
        &self.weights[MATRICES * self.decoder.config.num_hidden_layers]
    }

    /// The last hidden states, normalized, of the rows of the batch: `[rows, hidden_size]`.
    pub fn hidden<T: Tape<f32, O::Device>>(&self, batch: &Packed, tape: T) -> Matrix<O::Device, T> {
        let Decoder { config, rope, .. } = self.decoder;
        let eps = config.rms_norm_eps;
        let attention = Arc::new(Attention {
            heads: config.num_attention_heads,
            key_value_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            rope: rope.clone(),
            starts: batch.starts.clone(),
        });
        let embedding = self.decoder.embedding();
        let plan = O::plan(embedding.device(), &attention);
        let mut x = O::embedding(embedding, &batch.tokens, config.embedding_scale(), tape);
        let last = config.num_hidden_layers - 1;
        for (index, layer) in self.layers().enumerate() {
            let norm = Norm { gain: layer.attention_norm, eps };
            let mut h = O::attend(x.retaped::<T>(), norm, layer.qkv, &plan);
            if index == last {
                // After the last attention no position looks at another: go on with the wanted rows only.
                h = O::gather(h, &batch.rows);
                x = O::gather(x, &batch.rows);
            }
            x = self.after_attention(&layer, h, x);
        }
        O::rms_norm(x, Norm { gain: self.decoder.norm(), eps })
    }

    /// The rest of a layer: `h` is what was attended to, `x` the residual stream.
    pub fn after_attention<T: Tape<f32, O::Device>>(
        &self,
        layer: &Layer<O::Device, O::Weight>,
        h: Matrix<O::Device, T>,
        x: Matrix<O::Device, T>,
    ) -> Matrix<O::Device, T> {
        let config = &self.decoder.config;
        let x = O::linear(h, layer.output, Some(x));
        let norm = Norm { gain: layer.mlp_norm, eps: config.rms_norm_eps };
        O::feed_forward(x, norm, layer.gate_up, config.gate(), layer.down)
    }

    /// One number for each row: the log-probability of the next token, or the scalar head's value. Nothing but
    /// operations of `O` is on the tape: `backend/host.rs` relies on it.
    pub fn outputs<T: Tape<f32, O::Device>>(&self, batch: &Packed, tape: T) -> Vector<O::Device, T> {
        let x = self.hidden(batch, tape);
        match (self.decoder.head, self.decoder.after_norm()) {
            (Head::Scalar, [weight, bias]) => O::scalar_head(x, weight, bias),
            _ => O::linear_log_prob(x, self.unembedding(), &batch.targets),
        }
    }
}
