//! Models on disk: Hugging Face's layout, and files that are not as they should be.

mod common;

use common::*;
use half::{bf16, f16};
use lm::{Config, Error, Family, Head, Model, RopeScaling};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn saved(model: &Model) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    model.save(dir.path()).unwrap();
    dir
}

fn says(model: &Model) -> Vec<u32> {
    let batch = batch(&sequences(8, 5));
    bits(&if model.head() == Head::Lm { model.log_probs(&batch) } else { model.scalars(&batch) }.unwrap())
}

fn config_json(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap()
}

fn write_config(dir: &Path, json: &Value) {
    fs::write(dir.join("config.json"), json.to_string()).unwrap();
}

/// Name to type, shape and bytes.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn tensors(dir: &Path) -> Tensors {
    let bytes = fs::read(dir.join("model.safetensors")).unwrap();
    let parsed = SafeTensors::deserialize(&bytes).unwrap();
    let all = parsed.tensors();
    all.into_iter().map(|(name, t)| (name, (t.dtype(), t.shape().to_vec(), t.data().to_vec()))).collect()
}

fn write_tensors(dir: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(n, (d, s, b))| (n, TensorView::new(*d, s.clone(), b).unwrap()));
    fs::write(dir.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn a_model_comes_back_as_it_was() {
    let llama3 = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 16,
    };
    for (head, tied, family, rope_scaling) in [
        (Head::Lm, true, Family::Llama, None),
        (Head::Lm, false, Family::Llama, Some(RopeScaling::Linear { factor: 2.0 })),
        (Head::Scalar, true, Family::Llama, Some(llama3)),
        (Head::Lm, true, Family::Gemma, None),
        (Head::Scalar, true, Family::Gemma, None),
    ] {
        let config = Config { tie_word_embeddings: tied, family, rope_scaling, ..config() };
        let mut model = Model::new(config, head, 3).unwrap();
        if head == Head::Scalar {
            model.set_scalar_bias(0.3).unwrap();
        }
        let dir = saved(&model);
        let loaded = Model::load(dir.path()).unwrap();
        assert_eq!((loaded.config(), loaded.head()), (model.config(), model.head()));
        assert_eq!(says(&loaded), says(&model));
        let again = saved(&loaded);
        for file in ["config.json", "model.safetensors"] {
            assert!(fs::read(dir.path().join(file)).unwrap() == fs::read(again.path().join(file)).unwrap());
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing temporary is left");
        let on_disk: usize = tensors(dir.path()).values().map(|(_, s, _)| s.iter().product::<usize>()).sum();
        assert_eq!(on_disk, model.parameter_count());
    }
}

#[test]
fn the_layout_is_that_of_llama() {
    let dir = saved(&model(Head::Lm, 1));
    let json = config_json(dir.path());
    assert_eq!(json["architectures"], json!(["LlamaForCausalLM"]));
    assert_eq!(json["model_type"], "llama");
    assert_eq!((&json["hidden_size"], &json["num_key_value_heads"]), (&json!(15), &json!(2)));
    // As `LlamaForCausalLM(config).state_dict()` has them: 15 wide, 4 query and 2 key heads of 6, 21 inside.
    let mut expected = BTreeMap::from([
        ("model.embed_tokens.weight".to_string(), vec![23, 15]),
        ("model.norm.weight".to_string(), vec![15]),
        ("lm_head.weight".to_string(), vec![23, 15]),
    ]);
    for layer in 0..2 {
        for (name, shape) in [
            ("input_layernorm", vec![15]),
            ("post_attention_layernorm", vec![15]),
            ("self_attn.q_proj", vec![24, 15]),
            ("self_attn.k_proj", vec![12, 15]),
            ("self_attn.v_proj", vec![12, 15]),
            ("self_attn.o_proj", vec![15, 24]),
            ("mlp.gate_proj", vec![21, 15]),
            ("mlp.up_proj", vec![21, 15]),
            ("mlp.down_proj", vec![15, 21]),
        ] {
            expected.insert(format!("model.layers.{layer}.{name}.weight"), shape);
        }
    }
    let found: BTreeMap<_, _> = tensors(dir.path()).into_iter().map(|(n, (_, s, _))| (n, s)).collect();
    assert_eq!(found, expected);

    let dir = saved(&model(Head::Scalar, 1));
    assert_eq!(config_json(dir.path())["architectures"], json!(["LlamaForSequenceClassification"]));
    assert_eq!(config_json(dir.path())["num_labels"], 1);
    assert_eq!(tensors(dir.path())["score.weight"].1, [1, 15]);
}

#[test]
fn gemma_keeps_gains_less_one_and_scales_its_embeddings() {
    let model = Model::new(Config { family: Family::Gemma, ..config() }, Head::Lm, 1).unwrap();
    let dir = saved(&model);
    let json = config_json(dir.path());
    assert_eq!(json["architectures"], json!(["GemmaForCausalLM"]));
    assert_eq!((&json["model_type"], &json["hidden_act"]), (&json!("gemma"), &json!("gelu_pytorch_tanh")));
    let gain = &tensors(dir.path())["model.norm.weight"];
    assert!(gain.2.iter().all(|byte| *byte == 0), "a gain of one is a zero on disk");

    // The same tensors under the other name are another model.
    let mut llama = json;
    for (key, value) in [
        ("architectures", json!(["LlamaForCausalLM"])),
        ("model_type", json!("llama")),
        ("hidden_act", json!("silu")),
    ] {
        llama[key] = value;
    }
    write_config(dir.path(), &llama);
    assert_ne!(says(&Model::load(dir.path()).unwrap()), says(&model));
}

#[test]
fn the_angles_of_positions_are_stretched() {
    let plain = model(Head::Lm, 1);
    let dir = saved(&plain);
    let json = config_json(dir.path());
    let stretched = |key: &str, value: Value| {
        let mut changed = json.clone();
        changed[key] = value;
        write_config(dir.path(), &changed);
        says(&Model::load(dir.path()).unwrap())
    };
    let linear = json!({ "rope_type": "linear", "factor": 2.0 });
    let twice = stretched("rope_scaling", linear.clone());
    assert_ne!(twice, says(&plain));
    let mut newer = linear;
    newer["rope_theta"] = json!(10_000.0);
    assert_eq!(stretched("rope_parameters", newer), twice);
    // Of no more texts than at first: nothing is stretched that fits in them.
    let llama3 = |original: usize| {
        json!({
            "rope_type": "llama3", "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": original,
        })
    };
    assert_eq!(stretched("rope_scaling", llama3(1 << 30)), says(&plain));
    assert_eq!(stretched("rope_scaling", llama3(1)), twice);
    assert_eq!(stretched("rope_scaling", json!({ "type": "linear", "factor": 2.0 })), twice);
}

#[test]
fn tensors_may_lie_in_several_files() {
    let model = model(Head::Lm, 1);
    let dir = saved(&model);
    let all = tensors(dir.path());
    fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    let mut map = serde_json::Map::new();
    for part in 0..3 {
        let file = format!("model-{:05}-of-00003.safetensors", part + 1);
        let some: Vec<_> = all.iter().skip(part).step_by(3).collect();
        map.extend(some.iter().map(|(name, _)| ((*name).clone(), file.clone().into())));
        let views = some.iter().map(|(n, (d, s, b))| (n, TensorView::new(*d, s.clone(), b).unwrap()));
        fs::write(dir.path().join(file), safetensors::serialize(views, None).unwrap()).unwrap();
    }
    let index = |map: &serde_json::Map<String, Value>| {
        let json = json!({ "metadata": { "total_size": 1 }, "weight_map": map });
        fs::write(dir.path().join("model.safetensors.index.json"), json.to_string()).unwrap();
    };
    index(&map);
    assert_eq!(says(&Model::load(dir.path()).unwrap()), says(&model));

    let mut missing = map.clone();
    missing.remove("model.norm.weight");
    index(&missing);
    refuses(dir.path(), &["index.json", "model.norm.weight"]);
    for outside in ["../model.safetensors", "/etc/passwd", "a/b", "..", ""] {
        map.insert("model.norm.weight".into(), outside.into());
        index(&map);
        refuses(dir.path(), &["index.json", "same folder"]);
    }
}

#[test]
fn what_is_written_in_several_files_replaces_what_was_there() {
    let model = |seed| model(Head::Lm, seed);
    let dir = tempfile::tempdir().unwrap();
    let files = || {
        let names = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains("model")).collect::<std::collections::BTreeSet<_>>()
    };
    // In one file, in few, in more, in as many again, in few, in one.
    let mut counts = vec![];
    for (seed, most) in [(1, usize::MAX), (2, 8_000), (3, 3_000), (4, 3_000), (5, 8_000), (6, 1 << 30)] {
        model(seed).save_sharded(dir.path(), most).unwrap();
        assert_eq!(says(&Model::load(dir.path()).unwrap()), says(&model(seed)), "{seed}");
        counts.push(files().len());
        let sizes = files().into_iter().map(|f| fs::metadata(dir.path().join(f)).unwrap().len());
        assert!(most > 1 << 20 || sizes.max() < Some(most as u64 + 4_000), "larger than {most} bytes");
    }
    assert!(counts[0] == 1 && counts[1] > 2 && counts[2] > counts[1], "{counts:?}");
    assert_eq!(counts, [1, counts[1], counts[2], counts[2], counts[1], 1]);
}

