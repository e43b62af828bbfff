//! The shape of a decoder, read from a checkpoint's `config.json`.
//!
//! Qwen2, Qwen3 and Llama are one decoder whose differences are fields of [`ModelConfig`]: biases on the
//! q/k/v projections (Qwen2), norms on q and k (Qwen3), scaled rotary frequencies (Llama 3.x). What a
//! file asks for and this crate does not compute (sliding windows, other rope types, other biases) is an
//! error that names the key: a config is never half obeyed.

mod read;

use crate::error::{Error, Result};
use crate::kernels::attention::MAX_HEAD_DIM;
use serde_json::{Value, json};
use std::f32::consts::PI;
use std::fmt;
use std::path::Path;

/// The family a checkpoint belongs to. SmolLM2 is a `Llama`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// Qwen2 and Qwen2.5: biases on the q, k and v projections.
    Qwen2,
    /// Qwen3: RMS norms on each head of q and k, and a head dimension of its own.
    Qwen3,
    /// Llama 2, Llama 3.x, SmolLM2: neither.
    Llama,
}

impl Architecture {
    /// The `model_type` of transformers.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Llama => "llama",
        }
    }

    /// The class name in `architectures`.
    pub fn class_name(self) -> &'static str {
        match self {
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Llama => "LlamaForCausalLM",
        }
    }
}

/// The type in which weights lie on disk. In memory they are always `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WeightDtype {
    /// 32-bit floats: what was trained, exactly.
    #[default]
    F32,
    /// 16-bit floats of IEEE 754.
    F16,
    /// The upper half of an `f32`.
    Bf16,
}

impl WeightDtype {
    /// The name in a config's `torch_dtype` or `dtype`.
    pub fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }
}

/// Frequency scaling of Llama 3.1 and later: long wavelengths are stretched by `factor`, short ones
/// kept, those between blended.
///
/// # Source
///
/// `_compute_llama3_parameters` of transformers (`modeling_rope_utils.py`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Llama3Scaling {
    /// By how much long wavelengths are stretched; 8 in Llama 3.1, 32 in Llama 3.2.
    pub factor: f64,
    /// Wavelengths above `original_max_position / low_freq_factor` are stretched in full.
    pub low_freq_factor: f64,
    /// Wavelengths below `original_max_position / high_freq_factor` are kept.
    pub high_freq_factor: f64,
    /// Context length before the stretching, in tokens.
    pub original_max_position: usize,
}

/// Everything about a decoder that its weights do not say.
///
/// Build one with [`ModelConfig::from_json`], or fill the fields and call [`ModelConfig::validate`].
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The family.
    pub architecture: Architecture,
    /// Number of token ids, `v`: rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream, `c`.
    pub hidden: usize,
    /// Number of decoder layers.
    pub layers: usize,
    /// Number of query heads, `h`.
    pub heads: usize,
    /// Number of key/value heads, `kv`; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head, `d`; even. Not always `hidden / heads`.
    pub head_dim: usize,
    /// Width of the gated MLP.
    pub intermediate: usize,
    /// Added to the mean square in every RMS norm.
    pub rms_eps: f64,
    /// Base of the rotary wavelengths.
    pub rope_theta: f64,
    /// Stretching of the rotary wavelengths; `None` for plain RoPE.
    pub rope_scaling: Option<Llama3Scaling>,
    /// Whether the output head is the embedding.
    pub tie_word_embeddings: bool,
    /// Whether the q, k and v projections have biases (the output projection never has).
    pub qkv_bias: bool,
    /// Whether each head of q and k is RMS-normalised before RoPE.
    pub qk_norm: bool,
    /// Longest sequence the model was made for, in tokens.
    pub max_position: usize,
    /// Ids that end a completion. The first is the one written to `config.json` when there is but one.
    pub eos_token_ids: Vec<u32>,
    /// Id that starts a text, where the family uses one.
    pub bos_token_id: Option<u32>,
    /// Id that fills short rows of a batch.
    pub pad_token_id: Option<u32>,
    /// Standard deviation of freshly drawn weights.
    pub initializer_range: f64,
    /// The type in which the checkpoint's weights lie on disk.
    pub dtype: WeightDtype,
}

/// No dimension is larger than this, so products of two never overflow.
const MAX_DIM: u64 = 1 << 24;
/// No model is deeper than this: bounds the work that a hostile config can ask for.
const MAX_LAYERS: usize = 4096;

