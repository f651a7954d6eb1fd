//! Models from the processor to a device and back.

use super::{Accelerator, Backend, Cpu, Engine};
use crate::decoder::Decoder;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::ops::Matrix;
use dfdx::prelude::{HasShape, TensorFromVec};

impl Model {
    /// A copy of the model on a device.
    ///
    /// # Errors
    /// [`Error::Device`] if the device has not enough memory.
    pub fn to_device<B: Accelerator>(&self, device: &B) -> Result<Model<B>> {
        let copy = |(parameter, values): (&Matrix<_>, &[f32])| {
            device.device().try_tensor_from_vec(values.to_vec(), *parameter.shape())
        };
        let parameters: std::result::Result<_, _> =
            self.decoder.parameters.iter().zip(self.values()).map(copy).collect();
        let parameters = parameters.map_err(|e| Error::Device { found: format!("{e:?}") })?;
        Ok(Model { decoder: Decoder { parameters, ..self.decoder.on() } })
    }
}

impl<B: Backend> Model<B> {
    /// The same model on the processor: to save it, to change its head, or to go on there.
    ///
    /// # Errors
    /// [`Error::Device`] if the device cannot be read.
    pub fn to_cpu(&self) -> Result<Model<Cpu>> {
        let read = || self.decoder.parameters.iter().map(|p| B::Engine::read(p).into_owned()).collect();
        let values = B::Engine::guard(read)?;
        Ok(Model::from_values(self.config().clone(), self.head(), values))
    }
}
