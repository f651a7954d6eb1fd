//! Gradients of what one operation hands to the next.
//!
//! dfdx clears the gradient of a tensor before anything is added to it; that alone took a twentieth of a training step.
//! Between two operations of ours a gradient begins as what is first written to it, in memory that another one had.
//! dfdx keeps a tensor's identity to itself, so that a tensor is known by its address, which [`Output`] keeps alive.
//!
//! What an operation of ours has taken as its input is not used by one of dfdx as well: its gradient would be lost.

use super::matmul::Old;
use super::view::view;
use super::{Cpu, Matrix, add, take};
use dfdx::prelude::{CpuError, Gradients, Tape};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Empty until something is written.
type Slot = Mutex<Vec<f32>>;

thread_local! {
    /// Outputs that this thread has recorded, by address. What is no longer on a tape is gone.
    static OUTPUTS: RefCell<HashMap<usize, Weak<Slot>>> = RefCell::default();
    /// Memory of gradients that were used.
    static SPARE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(vec![]) };
}

/// The most pieces of memory that a thread keeps until its way back ends.
const KEPT: usize = 8;

fn address(tensor: &Matrix<Cpu>) -> usize {
    view(tensor).as_ptr() as usize
}

/// What an operation gave.
pub(super) struct Output {
    tensor: Matrix<Cpu>,
    slot: Arc<Slot>,
}

impl Output {
    /// To be made before the tensor is handed on.
    pub fn new<T: Tape<f32, Cpu>>(tensor: &Matrix<Cpu>) -> Output {
        let slot = Arc::default();
        if T::OWNS_TAPE {
            OUTPUTS.with_borrow_mut(|outputs| {
                if outputs.len() == outputs.capacity() {
                    outputs.retain(|_, slot| slot.strong_count() > 0);
                }
                outputs.insert(address(tensor), Arc::downgrade(&slot));
            });
        }
        Output { tensor: tensor.clone(), slot }
    }

    /// Its gradient, which is finished.
    pub fn take(self, gradients: &mut Gradients<f32, Cpu>) -> Result<Vec<f32>, CpuError> {
        let ours = std::mem::take(&mut *self.slot.lock().unwrap_or_else(PoisonError::into_inner));
        if ours.is_empty() { Ok(take(gradients.get_or_alloc_mut(&self.tensor)?)) } else { Ok(ours) }
    }
}

/// What an operation takes, and passes a gradient back to.
pub(super) struct Input {
    tensor: Matrix<Cpu>,
    /// None if no operation of ours gave it.
    slot: Option<Arc<Slot>>,
}

impl Input {
    pub fn new(tensor: &Matrix<Cpu>) -> Input {
        let slot = OUTPUTS.with_borrow(|outputs| outputs.get(&address(tensor))?.upgrade());
        Input { tensor: tensor.clone(), slot }
    }

    /// Calls `write` with the gradient so far; with [`Old::Overwrite`] what is in it does not matter.
    pub fn add(
        &self,
        gradients: &mut Gradients<f32, Cpu>,
        write: impl FnOnce(&mut [f32], Old),
    ) -> Result<(), CpuError> {
        match &self.slot {
            None => write(gradients.get_or_alloc_mut(&self.tensor)?, Old::Add),
            Some(slot) => {
                let mut gradient = slot.lock().unwrap_or_else(PoisonError::into_inner);
                let old = if gradient.is_empty() { Old::Overwrite } else { Old::Add };
                if old == Old::Overwrite {
                    *gradient = memory(view(&self.tensor).len());
                }
                write(&mut gradient, old);
            }
        }
        Ok(())
    }

    /// Adds all of a gradient.
    pub fn put(&self, gradients: &mut Gradients<f32, Cpu>, gradient: Vec<f32>) -> Result<(), CpuError> {
        if let Some(slot) = &self.slot {
            let mut so_far = slot.lock().unwrap_or_else(PoisonError::into_inner);
            if so_far.is_empty() {
                *so_far = gradient;
                return Ok(());
            }
        }
        self.add(gradients, |so_far, _| add(so_far, &gradient))?;
        give_back(gradient);
        Ok(())
    }
}

/// So many values, whatever they are.
fn memory(len: usize) -> Vec<f32> {
    SPARE.with_borrow_mut(|spare| match spare.iter().position(|memory| memory.len() == len) {
        Some(fits) => spare.swap_remove(fits),
        None => vec![0.0; len],
    })
}

/// Memory of a gradient that is no longer needed.
pub(super) fn give_back(gradient: Vec<f32>) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < KEPT {
            spare.push(gradient);
        }
    });
}

/// Frees what this thread keeps for further gradients.
pub(crate) fn clear() {
    SPARE.take();
}
