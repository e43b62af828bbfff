//! Reading a `config.json`: transformers' keys, their defaults, and what is refused.

use super::{Architecture, Llama3Scaling, MAX_DIM, ModelConfig, WeightDtype};
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The body of [`ModelConfig::from_json`].
pub(super) fn config(text: &str, path: &Path) -> Result<ModelConfig> {
    let root: Map<String, Value> = serde_json::from_str(text).map_err(Error::json(path))?;
    let keys = Keys { map: &root, prefix: "", path };
    let architecture = read_architecture(&keys)?;
    let qwen3 = architecture == Architecture::Qwen3;
    refuse_unsupported(&keys, architecture)?;

    let hidden = keys.dim("hidden_size")?;
    let heads = keys.dim("num_attention_heads")?;
    // Llama files may leave the number of key/value heads out; other families always write it.
    let kv_heads = match (keys.get("num_key_value_heads"), architecture) {
        (None, Architecture::Llama) => heads,
        _ => keys.dim("num_key_value_heads")?,
    };
    let head_dim = match keys.get("head_dim") {
        Some(_) => keys.dim("head_dim")?,
        None if qwen3 => 128,
        None if hidden % heads != 0 => {
            return Err(keys.bad("hidden_size", format!("is {hidden}, not a multiple of {heads} heads")));
        }
        None => hidden / heads,
    };
    let layers = keys.dim("num_hidden_layers")?;
    let max_position = match keys.get("max_position_embeddings") {
        Some(_) => keys.dim("max_position_embeddings")?,
        None if architecture == Architecture::Llama => 2048,
        None => 32768,
    };
    refuse_sliding_window(&keys, layers, max_position)?;
    let (rope_theta, rope_scaling) = read_rope(&keys, max_position)?;
    let config = ModelConfig {
        architecture,
        vocab_size: keys.dim("vocab_size")?,
        hidden,
        layers,
        heads,
        kv_heads,
        head_dim,
        intermediate: keys.dim("intermediate_size")?,
        rms_eps: keys.number("rms_norm_eps")?.unwrap_or(1e-6),
        rope_theta,
        rope_scaling,
        tie_word_embeddings: keys.flag("tie_word_embeddings")?.unwrap_or(false),
        qkv_bias: architecture == Architecture::Qwen2,
        qk_norm: qwen3,
        max_position,
        eos_token_ids: keys.ids("eos_token_id")?,
        bos_token_id: keys.id("bos_token_id")?,
        pad_token_id: keys.id("pad_token_id")?,
        initializer_range: keys.number("initializer_range")?.unwrap_or(0.02),
        dtype: read_dtype(&keys)?,
    };
    config.validate(path)?;
    Ok(config)
}

/// The `eos_token_id`s of a `generation_config.json`.
pub(super) fn eos_token_ids(text: &str, path: &Path) -> Result<Vec<u32>> {
    let root: Map<String, Value> = serde_json::from_str(text).map_err(Error::json(path))?;
    Keys { map: &root, prefix: "", path }.ids("eos_token_id")
}

/// A JSON object whose lookups fail with the file and the dotted key.
struct Keys<'a> {
    map: &'a Map<String, Value>,
    prefix: &'a str,
    path: &'a Path,
}

impl<'a> Keys<'a> {
    /// The value of `key`; an explicit null counts as absent, as in transformers.
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn bad(&self, key: &str, reason: impl Into<String>) -> Error {
        Error::Config { path: self.path.into(), key: format!("{}{key}", self.prefix), reason: reason.into() }
    }

    /// A required dimension, from 1 to [`MAX_DIM`].
    fn dim(&self, key: &str) -> Result<usize> {
        let Some(value) = self.get(key) else { return Err(self.bad(key, "is missing")) };
        match value.as_u64() {
            Some(n) if (1..=MAX_DIM).contains(&n) => Ok(n as usize),
            _ => {
                Err(self
                    .bad(key, format!("is {}, expected a whole number from 1 to {MAX_DIM}", brief(value))))
            }
        }
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_f64() {
            Some(number) => Ok(Some(number)),
            None => Err(self.bad(key, format!("is {}, expected a number", brief(value)))),
        }
    }

