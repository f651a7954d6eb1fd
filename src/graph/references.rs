//! Which output of which stage an input reads.

use stages::contract::{Arity, Input, Kind};

use crate::{
    error::{Error, Result},
    experiment::{Document, Experiment, References, did_you_mean},
};

/// An input of a stage, with the producers' outputs that it names.
pub struct Wire {
    pub input: &'static Input,
    /// Stage and output, in the order of the file.
    pub sources: Vec<(String, &'static str)>,
}

/// The wires into one stage, sorted by input name.
pub fn wires<'a>(
    stage: &str,
    kind: &Kind,
    experiment: &Experiment,
    document: &Document,
    kind_of: impl Fn(&str) -> Option<&'a Kind>,
) -> Result<Vec<Wire>> {
    let spec = &experiment.stages[stage];
    let place = |path: &[&str]| document.place(&[&["stages", stage], path].concat());
    let known = || kind.inputs.iter().map(|i| i.name);
    if let Some(name) = spec.inputs.keys().find(|name| !known().any(|k| k == *name)) {
        let message = format!("stage kind `{}` has no input `{name}`", kind.name);
        return Err(Error::experiment(message)
            .hint(did_you_mean(name, known()))
            .at(document.key_place(&["stages", stage, "inputs", name])));
    }
    let mut inputs: Vec<&Input> = kind.inputs.iter().collect();
    inputs.sort_by_key(|i| i.name);
    let mut wires = vec![];
    for input in inputs {
        let references = spec.inputs.get(input.name);
        let empty = References::Many(vec![]);
        let list: Vec<&String> = references.unwrap_or(&empty).iter().collect();
        match (input.arity, list.len()) {
            (Arity::Optional, 0 | 1) | (Arity::One, 1) | (Arity::Many, 1..) => {}
            (Arity::One | Arity::Many, 0) => {
                let message =
                    format!("stage `{stage}` lacks the input `{}` of kind `{}`", input.name, kind.name);
                return Err(Error::experiment(message)
                    .hint(format!(
                        "add `inputs: {{ {}: STAGE }}`, a stage that gives `{}`: {}",
                        input.name, input.artifact, input.about
                    ))
                    .at(place(&["inputs"])));
            }
            _ => {
                let message =
                    format!("input `{}` of `{stage}` takes one artifact, found {}", input.name, list.len());
                return Err(Error::experiment(message)
                    .hint("name one stage, or gather in a kind that takes several")
                    .at(place(&["inputs", input.name])));
            }
        }
        let is_list = matches!(references, Some(References::Many(_)));
        let mut sources = vec![];
        for (i, reference) in list.into_iter().enumerate() {
            let index = i.to_string();
            let path: &[&str] =
                if is_list { &["inputs", input.name, &index] } else { &["inputs", input.name] };
            let source = source(reference, input, experiment, &kind_of).map_err(|e| e.at(place(path)))?;
            if sources.contains(&source) {
                let message = format!("`{reference}` is listed twice");
                return Err(Error::experiment(message).hint("take one of the two out").at(place(path)));
            }
            sources.push(source);
        }
        wires.push(Wire { input, sources });
    }
    Ok(wires)
}

/// What `stage` or `stage.output` means for an input.
fn source<'a>(
    reference: &str,
    input: &Input,
    experiment: &Experiment,
    kind_of: impl Fn(&str) -> Option<&'a Kind>,
) -> Result<(String, &'static str)> {
    let (stage, output) = match reference.split_once('.') {
        Some((stage, output)) => (stage, Some(output)),
        None => (reference, None),
    };
    let Some(kind) = kind_of(stage) else {
        let known = experiment.stages.keys().map(String::as_str);
        return Err(
            Error::experiment(format!("there is no stage `{stage}`")).hint(did_you_mean(stage, known))
        );
    };
    let fitting: Vec<&str> =
        kind.outputs.iter().filter(|o| o.artifact == input.artifact).map(|o| o.name).collect();
    let written = |names: &[&str]| {
        names.iter().map(|name| format!("`{stage}.{name}`")).collect::<Vec<_>>().join(" or ")
    };
    let Some(output) = output else {
        return match fitting.as_slice() {
            [only] => Ok((stage.into(), only)),
            [] => Err(Error::experiment(format!(
                "input `{}` takes `{}`, and stage `{stage}` (kind `{}`) gives none",
                input.name, input.artifact, kind.name
            ))
            .hint(makers(input, experiment, &kind_of))),
            several => Err(Error::experiment(format!(
                "stage `{stage}` gives `{}` more than once: say which",
                input.artifact
            ))
            .hint(format!("write {}", written(several)))),
        };
    };
    let Some(found) = kind.outputs.iter().find(|o| o.name == output) else {
        let message = format!("stage `{stage}` (kind `{}`) has no output `{output}`", kind.name);
        return Err(
            Error::experiment(message).hint(did_you_mean(output, kind.outputs.iter().map(|o| o.name)))
        );
    };
    if found.artifact != input.artifact {
        let message = format!(
            "input `{}` takes `{}`, and `{reference}` is `{}`",
            input.name, input.artifact, found.artifact
        );
        let hint = if fitting.is_empty() {
            makers(input, experiment, &kind_of)
        } else {
            format!("write {}", written(&fitting))
        };
        return Err(Error::experiment(message).hint(hint));
    }
    Ok((stage.into(), found.name))
}

/// The stages that give what an input takes.
fn makers<'a>(input: &Input, experiment: &Experiment, kind_of: impl Fn(&str) -> Option<&'a Kind>) -> String {
    let gives = |stage: &&String| {
        kind_of(stage).is_some_and(|kind| kind.outputs.iter().any(|o| o.artifact == input.artifact))
    };
    let stages: Vec<String> = experiment.stages.keys().filter(gives).map(|s| format!("`{s}`")).collect();
    if stages.is_empty() {
        format!("no stage here gives `{}`: add one", input.artifact)
    } else {
        format!("name a stage that gives it: {}", stages.join(" or "))
    }
}
