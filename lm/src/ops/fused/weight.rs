//! A parameter that rows are multiplied with, laid out for that.

use super::handover::{Gradient, Input};
use super::matmul::{Mat, Size, new_matmul};
use super::panels::Panels;
use super::parallel::map;
use super::view::view;
use super::{Cpu, Matrix};
use dfdx::prelude::{CpuError, Gradients, HasShape};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

pub(crate) struct Layout {
    /// `[out, in]`
    pub matrix: Matrix<Cpu>,
    /// For `x weight^T`.
    pub forward: Panels,
    back: OnceLock<Panels>,
}

impl Layout {
    /// For `dy weight`: laid out when it is first asked for.
    pub fn back(&self) -> &Panels {
        self.back.get_or_init(|| Panels::transposed(view(&self.matrix), *self.matrix.shape()))
    }
}

/// A layout, which many share, and where its gradient is gathered.
#[derive(Clone)]
pub(crate) struct Weight {
    layout: Arc<Layout>,
    /// None if dfdx keeps it.
    gradient: Option<Arc<Gradient>>,
}

impl Deref for Weight {
    type Target = Layout;

    fn deref(&self) -> &Layout {
        &self.layout
    }
}

impl Weight {
    pub fn all(matrices: &[&Matrix<Cpu>]) -> Vec<Weight> {
        map(matrices, |&matrix| {
            let forward = Panels::new(view(matrix), *matrix.shape());
            let layout = Layout { matrix: matrix.clone(), forward, back: OnceLock::new() };
            Weight { layout: Arc::new(layout), gradient: None }
        })
    }

    /// The same with a gradient of its own, which dfdx does not see, and which [`Weight::take_gradient`] gives. The matrix is
    /// then used through this alone.
    pub fn apart(&self) -> Weight {
        Weight { layout: self.layout.clone(), gradient: Some(Arc::default()) }
    }

    /// What was handed back since [`Weight::apart`], if anything was.
    pub fn take_gradient(&self) -> Option<Vec<f32>> {
        let gradient = self.gradient.as_ref()?.take();
        (!gradient.is_empty()).then_some(gradient)
    }

    /// Adds the gradient of a product with rows `x`, given that of the product.
    pub(super) fn hand_back(
        &self,
        gradients: &mut Gradients<f32, Cpu>,
        dy: &[f32],
        x: &[f32],
    ) -> Result<(), CpuError> {
        let (m, n) = *self.matrix.shape();
        let size = Size { m, n, k: x.len() / n };
        self.input().put(gradients, new_matmul(size, Mat::rows(dy, m).transposed(), Mat::rows(x, n)))
    }

    /// Where a gradient goes.
    pub(super) fn input(&self) -> Input {
        Input::with(&self.matrix, self.gradient.clone())
    }
}
