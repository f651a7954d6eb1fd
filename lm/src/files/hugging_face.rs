//! A model as a folder in Hugging Face layout: `config.json` and `model.safetensors`, or several files with an index.
//!
//! A scalar head is a sequence classifier with one label; the bias of ours is one tensor more (`score.bias`), which
//! other tools leave out with a warning.

use super::{Named, Weights, write_atomically, write_weights};
use crate::config::{Config, Family, Head};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::parameters::{Init, Slot, slots};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::fs;
use std::path::Path;

const CONFIG: &str = "config.json";

/// What the architectures are called, and what their files may say without our computing anything else.
struct Names {
    family: Family,
    lm: &'static str,
    scalar: &'static str,
    /// What `hidden_act` may be; old Gemma files say `gelu` and mean its tangent.
    activations: &'static [&'static str],
}

const LLAMA: Names = Names {
    family: Family::Llama,
    lm: "LlamaForCausalLM",
    scalar: "LlamaForSequenceClassification",
    activations: &["silu"],
};

const GEMMA: Names = Names {
    family: Family::Gemma,
    lm: "GemmaForCausalLM",
    scalar: "GemmaForSequenceClassification",
    activations: &["gelu_pytorch_tanh", "gelu"],
};

const FAMILIES: [Names; 2] = [LLAMA, GEMMA];

impl Names {
    fn of(family: Family) -> Names {
        match family {
            Family::Llama => LLAMA,
            Family::Gemma => GEMMA,
        }
    }
}

impl Model {
    /// Writes `config.json` and `model.safetensors` (`f32`) to a folder, which is made if need be. The same
    /// model always gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be written.
    pub fn save(&self, dir: impl AsRef<Path>) -> Result<()> {
        self.save_sharded(dir, usize::MAX)
    }

    /// As [`Model::save`], in files of at most `most` bytes of tensors each, or of one tensor that is larger, with
    /// `model.safetensors.index.json`; in one file without an index where all of them fit.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be written.
    pub fn save_sharded(&self, dir: impl AsRef<Path>, most: usize) -> Result<()> {
        let dir = dir.as_ref();
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let slots = self.decoder.slots.iter();
        let on_disk: Vec<_> = slots
            .clone()
            .zip(self.values())
            .map(|(slot, values)| self.config().on_disk(slot, values))
            .collect();
        let mut tensors = vec![];
        for (slot, values) in slots.zip(&on_disk) {
            let mut rest = &values[..];
            for (name, rows) in &slot.parts {
                let (values, after) = rest.split_at(rows * slot.columns);
                tensors.push(Named { name: name.clone(), shape: slot.shape_on_disk(*rows), values });
                rest = after;
            }
        }
        write_weights(dir, tensors, most)?;
        let path = dir.join(CONFIG);
        let text = config_json(self.config(), self.head()).map_err(|e| Error::format(&path, e, "JSON"))?;
        write_atomically(&path, text.as_bytes())
    }

    /// Reads a folder that [`Model::save`] or Hugging Face `transformers` has written: Llama or Gemma (the first
    /// generation), tensors in F32, F16 or BF16, in one file or in several with an index.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Format`] or [`Error::Config`], each naming the file or key at fault.
    pub fn load(dir: impl AsRef<Path>) -> Result<Model> {
        let path = dir.as_ref().join(CONFIG);
        let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
        let json: Value = serde_json::from_str(&text).map_err(|e| Error::format(&path, e, "JSON"))?;
        let (family, head) = architecture(&path, &json)?;
        only_what_we_compute(&path, family, &json)?;
        let config: Config = serde_json::from_value(json)
            .map_err(|e| Error::format(&path, e, "a configuration of Llama or Gemma"))?;
        config.validate()?;
        let mut weights = Weights::open(dir.as_ref())?;
        let mut values = vec![];
        for slot in slots(&config, head) {
            let mut slot_values = vec![];
            for (name, rows) in &slot.parts {
                // A sequence classifier from elsewhere has no bias.
                if slot.init == Init::Bias && !weights.has(name)? {
                    slot_values.push(0.0);
                } else {
                    weights.append(name, &slot.shape_on_disk(*rows), &mut slot_values)?;
                }
            }
            config.in_memory(&slot, &mut slot_values);
            values.push(slot_values);
        }
        Ok(Model::from_values(config, head, values))
    }
}

