//! Gradients of what one operation hands to the next.
//!
//! dfdx clears the gradient of a tensor before anything is added to it; that alone took a twentieth of a training step.
//! Between two operations of ours a gradient begins as what is first written to it, in memory that another one had.
//! dfdx keeps a tensor's identity to itself, so that a tensor is known by its address, which [`Output`] keeps alive.
//!
//! What an operation of ours has taken as its input is not used by one of dfdx as well: that one's gradient would be lost.

use super::matmul::Old;
use super::view::view;
use super::{CHUNK, Cpu, Matrix, add, parallel::each, take};
use dfdx::prelude::{CpuError, Gradients, Tape};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What was handed back so far: empty until something is.
#[derive(Default)]
pub(crate) struct Gradient(Mutex<Vec<f32>>);

impl Gradient {
    fn get(&self) -> MutexGuard<'_, Vec<f32>> {
        // Where a thread panicked while it wrote, nobody goes on.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn take(&self) -> Vec<f32> {
        std::mem::take(&mut *self.get())
    }
}

thread_local! {
    /// Outputs that this thread has recorded, by address. What is no longer on a tape is gone.
    static OUTPUTS: RefCell<HashMap<usize, Weak<Gradient>>> = RefCell::default();
    /// Memory of gradients that were used.
    static SPARE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(vec![]) };
}

/// The most pieces of memory that a thread keeps until its way back ends.
const SPARES: usize = 8;

/// What a tensor is known by while it is alive.
pub(crate) fn address(tensor: &Matrix<Cpu>) -> usize {
    view(tensor).as_ptr() as usize
}

/// What an operation gave.
pub(super) struct Output {
    tensor: Matrix<Cpu>,
    gradient: Arc<Gradient>,
}

impl Output {
    /// To be made before the tensor is handed on.
    pub fn new<T: Tape<f32, Cpu>>(tensor: &Matrix<Cpu>) -> Output {
        let gradient = Arc::default();
        if T::OWNS_TAPE {
            OUTPUTS.with_borrow_mut(|outputs| {
                if outputs.len() == outputs.capacity() {
                    outputs.retain(|_, gradient| gradient.strong_count() > 0);
                }
                outputs.insert(address(tensor), Arc::downgrade(&gradient));
            });
        }
        Output { tensor: tensor.clone(), gradient }
    }

    /// Its gradient, which is finished.
    pub fn take(self, gradients: &mut Gradients<f32, Cpu>) -> Result<Vec<f32>, CpuError> {
        let ours = self.gradient.take();
        if ours.is_empty() { Ok(take(gradients.get_or_alloc_mut(&self.tensor)?)) } else { Ok(ours) }
    }
}

/// What an operation takes, and passes a gradient back to.
pub(super) struct Input {
    tensor: Matrix<Cpu>,
    /// None if dfdx keeps it.
    gradient: Option<Arc<Gradient>>,
}

impl Input {
    pub fn new(tensor: &Matrix<Cpu>) -> Input {
        let gradient = OUTPUTS.with_borrow(|outputs| outputs.get(&address(tensor))?.upgrade());
        Input { tensor: tensor.clone(), gradient }
    }

    /// With a gradient that is kept elsewhere, or by dfdx.
    pub fn with(tensor: &Matrix<Cpu>, gradient: Option<Arc<Gradient>>) -> Input {
        Input { tensor: tensor.clone(), gradient }
    }

    /// Calls `write` with the gradient so far; with [`Old::Overwrite`] what is in it does not matter.
    pub fn write(
        &self,
        gradients: &mut Gradients<f32, Cpu>,
        write: impl FnOnce(&mut [f32], Old),
    ) -> Result<(), CpuError> {
        match &self.gradient {
            None => write(gradients.get_or_alloc_mut(&self.tensor)?, Old::Add),
            Some(gradient) => {
                let mut gradient = gradient.get();
                let old = if gradient.is_empty() { Old::Overwrite } else { Old::Add };
                if old == Old::Overwrite {
                    *gradient = memory(view(&self.tensor).len());
                }
                write(&mut gradient, old);
            }
        }
        Ok(())
    }

    /// Calls `add` with the gradient so far, which begins as zeros.
    pub fn add(
        &self,
        gradients: &mut Gradients<f32, Cpu>,
        add: impl FnOnce(&mut [f32]),
    ) -> Result<(), CpuError> {
        self.write(gradients, |gradient, old| {
            if old == Old::Overwrite {
                gradient.fill(0.0);
            }
            add(gradient);
        })
    }

    /// The gradient so far, taken out: [`Input::put`] is to follow. May be empty.
    pub fn take(&self, gradients: &mut Gradients<f32, Cpu>) -> Result<Vec<f32>, CpuError> {
        match &self.gradient {
            None => Ok(take(gradients.get_or_alloc_mut(&self.tensor)?)),
            Some(gradient) => Ok(gradient.take()),
        }
    }

