//! A parameter that rows are multiplied with, laid out for that.

use super::panels::Panels;
use super::parallel::map;
use super::view::view;
use super::{Cpu, Matrix};
use dfdx::prelude::HasShape;
use std::sync::{Arc, OnceLock};

pub(crate) struct Weight {
    /// `[out, in]`
    pub matrix: Matrix<Cpu>,
    /// For `x weight^T`.
    pub forward: Panels,
    back: OnceLock<Panels>,
}

impl Weight {
    pub fn all(matrices: &[&Matrix<Cpu>]) -> Vec<Arc<Weight>> {
        map(matrices, |&matrix| {
            let forward = Panels::new(view(matrix), *matrix.shape());
            Arc::new(Weight { matrix: matrix.clone(), forward, back: OnceLock::new() })
        })
    }

    /// For `dy weight`: laid out when it is first asked for.
    pub fn back(&self) -> &Panels {
        self.back.get_or_init(|| Panels::transposed(view(&self.matrix), *self.matrix.shape()))
    }
}
