//! The curves of training, by task, arm and metric.

use std::collections::BTreeMap;

use super::{observations::place, params::Params};
use crate::{
    contract::{Context, StageError},
    dataset::{self, CurvePoint},
    statistics::Seed,
};

/// Value by step, seed by seed. Values may be infinite or NaN where training went wrong.
pub type Curve = BTreeMap<Seed, BTreeMap<u32, f64>>;

/// Curves by metric and arm, of each task.
#[derive(Debug, Default)]
pub struct Curves(BTreeMap<String, BTreeMap<String, BTreeMap<String, Curve>>>);

impl Curves {
    /// Reads the input `curves`.
    ///
    /// # Errors
    /// A file that cannot be read, and the same point twice.
    pub fn read(ctx: &Context, params: &Params) -> Result<Self, StageError> {
        let mut all = Self::default();
        for artifact in ctx.many("curves") {
            let (task, seed) = place(artifact, params);
            for p in dataset::read::<CurvePoint>(&artifact.path)? {
                let metrics = all.0.entry(task.clone()).or_default();
                let curve = metrics.entry(p.metric.clone()).or_default().entry(p.arm.clone()).or_default();
                let before = curve.entry(seed.clone()).or_default().insert(p.step, f64::from(p.value));
                if before.is_some() {
                    let message = format!(
                        "there are two curves of `{}` of arm `{}`, task `{task}`, seed `{}`: both have step {}",
                        p.metric, p.arm, seed.1, p.step
                    );
                    return Err(StageError::new(message)
                        .hint("give every trained model an arm of its own, and list no input twice"));
                }
            }
        }
        Ok(all)
    }

    /// The curves of a metric in a task, by arm.
    pub fn of(&self, task: &str, metric: &str) -> Option<&BTreeMap<String, Curve>> {
        self.0.get(task)?.get(metric)
    }

    /// All arms that have curves.
    pub fn arms(&self) -> impl Iterator<Item = &String> {
        self.0.values().flat_map(|m| m.values()).flat_map(|arms| arms.keys())
    }

    /// All tasks that have curves.
    pub fn tasks(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// Points that no picture can show.
    pub fn not_finite(&self) -> usize {
        let curves = self.0.values().flat_map(|m| m.values()).flat_map(|arms| arms.values());
        curves.flat_map(|c| c.values()).flat_map(|c| c.values()).filter(|v| !v.is_finite()).count()
    }
}
