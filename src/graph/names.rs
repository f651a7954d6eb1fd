//! Names become parts of paths, keys and tables: they are plain.

use std::collections::BTreeSet;

use crate::{
    error::{Error, Result},
    experiment::{Document, Experiment},
};

/// Beside the folders of experiments: what is kept in a repository, where no run writes.
const PUBLISHED: &str = "published";

/// Checks the names of the experiment, its stages, its axes and their values.
///
/// # Errors
/// The first that is not plain, an axis without values, or one that has a value twice.
pub fn check_names(experiment: &Experiment, document: &Document) -> Result<()> {
    let error = |path: &[&str], message: String| Error::experiment(message).at(document.key_place(path));
    let plain = |path: &[&str], what: &str, name: &str, also: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || also.contains(c);
        let first = name.starts_with(|c: char| c.is_ascii_alphanumeric() || (c == '-' && also.contains('+')));
        if first && name.len() <= 64 && name.chars().all(fits) {
            return Ok(());
        }
        Err(error(path, format!("`{name}` cannot be {what}")).hint(format!(
            "use 1 to 64 of the letters a to z, digits and `{also}`, beginning with a letter or digit"
        )))
    };
    let name = plain(&["name"], "the experiment's name", &experiment.name, "-_.");
    name.map_err(|e| e.at(document.place(&["name"])))?;
    if experiment.name == PUBLISHED {
        return Err(Error::experiment(format!("the reports folder keeps `{PUBLISHED}` for itself"))
            .at(document.place(&["name"]))
            .hint("give the experiment another name"));
    }
    for stage in experiment.stages.keys() {
        plain(&["stages", stage], "a stage's name", stage, "-_")?;
    }
    for (name, axis) in &experiment.axes {
        plain(&["axes", name], "an axis' name", name, "-_")?;
        if axis.values.is_empty() {
            return Err(error(&["axes", name], format!("axis `{name}` has no values"))
                .hint(format!("give it some, as in `{name}: [1, 2]`, or take it out")));
        }
        let mut seen = BTreeSet::new();
        for (i, value) in axis.values.iter().enumerate() {
            let (key, text) = (axis.key(i), value.to_string());
            plain(&["axes", name, &key], "a value on an axis", &text, "-_.+")?;
            if !seen.insert(text.clone()) {
                return Err(error(
                    &["axes", name, &key],
                    format!("axis `{name}` has the value `{text}` twice"),
                )
                .hint("take one of the two out"));
            }
        }
    }
    Ok(())
}
