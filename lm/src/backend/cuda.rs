//! NVIDIA cards.

use super::sealed::{Handle, Sealed};
use super::{Accelerator, Backend};
use crate::error::{Error, Result};
use crate::ops::Composed;
use crate::ops::composed::{Full, Half};
use cudarc::driver::{result, sys};
use dfdx::prelude::Cuda as Device;

/// An NVIDIA card, in `f32`. Clones are the same card.
///
/// Models on a card stay on the thread that made them.
#[derive(Clone, Debug)]
pub struct Cuda(Device);

/// An NVIDIA card with products of weights in `f16`: parameters, norms, attention, softmax and the optimizer stay
/// in `f32`. Its numbers agree with those of [`Cuda`] to about three digits.
#[derive(Clone, Debug)]
pub struct CudaMixed(Device);

impl Cuda {
    /// The card with this number, from 0.
    ///
    /// # Errors
    /// [`Error::Device`] if there is no driver, no such card, or no memory left on it.
    pub fn new(ordinal: usize) -> Result<Cuda> {
        let fail = |found: String| Error::Device { found };
        // Asked first: what opens a card panics where there is none.
        result::init().map_err(|e| fail(format!("the NVIDIA driver does not start: {e:?}")))?;
        let cards = result::device::get_count().map_err(|e| fail(format!("no card answers: {e:?}")))?;
        if usize::try_from(cards).is_ok_and(|cards| ordinal >= cards) {
            return Err(fail(format!("card {ordinal} of {cards}")));
        }
        let device = Device::try_build(ordinal, 0).map_err(|e| fail(format!("card {ordinal}: {e:?}")))?;
        keep_freed_memory(ordinal);
        Ok(Cuda(device))
    }

    /// The same card in mixed precision.
    pub fn mixed(&self) -> CudaMixed {
        CudaMixed(self.0.clone())
    }
}

/// Lets this process keep the card's memory that tensors gave back. Else the driver returns it to the system each
/// time that the host waits for the card, some times in a training step, and must get it again. Speed is all that
/// is at stake: a card that cannot do this stays as it is.
fn keep_freed_memory(ordinal: usize) {
    let Ok(card) = result::device::get(ordinal as i32) else { return };
    let mut pool = std::ptr::null_mut();
    let mut most = u64::MAX;
    // SAFETY: the driver is initialized and `card` is one of its handles. `pool` is read only if the first call has
    // filled it; the attribute's value is a 64-bit number, which the second call copies.
    unsafe {
        if sys::cuDeviceGetDefaultMemPool(&mut pool, card).result().is_ok() {
            let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            let _ = sys::cuMemPoolSetAttribute(pool, threshold, (&raw mut most).cast()).result();
        }
    }
}

impl Backend for Cuda {}
impl Backend for CudaMixed {}
impl Accelerator for Cuda {}
impl Accelerator for CudaMixed {}

impl Sealed for Cuda {
    type Engine = Composed<Device, Full>;
}

impl Sealed for CudaMixed {
    type Engine = Composed<Device, Half>;
}

impl Handle for Cuda {
    fn device(&self) -> &Device {
        &self.0
    }
}

impl Handle for CudaMixed {
    fn device(&self) -> &Device {
        &self.0
    }
}
