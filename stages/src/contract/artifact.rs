//! What flows between stages: files and folders with a declared type.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// A point of the experiment's axes: axis name to value, as text (`seed` → `1`).
pub type Coordinates = BTreeMap<String, String>;

/// An artifact handed to a stage: where it lies, and where it stands on the axes that the input gathers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// The file or folder; read only.
    pub path: PathBuf,
    /// Coordinates on the axes that the consumer does not vary over; empty where nothing was gathered.
    #[serde(default)]
    pub coordinates: Coordinates,
}

/// How many artifacts an input takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Exactly one.
    One,
    /// One, or the input is left out.
    Optional,
    /// One or more: several references, gathered over axes.
    Many,
}

/// A declared input.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    pub name: &'static str,
    /// The artifact type that it accepts, such as `pairs` or `model`.
    pub artifact: &'static str,
    pub arity: Arity,
    pub about: &'static str,
}

/// A declared output: the file or folder `name` in the stage's output folder.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub name: &'static str,
    pub artifact: &'static str,
    /// Copied to the reports folder when the instance is done: what a person reads.
    pub published: bool,
    pub about: &'static str,
}

impl Input {
    pub const fn one(name: &'static str, artifact: &'static str, about: &'static str) -> Self {
        Self { name, artifact, arity: Arity::One, about }
    }

    pub const fn optional(name: &'static str, artifact: &'static str, about: &'static str) -> Self {
        Self { name, artifact, arity: Arity::Optional, about }
    }

    pub const fn many(name: &'static str, artifact: &'static str, about: &'static str) -> Self {
        Self { name, artifact, arity: Arity::Many, about }
    }
}

impl Output {
    pub const fn new(name: &'static str, artifact: &'static str, about: &'static str) -> Self {
        Self { name, artifact, published: false, about }
    }

    pub const fn published(name: &'static str, artifact: &'static str, about: &'static str) -> Self {
        Self { name, artifact, published: true, about }
    }
}
