//! Each operation as a function of plain matrices, so that implementations can be held against each other.

use super::{Attention, Gate, Matrix, Norm, Ops, Vector};
use dfdx::prelude::*;
use std::sync::Arc;

pub(crate) type Traced<D> = Matrix<D, OwnedTape<f32, D>>;

/// An operation on matrices that gives any number of values.
pub(crate) trait Function {
    fn run<O: Ops>(&self, inputs: &[Matrix<O::Device>]) -> Traced<O::Device>;
}

/// The values `f(inputs)`, and the gradient of `sum(f(inputs) * weights)` for each input.
#[cfg(any(test, feature = "cuda"))]
pub(crate) fn evaluate<O: Ops>(
    device: &O::Device,
    f: &impl Function,
    shapes: &[(usize, usize)],
    inputs: &[Vec<f32>],
    weights: &[f32],
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let inputs: Vec<Matrix<O::Device>> =
        inputs.iter().zip(shapes).map(|(v, s)| device.tensor_from_vec(v.clone(), *s)).collect();
    let y = f.run::<O>(&inputs);
    let values = y.as_vec();
    let weights = device.tensor_from_vec(weights[..values.len()].to_vec(), *y.shape());
    let mut gradients = (y * weights).sum::<(), Axes2<0, 1>>().backward();
    let gradients = inputs.iter().map(|x| {
        gradients.try_alloc_for(x).expect("memory for a gradient");
        gradients.get(x).as_vec()
    });
    (values, gradients.collect())
}

/// Defines an operation as a [`Function`] with some captured settings.
macro_rules! function {
    ($name:ident { $($field:ident : $type:ty),* }, |$self:ident, $inputs:ident| $body:expr) => {
        pub(crate) struct $name { $(pub $field: $type),* }
        impl Function for $name {
            fn run<O: Ops>(&$self, $inputs: &[Matrix<O::Device>]) -> Traced<O::Device> { $body }
        }
    };
}

fn traced<D: Device<f32>>(x: &Matrix<D>) -> Traced<D> {
    x.retaped()
}

fn weight<O: Ops>(matrix: &Matrix<O::Device>) -> O::Weight {
    O::weights(&[matrix]).remove(0)
}

fn norm<D: Device<f32>>(gain: &Matrix<D>) -> Norm<'_, D> {
    Norm { gain, eps: 1e-5 }
}

fn column<D: Device<f32>>(y: Vector<D, OwnedTape<f32, D>>) -> Traced<D> {
    let shape = (y.shape().0, 1);
    y.reshape_like(&shape)
}

function!(Embedding { ids: Vec<u32>, scale: f32 }, |self, x| {
    O::embedding(&x[0], &self.ids, self.scale, OwnedTape::default())
});
function!(RmsNorm {}, |self, x| O::rms_norm(traced(&x[0]), norm(&x[1])));
function!(Linear {}, |self, x| O::linear(traced(&x[0]), &weight::<O>(&x[1]), None));
function!(Residual {}, |self, x| O::linear(traced(&x[0]), &weight::<O>(&x[1]), Some(traced(&x[2]))));
function!(Attend { how: Arc<Attention> }, |self, x| {
    let plan = O::plan(x[0].device(), &self.how);
    O::attend(traced(&x[0]), norm(&x[1]), &weight::<O>(&x[2]), &plan)
});
function!(FeedForward { gate: Gate }, |self, x| {
    let (gate_up, down) = (weight::<O>(&x[2]), weight::<O>(&x[3]));
    O::feed_forward(traced(&x[0]), norm(&x[1]), &gate_up, self.gate, &down)
});
function!(Gather { rows: Vec<usize> }, |self, x| O::gather(traced(&x[0]), &self.rows));
function!(LogProb { targets: Vec<u32> }, |self, x| {
    column(O::linear_log_prob(traced(&x[0]), &weight::<O>(&x[1]), &self.targets))
});
function!(ScalarHead {}, |self, x| column(O::scalar_head(traced(&x[0]), &x[1], &x[2])));
