//! A checkpoint: one file with all that the next step depends on, so that a resumed run gives the same bytes.

use super::adamw::{AdamW, Moments};
use super::schedule::Schedule;
use super::trainer::Trainer;
use crate::config::{Config, Head};
use crate::error::{Error, Result};
use crate::files::{Named, TensorFile, write_tensors};
use crate::model::Model;
use crate::parameters::slots;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

const FILE: &str = "trainer.safetensors";
const STATE: &str = "trainer";

#[derive(Serialize, Deserialize)]
struct State {
    version: u32,
    steps: u64,
    head: Head,
    config: Config,
}

const VERSION: u32 = 1;

impl Trainer {
    /// Writes the model, the optimizer's state and the step to a folder, which is made if need be. The file
    /// appears whole or not at all.
    ///
    /// # Errors
    /// [`Error::Accumulation`] between `accumulate` and `apply`; [`Error::Io`] if the folder cannot be written.
    pub fn save(&self, dir: impl AsRef<Path>) -> Result<()> {
        if self.is_pending() {
            let (found, expected) = ("gradients are accumulated", "`apply` before `save`");
            return Err(Error::Accumulation { step: self.steps, found, expected });
        }
        let dir = dir.as_ref();
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let mut tensors = vec![];
        let slots = self.model.decoder.slots.iter().zip(self.model.values()).zip(&self.moments);
        for ((slot, parameter), moments) in slots {
            let parts = [("parameter", parameter), ("first", &moments.first), ("second", &moments.second)];
            for (kind, values) in parts {
                // Before the first update there are no moments.
                if !values.is_empty() {
                    let name = format!("{kind}.{}", slot.name());
                    tensors.push(Named { name, shape: vec![values.len()], values });
                }
            }
        }
        let (config, head) = (self.model.config().clone(), self.model.head());
        let path = dir.join(FILE);
        let state = State { version: VERSION, steps: self.steps, head, config };
        let state = serde_json::to_string(&state).map_err(|e| Error::format(&path, e, "JSON"))?;
        write_tensors(&path, &tensors, (STATE, state))
    }

    /// Goes on from a checkpoint. The optimizer and the schedule are the caller's: with those of the saved run,
    /// what follows is what would have followed, byte for byte.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no checkpoint, [`Error::Format`] if it is damaged.
    pub fn resume(dir: impl AsRef<Path>, optimizer: AdamW, schedule: Schedule) -> Result<Trainer> {
        let path = dir.as_ref().join(FILE);
        let file = TensorFile::read(path.clone())?;
        let state: State = serde_json::from_str(&file.metadata(STATE)?)
            .map_err(|e| Error::format(&path, e, "a checkpoint of a trainer"))?;
        if state.version != VERSION {
            let found = format!("format version {}", state.version);
            return Err(Error::format(
                &path,
                found,
                format!("version {VERSION}; train again from the start"),
            ));
        }
        state.config.validate()?;
        let (mut parameters, mut moments) = (vec![], vec![]);
        for slot in slots(&state.config, state.head) {
            let read = |kind: &str| -> Result<Vec<f32>> {
                let mut values = vec![];
                file.append(&format!("{kind}.{}", slot.name()), &[slot.len()], &mut values)?;
                Ok(values)
            };
            parameters.push(read("parameter")?);
            moments.push(match state.steps {
                0 => Moments::default(),
                _ => Moments { first: read("first")?, second: read("second")? },
            });
        }
        let model = Model::from_values(state.config, state.head, parameters);
        let mut trainer = Trainer::new(model, optimizer, schedule)?;
        trainer.steps = state.steps;
        trainer.moments = moments;
        Ok(trainer)
    }
}