impl Config {
    /// The values of a slot as they are on disk.
    fn on_disk<'a>(&self, slot: &Slot, values: &'a [f32]) -> Cow<'a, [f32]> {
        match self.family {
            Family::Gemma if slot.init == Init::One => values.iter().map(|gain| gain - 1.0).collect(),
            _ => Cow::Borrowed(values),
        }
    }

    /// The reverse of [`Config::on_disk`].
    fn in_memory(&self, slot: &Slot, values: &mut [f32]) {
        if self.family == Family::Gemma && slot.init == Init::One {
            values.iter_mut().for_each(|gain| *gain += 1.0);
        }
    }
}

fn config_json(config: &Config, head: Head) -> serde_json::Result<String> {
    let names = Names::of(config.family);
    let mut json = serde_json::to_value(config)?;
    json["architectures"] = json!([if head == Head::Lm { names.lm } else { names.scalar }]);
    json["hidden_act"] = json!(names.activations[0]);
    json["torch_dtype"] = json!("float32");
    json["attention_bias"] = json!(false);
    json["mlp_bias"] = json!(false);
    if head == Head::Scalar {
        json["num_labels"] = json!(1);
        // `transformers` counts labels by their names.
        json["id2label"] = json!({ "0": "LABEL_0" });
        json["label2id"] = json!({ "LABEL_0": 0 });
    }
    Ok(serde_json::to_string_pretty(&json)? + "\n")
}

fn architecture(path: &Path, json: &Value) -> Result<(Family, Head)> {
    let found = json["architectures"][0].as_str().unwrap_or_default();
    let expected = || {
        let all = FAMILIES.iter().flat_map(|names| [names.lm, names.scalar]).collect::<Vec<_>>().join(", ");
        format!("`architectures` to be one of {all}; a classifier with one label")
    };
    let Some(names) = FAMILIES.iter().find(|names| names.lm == found || names.scalar == found) else {
        return Err(Error::format(path, format!("architectures {}", json["architectures"]), expected()));
    };
    if names.lm == found {
        return Ok((names.family, Head::Lm));
    }
    let labels = json["num_labels"]
        .as_u64()
        .unwrap_or_else(|| json["id2label"].as_object().map_or(2, |names| names.len() as u64));
    match labels {
        1 => Ok((names.family, Head::Scalar)),
        n => Err(Error::format(path, format!("{n} labels"), expected())),
    }
}

fn only_what_we_compute(path: &Path, family: Family, json: &Value) -> Result<()> {
    let names = Names::of(family);
    let or_nothing = |allowed: Vec<Value>| [allowed, vec![Value::Null]].concat();
    let activations = or_nothing(names.activations.iter().map(|&name| json!(name)).collect());
    let model_type = serde_json::to_value(family).map_err(|e| Error::format(path, e, "JSON"))?;
    let no = or_nothing(vec![json!(false)]);
    for (key, value, allowed) in [
        ("model_type", &json["model_type"], vec![model_type]),
        ("hidden_act", &json["hidden_act"], activations.clone()),
        ("hidden_activation", &json["hidden_activation"], activations),
        ("attention_bias", &json["attention_bias"], no.clone()),
        ("mlp_bias", &json["mlp_bias"], no),
    ] {
        if !allowed.contains(value) {
            let allowed = Value::from(allowed);
            let expected = format!("`{key}` to be one of {allowed}: the decoder computes nothing else");
            return Err(Error::format(path, format!("`{key}` is {value}"), expected));
        }
    }
    Ok(())
}
