//! The experiment file: YAML, overrides and profiles in, checked types out.

mod document;
mod model;
mod places;
mod schema;
mod suggest;
mod wording;

pub use document::Document;
pub use model::{AxisValue, Experiment, References, StageSpec};
pub use schema::schema;
pub use suggest::{did_you_mean, did_you_mean_one_of};
