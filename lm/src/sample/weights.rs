//! The decoder's matrices as sampling wants them.

use crate::decoder::Decoder;
use crate::ops::matmul::{Mat, Old, Size, matmul_here};
use crate::ops::view::view;
use crate::ops::{Fused, Matrix};
use dfdx::prelude::{Cpu, HasShape};

/// A weight as `[in, out]`. The product's kernels read it so; with few rows, turning it for each product would
/// take as long as the product. The sums are the same, in the same order.
pub(super) struct Transposed {
    values: Vec<f32>,
    inputs: usize,
    outputs: usize,
}

impl Transposed {
    fn new(weight: &Matrix<Cpu>) -> Transposed {
        const BLOCK: usize = 16;
        let (outputs, inputs) = *weight.shape();
        let (weight, mut values) = (view(weight), vec![0.0; inputs * outputs]);
        for first in (0..outputs).step_by(BLOCK) {
            let last = outputs.min(first + BLOCK);
            for (input, row) in values.chunks_exact_mut(outputs).enumerate() {
                for output in first..last {
                    row[output] = weight[output * inputs + input];
                }
            }
        }
        Transposed { values, inputs, outputs }
    }

    /// `y = x weight^T` or `y += x weight^T`, on this thread.
    pub fn apply(&self, x: &[f32], y: &mut [f32], old: Old) {
        let size = Size { m: x.len() / self.inputs, n: self.outputs, k: self.inputs };
        let weight = Mat::rows(&self.values, self.outputs);
        matmul_here(y, self.outputs, size, Mat::rows(x, self.inputs), weight, old);
    }
}

pub(super) struct LayerWeights {
    pub qkv: Transposed,
    pub output: Transposed,
    pub gate_up: Transposed,
    pub down: Transposed,
}

pub(super) struct Weights {
    pub layers: Vec<LayerWeights>,
    pub unembedding: Transposed,
}

impl Weights {
    pub fn new(decoder: &Decoder<Fused>) -> Weights {
        let layers = decoder.layers().map(|layer| LayerWeights {
            qkv: Transposed::new(layer.qkv),
            output: Transposed::new(layer.output),
            gate_up: Transposed::new(layer.gate_up),
            down: Transposed::new(layer.down),
        });
        Weights { layers: layers.collect(), unembedding: Transposed::new(decoder.unembedding()) }
    }

    pub fn bytes(&self) -> usize {
        let layers = self.layers.iter().flat_map(|l| [&l.qkv, &l.output, &l.gate_up, &l.down]);
        layers.chain([&self.unembedding]).map(|weight| size_of_val(&weight.values[..])).sum()
    }
}