impl ModelConfig {
    /// Reads `config.json` in `dir` and, where it exists, the `eos_token_id`s of
    /// `generation_config.json`, which instruct models use to name a second end of turn.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], [`Error::Json`] and [`Error::Config`], naming the file and the key.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("config.json");
        let mut config =
            Self::from_json(&std::fs::read_to_string(&path).map_err(Error::read(&path))?, &path)?;
        let path = dir.join("generation_config.json");
        if path.exists() {
            let text = std::fs::read_to_string(&path).map_err(Error::read(&path))?;
            for id in read::eos_token_ids(&text, &path)? {
                if !config.eos_token_ids.contains(&id) {
                    config.eos_token_ids.push(id);
                }
            }
            config.validate(&path)?;
        }
        Ok(config)
    }

    /// Reads the text of a `config.json` written by transformers 4 (`rope_theta`, `rope_scaling`,
    /// `torch_dtype`) or 5 (`rope_parameters`, `dtype`). `path` is only named in errors.
    ///
    /// Absent keys mean what transformers' config classes make of them.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] if `text` is no JSON object, [`Error::Config`] if a key is missing, out of range
    /// or asks for something this decoder does not compute.
    pub fn from_json(text: &str, path: &Path) -> Result<Self> {
        read::config(text, path)
    }

    /// Checks that the fields fit each other. `path` is only named in errors.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first key that does not fit.
    pub fn validate(&self, path: &Path) -> Result<()> {
        let check = |fits: bool, key: &str, reason: fmt::Arguments<'_>| match fits {
            true => Ok(()),
            false => Err(Error::Config { path: path.into(), key: key.into(), reason: reason.to_string() }),
        };
        for (key, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden),
            ("num_hidden_layers", self.layers),
            ("num_attention_heads", self.heads),
            ("num_key_value_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("intermediate_size", self.intermediate),
            ("max_position_embeddings", self.max_position),
        ] {
            let fits = 0 < value && value as u64 <= MAX_DIM;
            check(fits, key, format_args!("is {value}, expected 1 to {MAX_DIM}"))?;
        }
        let (layers, heads, kv) = (self.layers, self.heads, self.kv_heads);
        check(
            layers <= MAX_LAYERS,
            "num_hidden_layers",
            format_args!("is {layers}, expected at most {MAX_LAYERS}"),
        )?;
        check(
            heads % kv == 0,
            "num_key_value_heads",
            format_args!("is {kv}, which does not divide {heads} heads"),
        )?;
        check(
            self.head_dim.is_multiple_of(2) && self.head_dim <= MAX_HEAD_DIM,
            "head_dim",
            format_args!("is {}, expected an even number up to {MAX_HEAD_DIM}", self.head_dim),
        )?;
        for (key, value) in [
            ("rms_norm_eps", self.rms_eps),
            ("rope_theta", self.rope_theta),
            ("initializer_range", self.initializer_range),
        ] {
            let fits = value.is_finite() && 0.0 < value;
            check(fits, key, format_args!("is {value}, expected a positive number"))?;
        }
        if let Some(scaling) = &self.rope_scaling {
            let Llama3Scaling { factor, low_freq_factor: low, high_freq_factor: high, .. } = *scaling;
            let fits = factor.is_finite() && 1.0 <= factor;
            check(fits, "rope_scaling.factor", format_args!("is {factor}, expected at least 1"))?;
            let fits = high.is_finite() && 0.0 < low && low < high;
            let key = "rope_scaling.high_freq_factor";
            check(
                fits,
                key,
                format_args!("is {high}, expected more than a positive low_freq_factor, got {low}"),
            )?;
            let key = "rope_scaling.original_max_position_embeddings";
            check(0 < scaling.original_max_position, key, format_args!("is 0, expected at least 1"))?;
        }
        let ids = self.eos_token_ids.iter().map(|&id| ("eos_token_id", id));
        let ids = ids.chain(self.bos_token_id.map(|id| ("bos_token_id", id)));
        for (key, id) in ids.chain(self.pad_token_id.map(|id| ("pad_token_id", id))) {
            let fits = (id as usize) < self.vocab_size;
            check(fits, key, format_args!("is {id}, expected less than vocab_size {}", self.vocab_size))?;
        }
        Ok(())
    }

    /// The text of a `config.json` that transformers 4 and 5 both load.
    ///
    /// It is written in the spelling of transformers 4, which version 5 still reads: the other way round
    /// would not do. [`ModelConfig::from_json`] gives back an equal value.
    pub fn to_json(&self) -> String {
        let mut root = json!({
            "architectures": [self.architecture.class_name()],
            "model_type": self.architecture.model_type(),
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_position,
            "initializer_range": self.initializer_range,
            "rms_norm_eps": self.rms_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": self.rope_scaling.map(|scaling| json!({
                "rope_type": "llama3",
                "factor": scaling.factor,
                "low_freq_factor": scaling.low_freq_factor,
                "high_freq_factor": scaling.high_freq_factor,
                "original_max_position_embeddings": scaling.original_max_position,
            })),
            "tie_word_embeddings": self.tie_word_embeddings,
            "attention_dropout": 0.0,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": ids_to_json(&self.eos_token_ids),
            "pad_token_id": self.pad_token_id,
            "torch_dtype": self.dtype.torch_name(),
            "use_cache": true,
        });
        let family = match self.architecture {
            Architecture::Llama => json!({ "attention_bias": false, "mlp_bias": false }),
            Architecture::Qwen3 => {
                json!({ "attention_bias": false, "use_sliding_window": false, "sliding_window": null })
            }
            Architecture::Qwen2 => json!({ "use_sliding_window": false, "sliding_window": null }),
        };
        if let (Value::Object(root), Value::Object(family)) = (&mut root, family) {
            root.extend(family);
        }
        pretty(&root)
    }

    /// The text of a `generation_config.json`: the special ids, and how to sample by default.
    ///
    /// `temperature` 0 is written as greedy decoding, which is how transformers spells it.
    pub fn generation_config_json(&self, temperature: f64, top_p: f64) -> String {
        let mut root = json!({
            "bos_token_id": self.bos_token_id,
            "eos_token_id": ids_to_json(&self.eos_token_ids),
            "pad_token_id": self.pad_token_id,
            "do_sample": 0.0 < temperature,
        });
        if let (Value::Object(root), true) = (&mut root, 0.0 < temperature) {
            root.insert("temperature".into(), json!(temperature));
            root.insert("top_p".into(), json!(top_p));
        }
        pretty(&root)
    }

    /// Rotary frequencies: pair `i` of a head turns by `position * inv_freq[i]` radians.
    ///
    /// `inv_freq[i] = rope_theta^(-2 i / d)`, then stretched as [`Llama3Scaling`] says. All in `f32`, in
    /// the order of operations of transformers, so that long positions turn alike.
    ///
    /// # Shapes and units
    ///
    /// - returns `(d / 2,)`, radians per token.
    pub fn inv_freq(&self) -> Vec<f32> {
        let theta = self.rope_theta as f32;
        let pairs = (0..self.head_dim / 2).map(|i| 1.0 / theta.powf((2 * i) as f32 / self.head_dim as f32));
        let Some(scaling) = &self.rope_scaling else { return pairs.collect() };
        let (factor, low, high) =
            (scaling.factor as f32, scaling.low_freq_factor as f32, scaling.high_freq_factor as f32);
        let context = scaling.original_max_position as f64;
        let low_wavelength = (context / scaling.low_freq_factor) as f32;
        let high_wavelength = (context / scaling.high_freq_factor) as f32;
        let stretch = |freq: f32| {
            let wavelength = 2.0 * PI / freq;
            if wavelength > low_wavelength {
                freq / factor
            } else if wavelength < high_wavelength {
                freq
            } else {
                let range = (scaling.high_freq_factor - scaling.low_freq_factor) as f32;
                debug_assert!(low < high, "validated");
                let smooth = (context as f32 / wavelength - low) / range;
                (1.0 - smooth) * freq / factor + smooth * freq
            }
        };
        pairs.map(stretch).collect()
    }

    /// Number of weights of the model, a tied head counted once.
    pub fn n_params(&self) -> u64 {
        let tensors = crate::weights::expected_tensors(self);
        tensors.iter().map(|(_, shape)| shape.iter().map(|&n| n as u64).product::<u64>()).sum()
    }
}

/// JSON of a list of ids as transformers writes it: nothing, one number, or a list.
fn ids_to_json(ids: &[u32]) -> Value {
    match ids {
        [] => Value::Null,
        [id] => json!(id),
        ids => json!(ids),
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
