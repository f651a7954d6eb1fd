//! The miniature worlds: tasks small enough for a laptop, with an exact notion of what is right.
//!
//! A world makes prompts and imperfect demonstrations as plain words. What a response is worth is known to
//! the [`crate::oracle`] alone, and nothing here may import it: training sees no gold.
//!
//! To add a world: a module with a type that implements [`World`], a line in [`all`], and an oracle.

pub mod dialogue;
pub mod safety;
pub mod summary;
mod words;
mod world;

pub use world::{Split, World};

use crate::{contract::ParamError, names::list};

/// Every world, in the order in which reports show them.
pub fn all() -> &'static [&'static dyn World] {
    &[&safety::Safety, &dialogue::Dialogue, &summary::Summary]
}

/// The world of that name.
pub fn get(name: &str) -> Option<&'static dyn World> {
    all().iter().copied().find(|world| world.name() == name)
}

/// What to say of a name that no world has.
pub fn unknown(name: &str) -> ParamError {
    let known = list(all().iter().map(|w| w.name()));
    ParamError::new("world", format!("there is no world `{name}`")).hint(format!("the worlds are {known}"))
}