    /// Adds all of a gradient.
    pub fn put(&self, gradients: &mut Gradients<f32, Cpu>, gradient: Vec<f32>) -> Result<(), CpuError> {
        let mut ours = self.gradient.as_ref().map(|gradient| gradient.get());
        let so_far = match &mut ours {
            None => &mut **gradients.get_or_alloc_mut(&self.tensor)?,
            Some(ours) => ours,
        };
        if so_far.is_empty() {
            *so_far = gradient;
            return Ok(());
        }
        each(so_far.chunks_mut(CHUNK).zip(gradient.chunks(CHUNK)), |(so_far, gradient)| {
            add(so_far, gradient);
        });
        give_back(gradient);
        Ok(())
    }

    /// The values that the operation took.
    pub fn values(&self) -> &[f32] {
        view(&self.tensor)
    }
}

/// So many values, whatever they are.
pub(super) fn memory(len: usize) -> Vec<f32> {
    let mut memory =
        SPARE.with_borrow_mut(|spare| match spare.iter().position(|memory| memory.len() == len) {
            Some(fits) => spare.swap_remove(fits),
            None => vec![0.0; len],
        });
    if cfg!(test) {
        // What nobody writes is to be seen.
        memory.fill(f32::NAN);
    }
    memory
}

/// Memory of a gradient that is no longer needed.
pub(super) fn give_back(gradient: Vec<f32>) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() == SPARES {
            spare.remove(0);
        }
        spare.push(gradient);
    });
}

/// Frees what this thread keeps for further gradients.
pub(crate) fn clear() {
    SPARE.take();
}

#[cfg(test)]
mod tests {
    use super::super::{Fused, Ops};
    use crate::ops::Matrix;
    use dfdx::prelude::*;

    /// The gradient that `sum(f(x) * (1, 2, 3, ...))` has for `x`.
    fn gradient(
        f: impl FnOnce(Matrix<Cpu, OwnedTape<f32, Cpu>>) -> Matrix<Cpu, OwnedTape<f32, Cpu>>,
    ) -> Vec<f32> {
        let device = Cpu::default();
        let x: Matrix<Cpu> = device.tensor_from_vec(vec![1.0, -2.0, 0.5, 3.0, 1.5, -1.0], (3, 2));
        let y = f(x.retaped());
        let weights = (1..=y.shape().0 * y.shape().1).map(|i| i as f32).collect();
        let weights = device.tensor_from_vec(weights, *y.shape());
        (y * weights).sum::<(), Axes2<0, 1>>().backward().get(&x).as_vec()
    }

    #[test]
    fn gradients_of_all_that_use_a_tensor_are_added() {
        let weight: Matrix<Cpu> = Cpu::default().tensor_from_vec(vec![2.0, 0.0, 0.0, 3.0], (2, 2));
        let weight = &Fused::weights(&[&weight])[0];
        // Only dfdx uses what an operation gave; then another of ours; then two of ours: rows and residual.
        let once = gradient(|x| Fused::linear(x, weight, None));
        assert_eq!(once, [2.0, 6.0, 6.0, 12.0, 10.0, 18.0]);
        let twice = gradient(|x| Fused::linear(Fused::linear(x, weight, None), weight, None));
        assert_eq!(twice, [4.0, 18.0, 12.0, 36.0, 20.0, 54.0]);
        let both = gradient(|x| {
            let y = Fused::linear(x, weight, None);
            Fused::linear(y.retaped::<OwnedTape<f32, Cpu>>(), weight, Some(y))
        });
        assert_eq!(both, [6.0, 24.0, 18.0, 48.0, 30.0, 72.0]);
        let picked = gradient(|x| Fused::gather(Fused::linear(x, weight, None), &[2, 0, 2]));
        assert_eq!(picked, [6.0, 12.0, 0.0, 0.0, 12.0, 24.0]);
    }

    #[test]
    fn a_weight_apart_gathers_what_all_products_hand_back() {
        let matrix: Matrix<Cpu> = Cpu::default().tensor_from_vec(vec![2.0, 0.0, 0.0, 3.0], (2, 2));
        let shared = &Fused::weights(&[&matrix])[0];
        let (apart, unused) = (shared.apart(), shared.apart());
        let of_x = gradient(|x| Fused::linear(Fused::linear(x, &apart, None), &apart, None));
        assert_eq!(of_x, [4.0, 18.0, 12.0, 36.0, 20.0, 54.0]);
        // sum over rows and both products of (what came back) x (what went in)
        let sum = |a: &[f32], b: &[f32], i: usize, j: usize| -> f32 {
            (0..3).map(|row| a[2 * row + i] * b[2 * row + j]).sum()
        };
        let (x, y) = ([1.0, -2.0, 0.5, 3.0, 1.5, -1.0], [2.0, -6.0, 1.0, 9.0, 3.0, -3.0]);
        let (dy, dz) = ([2.0, 6.0, 6.0, 12.0, 10.0, 18.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let expected = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(i, j)| sum(&dy, &x, i, j) + sum(&dz, &y, i, j));
        assert_eq!(apart.take_gradient().unwrap(), expected);
        assert!(apart.take_gradient().is_none() && unused.take_gradient().is_none());
    }
}