#[test]
fn half_precision_is_widened() {
    let model = model(Head::Lm, 1);
    for dtype in [Dtype::F16, Dtype::BF16] {
        let dir = saved(&model);
        let (mut narrow, mut widened) = (tensors(dir.path()), tensors(dir.path()));
        for ((narrow_type, _, narrow), (_, _, widened)) in narrow.values_mut().zip(widened.values_mut()) {
            let values = widened.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
            let halves: Vec<(u16, f32)> = values
                .map(|x| match dtype {
                    Dtype::F16 => (f16::from_f32(x).to_bits(), f16::from_f32(x).to_f32()),
                    _ => (bf16::from_f32(x).to_bits(), bf16::from_f32(x).to_f32()),
                })
                .collect();
            *narrow_type = dtype;
            *narrow = halves.iter().flat_map(|(bits, _)| bits.to_le_bytes()).collect();
            *widened = halves.iter().flat_map(|(_, x)| x.to_le_bytes()).collect();
        }
        write_tensors(dir.path(), &narrow);
        let found = says(&Model::load(dir.path()).unwrap());
        write_tensors(dir.path(), &widened);
        assert_eq!(found, says(&Model::load(dir.path()).unwrap()), "{dtype:?}");
    }
}

#[test]
fn what_a_configuration_may_leave_out_has_its_usual_value() {
    let required = json!({
        "vocab_size": 10, "hidden_size": 12, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 3, "transformers_version": "5.0.0", "bos_token_id": 1,
    });
    let config: Config = serde_json::from_value(required.clone()).unwrap();
    assert_eq!((config.num_key_value_heads, config.head_dim), (3, 4));
    assert_eq!((config.rope_theta, config.rms_norm_eps), (10_000.0, 1e-6));
    assert_eq!((config.tie_word_embeddings, config.max_position_embeddings), (false, 2048));
    let mut newer = required;
    newer["rope_parameters"] = json!({ "rope_type": "default", "rope_theta": 500_000.0 });
    let config: Config = serde_json::from_value(newer).unwrap();
    assert_eq!(config.rope_theta, 500_000.0);
}

