//! A model as a folder in Hugging Face layout: `config.json` and `model.safetensors`.
//!
//! A scalar head is `LlamaForSequenceClassification` with one label; the bias of ours is one tensor more
//! (`score.bias`), which other tools leave out with a warning.

use super::{Named, TensorFile, write_atomically, write_tensors};
use crate::config::{Config, Head};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::parameters::{Init, slots};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const CONFIG: &str = "config.json";
const TENSORS: &str = "model.safetensors";
const LM: &str = "LlamaForCausalLM";
const SCALAR: &str = "LlamaForSequenceClassification";

impl Model {
    /// Writes `config.json` and `model.safetensors` (`f32`) to a folder, which is made if need be. The same
    /// model always gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be written.
    pub fn save(&self, dir: impl AsRef<Path>) -> Result<()> {
        let dir = dir.as_ref();
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let mut tensors = vec![];
        for (slot, values) in self.decoder.slots.iter().zip(self.values()) {
            let mut rest = values;
            for (name, rows) in &slot.parts {
                let (values, after) = rest.split_at(rows * slot.columns);
                tensors.push(Named { name: name.clone(), shape: slot.shape_on_disk(*rows), values });
                rest = after;
            }
        }
        write_tensors(&dir.join(TENSORS), &tensors, ("format", "pt".into()))?;
        let path = dir.join(CONFIG);
        let text = config_json(self.config(), self.head()).map_err(|e| Error::format(&path, e, "JSON"))?;
        write_atomically(&path, text.as_bytes())
    }

    /// Reads a folder that [`Model::save`] or Hugging Face `transformers` has written (Llama, one file of
    /// tensors in F32, F16 or BF16).
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Format`] or [`Error::Config`], each naming the file or key at fault.
    pub fn load(dir: impl AsRef<Path>) -> Result<Model> {
        let path = dir.as_ref().join(CONFIG);
        let text = fs::read_to_string(&path).map_err(Error::io(&path))?;
        let json: Value = serde_json::from_str(&text).map_err(|e| Error::format(&path, e, "JSON"))?;
        let head = head(&path, &json)?;
        only_what_we_compute(&path, &json)?;
        let config: Config =
            serde_json::from_value(json).map_err(|e| Error::format(&path, e, "a Llama configuration"))?;
        config.validate()?;
        let file = TensorFile::read(dir.as_ref().join(TENSORS))?;
        let mut values = vec![];
        for slot in slots(&config, head) {
            let mut slot_values = vec![];
            for (name, rows) in &slot.parts {
                // A sequence classifier from elsewhere has no bias.
                if slot.init == Init::Bias && !file.has(name)? {
                    slot_values.push(0.0);
                } else {
                    file.append(name, &slot.shape_on_disk(*rows), &mut slot_values)?;
                }
            }
            values.push(slot_values);
        }
        Ok(Model::from_values(config, head, values))
    }
}

fn config_json(config: &Config, head: Head) -> serde_json::Result<String> {
    let mut json = serde_json::to_value(config)?;
    json["architectures"] = json!([if head == Head::Lm { LM } else { SCALAR }]);
    json["model_type"] = json!("llama");
    json["hidden_act"] = json!("silu");
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

fn head(path: &Path, json: &Value) -> Result<Head> {
    let expected = || format!("`architectures` to be [\"{LM}\"] or [\"{SCALAR}\"] with one label");
    match json["architectures"][0].as_str() {
        Some(LM) => Ok(Head::Lm),
        Some(SCALAR) => {
            let labels = json["num_labels"]
                .as_u64()
                .unwrap_or_else(|| json["id2label"].as_object().map_or(2, |names| names.len() as u64));
            match labels {
                1 => Ok(Head::Scalar),
                n => Err(Error::format(path, format!("{n} labels"), expected())),
            }
        }
        _ => Err(Error::format(path, format!("architectures {}", json["architectures"]), expected())),
    }
}

fn only_what_we_compute(path: &Path, json: &Value) -> Result<()> {
    for (key, value, allowed) in [
        ("model_type", &json["model_type"], json!(["llama", null])),
        ("hidden_act", &json["hidden_act"], json!(["silu", null])),
        ("rope_scaling", &json["rope_scaling"], json!([null])),
        ("rope_parameters.rope_type", &json["rope_parameters"]["rope_type"], json!(["default", null])),
        ("attention_bias", &json["attention_bias"], json!([false, null])),
        ("mlp_bias", &json["mlp_bias"], json!([false, null])),
    ] {
        if !allowed.as_array().is_some_and(|allowed| allowed.contains(value)) {
            let expected = format!("`{key}` to be one of {allowed}: the decoder computes nothing else");
            return Err(Error::format(path, format!("`{key}` is {value}"), expected));
        }
    }
    Ok(())
}