    fn required_number(&self, key: &str) -> Result<f64> {
        self.number(key)?.ok_or_else(|| self.bad(key, "is missing"))
    }

    fn flag(&self, key: &str) -> Result<Option<bool>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_bool() {
            Some(flag) => Ok(Some(flag)),
            None => Err(self.bad(key, format!("is {}, expected true or false", brief(value)))),
        }
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_str() {
            Some(text) => Ok(Some(text)),
            None => Err(self.bad(key, format!("is {}, expected a string", brief(value)))),
        }
    }

    /// A token id. Old files write -1 where they mean none.
    fn id(&self, key: &str) -> Result<Option<u32>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_i64() {
            Some(-1) => Ok(None),
            Some(id) if 0 <= id && id < MAX_DIM as i64 => Ok(Some(id as u32)),
            _ => Err(self.bad(key, format!("is {}, expected a token id", brief(value)))),
        }
    }

    /// One token id, or a list of them, or none; without repeats, in the order of the file.
    fn ids(&self, key: &str) -> Result<Vec<u32>> {
        let Some(Value::Array(list)) = self.get(key) else { return Ok(self.id(key)?.into_iter().collect()) };
        let mut ids = Vec::new();
        for value in list {
            match value.as_u64() {
                Some(id) if id < MAX_DIM && !ids.contains(&(id as u32)) => ids.push(id as u32),
                Some(id) if id < MAX_DIM => (),
                _ => return Err(self.bad(key, format!("lists {}, expected token ids", brief(value)))),
            }
        }
        Ok(ids)
    }
}

/// A value as it stands in an error: cut short, since a file may hold anything.
fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// The family by `model_type`, or by `architectures` where that is missing.
fn read_architecture(keys: &Keys<'_>) -> Result<Architecture> {
    const ALL: [Architecture; 3] = [Architecture::Qwen2, Architecture::Qwen3, Architecture::Llama];
    let class = keys.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str);
    let found = match (keys.text("model_type")?, class) {
        (Some(name), _) => ALL.into_iter().find(|a| a.model_type() == name).ok_or(("model_type", name)),
        (None, Some(name)) => ALL.into_iter().find(|a| a.class_name() == name).ok_or(("architectures", name)),
        (None, None) => return Err(keys.bad("model_type", "is missing")),
    };
    let architecture = found.map_err(|(key, name)| {
        keys.bad(key, format!("is {}, expected qwen2, qwen3 or llama", brief(&json!(name))))
    })?;
    // A reward model or an encoder of the family has another head: its weights would not explain ours.
    match class {
        Some(name) if name != architecture.class_name() => Err(keys.bad(
            "architectures",
            format!("is {}, expected {}", brief(&json!(name)), architecture.class_name()),
        )),
        _ => Ok(architecture),
    }
}

/// Refuses what the decoder does not compute.
fn refuse_unsupported(keys: &Keys<'_>, architecture: Architecture) -> Result<()> {
    match keys.text("hidden_act")? {
        None | Some("silu" | "swish") => (),
        Some(other) => return Err(keys.bad("hidden_act", format!("is `{other}`, expected `silu`"))),
    }
    // Qwen2's q/k/v biases are part of the family; transformers reads no `attention_bias` there.
    if architecture != Architecture::Qwen2 && keys.flag("attention_bias")? == Some(true) {
        return Err(
            keys.bad("attention_bias", "is true, but biases on all four projections are not supported")
        );
    }
    if keys.flag("mlp_bias")? == Some(true) {
        return Err(keys.bad("mlp_bias", "is true, but biases in the MLP are not supported"));
    }
    if keys.get("quantization_config").is_some() {
        return Err(keys.bad("quantization_config", "is set, but quantized checkpoints are not supported"));
    }
    if keys.flag("rope_interleaved")? == Some(true) {
        return Err(keys.bad("rope_interleaved", "is true, but only half-split rotary pairs are supported"));
    }
    Ok(())
}