fn refuses(dir: &Path, parts: &[&str]) {
    let error = Model::load(dir).map(|_| ()).expect_err("it should be refused");
    let text = error.to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{text:?} lacks one of {parts:?}");
}

#[test]
fn what_the_decoder_does_not_compute_is_refused() {
    let dir = saved(&model(Head::Lm, 1));
    let json = config_json(dir.path());
    for (key, value) in [
        ("hidden_act", json!("gelu")),
        ("model_type", json!("mamba")),
        ("rope_scaling", json!({ "rope_type": "yarn", "factor": 4.0 })),
        ("rope_scaling", json!({ "rope_type": "linear" })),
        ("rope_scaling", json!({ "rope_type": "linear", "factor": -1.0 })),
        ("attention_bias", json!(true)),
        ("architectures", json!(["GPT2LMHeadModel"])),
        ("hidden_size", json!(-3)),
        ("hidden_size", json!(16)),
        ("vocab_size", json!(1u64 << 60)),
        ("head_dim", json!(5)),
        ("num_attention_heads", json!(0)),
    ] {
        let mut changed = json.clone();
        changed[key] = value;
        write_config(dir.path(), &changed);
        refuses(dir.path(), &[]);
    }
    write_config(dir.path(), &json);
    Model::load(dir.path()).unwrap();
}

#[test]
fn a_tensor_that_does_not_fit_is_named() {
    let dir = saved(&model(Head::Lm, 1));
    let whole = tensors(dir.path());
    let name = "model.layers.1.mlp.up_proj.weight";
    let mut missing = whole.clone();
    missing.remove(name);
    write_tensors(dir.path(), &missing);
    refuses(dir.path(), &["model.safetensors", name]);
    let mut turned = whole.clone();
    turned.get_mut(name).unwrap().1 = vec![15, 21];
    write_tensors(dir.path(), &turned);
    refuses(dir.path(), &["model.safetensors", name, "[15, 21]", "[21, 15]"]);
    let mut whole_numbers = whole;
    whole_numbers.get_mut(name).unwrap().0 = Dtype::I32;
    write_tensors(dir.path(), &whole_numbers);
    refuses(dir.path(), &["model.safetensors", name, "I32"]);
}

#[test]
fn a_damaged_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(Model::load(dir.path()), Err(Error::Io { .. })));
    let dir = saved(&model(Head::Lm, 1));
    for (file, step) in [("config.json", 17), ("model.safetensors", 1613)] {
        let path = dir.path().join(file);
        let whole = fs::read(&path).unwrap();
        for len in (0..whole.len() - 2).step_by(step) {
            fs::write(&path, &whole[..len]).unwrap();
            refuses(dir.path(), &[file]);
        }
        // A flipped bit may leave a number that is as good as any; it must only not bring us down.
        let header = whole.len().min(4096);
        for bit in (0..header * 8).step_by(97) {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &flipped).unwrap();
            let _ = Model::load(dir.path());
        }
        fs::write(&path, &whole).unwrap();
    }
    Model::load(dir.path()).unwrap();
}
