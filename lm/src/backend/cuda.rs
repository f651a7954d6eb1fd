//! NVIDIA cards.

use super::sealed::{Handle, Sealed};
use super::{Accelerator, Backend};
use crate::error::{Error, Result};
use crate::ops::Composed;
use crate::ops::composed::{Full, Half};
use cudarc::driver::result;
use dfdx::prelude::Cuda as Device;

/// An NVIDIA card, in `f32`. Clones are the same card.
///
/// Models on a card stay on the thread that made them. Of a thread's models each has the card's memory for
/// itself; nothing is shared but the card.
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
        Ok(Cuda(device))
    }

    /// The same card in mixed precision.
    pub fn mixed(&self) -> CudaMixed {
        CudaMixed(self.0.clone())
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