/// Refuses a sliding window, unless no sequence of up to `max_position` tokens would meet it.
fn refuse_sliding_window(keys: &Keys<'_>, layers: usize, max_position: usize) -> Result<()> {
    let window = match keys.get("sliding_window") {
        Some(_) => keys.dim("sliding_window")?,
        None => usize::MAX,
    };
    let slides = match keys.get("layer_types") {
        Some(Value::Array(types)) => {
            if types.len() != layers {
                let reason = format!("lists {} layers, expected {layers}", types.len());
                return Err(keys.bad("layer_types", reason));
            }
            let other = types.iter().find(|&t| t != "full_attention" && t != "sliding_attention");
            if let Some(other) = other {
                return Err(
                    keys.bad("layer_types", format!("lists {}, expected full_attention", brief(other)))
                );
            }
            types.iter().any(|t| t == "sliding_attention")
        }
        Some(other) => return Err(keys.bad("layer_types", format!("is {}, expected a list", brief(other)))),
        // transformers 4 lets the layers from `max_window_layers` on slide.
        None => {
            let first = keys.number("max_window_layers")?.unwrap_or(28.0);
            keys.flag("use_sliding_window")? == Some(true) && first < layers as f64
        }
    };
    match slides && window < max_position {
        true => {
            Err(keys
                .bad("sliding_window", format!("is {window} and in use, but attention here is always full")))
        }
        false => Ok(()),
    }
}

/// The rotary base and scaling, from either spelling. A file may hold both if they agree.
fn read_rope(keys: &Keys<'_>, max_position: usize) -> Result<(f64, Option<Llama3Scaling>)> {
    let outer = keys.number("rope_theta")?;
    let mut found: Option<(f64, Option<Llama3Scaling>)> = None;
    for key in ["rope_parameters", "rope_scaling"] {
        let map = match keys.get(key) {
            None => continue,
            Some(Value::Object(map)) => map,
            Some(other) => return Err(keys.bad(key, format!("is {}, expected an object", brief(other)))),
        };
        let prefix = format!("{key}.");
        let inner = Keys { map, prefix: &prefix, path: keys.path };
        let theta = inner.number("rope_theta")?.or(outer).unwrap_or(10_000.0);
        if outer.is_some_and(|outer| outer != theta) {
            return Err(inner.bad("rope_theta", format!("is {theta}, but the outer rope_theta is not")));
        }
        let rope = (theta, read_scaling(&inner, max_position)?);
        if found.is_some_and(|found| found != rope) {
            return Err(keys.bad("rope_scaling", "disagrees with `rope_parameters`"));
        }
        found = Some(rope);
    }
    Ok(found.unwrap_or((outer.unwrap_or(10_000.0), None)))
}

fn read_scaling(keys: &Keys<'_>, max_position: usize) -> Result<Option<Llama3Scaling>> {
    if keys.number("partial_rotary_factor")?.is_some_and(|factor| factor != 1.0) {
        return Err(keys.bad("partial_rotary_factor", "is not 1, but only whole heads are rotated here"));
    }
    // A table by kind of attention has an object where the type should be.
    if let Some((key, _)) = keys.map.iter().find(|(_, value)| value.is_object()) {
        return Err(keys.bad(key, "is an object, but rope parameters by kind of layer are not supported"));
    }
    // "type" is the spelling before transformers 4.43.
    let key = if keys.get("rope_type").is_some() { "rope_type" } else { "type" };
    match keys.text(key)? {
        None | Some("default") => Ok(None),
        Some("llama3") => Ok(Some(Llama3Scaling {
            factor: keys.required_number("factor")?,
            low_freq_factor: keys.required_number("low_freq_factor")?,
            high_freq_factor: keys.required_number("high_freq_factor")?,
            original_max_position: match keys.get("original_max_position_embeddings") {
                Some(_) => keys.dim("original_max_position_embeddings")?,
                None => max_position,
            },
        })),
        Some(other) => Err(keys.bad(key, format!("is {}, expected default or llama3", brief(&json!(other))))),
    }
}

fn read_dtype(keys: &Keys<'_>) -> Result<WeightDtype> {
    let key = if keys.get("dtype").is_some() { "dtype" } else { "torch_dtype" };
    match keys.text(key)? {
        None | Some("float32" | "auto") => Ok(WeightDtype::F32),
        Some("float16") => Ok(WeightDtype::F16),
        Some("bfloat16") => Ok(WeightDtype::Bf16),
        Some(other) => {
            Err(keys.bad(key, format!("is {}, expected float32, float16 or bfloat16", brief(&json!(other)))))
        }
    }
}
