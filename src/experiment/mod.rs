//! The experiment file: YAML, overrides and profiles in, checked types out.

mod axis;
mod choice;
mod document;
mod model;
mod needs;
mod places;
mod schema;
mod suggest;
mod wording;

pub use axis::{Axis, AxisValue, Changes};
pub use document::Document;
pub use model::{Experiment, References, StageSpec};
pub use needs::{Memory, Needs, Timeout};
pub use schema::schema;
pub use suggest::{did_you_mean, did_you_mean_one_of, listed};
