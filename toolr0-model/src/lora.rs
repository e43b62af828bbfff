//! Low-rank adapters beside the weights of a frozen model (LoRA, Hu et al., arXiv:2106.09685).
//!
//! `y = x W^T + scale * (x A^T) B^T` with `A`: `(rank, in)` and `B`: `(out, rank)`. `B` starts at zero, so a fresh
//! adapter changes nothing. On disk they have PEFT's layout: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::{ModelConfig, WeightDtype};
use crate::error::{Error, Result};
use crate::rng::{Stream, uniform_f64};
use crate::weights::{self, Tensors, expected_tensors};

/// Name of PEFT's config file.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// Name of PEFT's weight file.
pub const FILE: &str = "adapter_model.safetensors";
/// What PEFT puts before the names of the model it wraps.
const PREFIX: &str = "base_model.model.";

/// A projection that may carry an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Queries.
    QProj,
    /// Keys.
    KProj,
    /// Values.
    VProj,
    /// What attention writes.
    OProj,
    /// The MLP's gate.
    GateProj,
    /// The MLP's way up.
    UpProj,
    /// The MLP's way down.
    DownProj,
}

impl Target {
    /// All of them, in the order of the network.
    pub const ALL: [Self; 7] =
        [Self::QProj, Self::KProj, Self::VProj, Self::OProj, Self::GateProj, Self::UpProj, Self::DownProj];

    /// As in the names of tensors below a layer: `self_attn.q_proj`.
    pub fn path(self) -> &'static str {
        match self {
            Self::QProj => "self_attn.q_proj",
            Self::KProj => "self_attn.k_proj",
            Self::VProj => "self_attn.v_proj",
            Self::OProj => "self_attn.o_proj",
            Self::GateProj => "mlp.gate_proj",
            Self::UpProj => "mlp.up_proj",
            Self::DownProj => "mlp.down_proj",
        }
    }

    /// As in PEFT's `target_modules`: `q_proj`.
    pub fn module(self) -> &'static str {
        self.path().rsplit('.').next().unwrap_or_default()
    }
}

/// Which adapters a model carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Width of the bottleneck. Default 16.
    pub rank: usize,
    /// Numerator of the scale. Default 32.
    pub alpha: f64,
    /// Probability with which an input of the adapter is left out in training. Default 0.
    pub dropout: f64,
    /// Where adapters sit. Default every projection.
    pub targets: Vec<Target>,
    /// Scale by `alpha / sqrt(rank)` instead of `alpha / rank` (rsLoRA, arXiv:2312.03732). Default false.
    pub rslora: bool,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self { rank: 16, alpha: 32.0, dropout: 0.0, targets: Target::ALL.to_vec(), rslora: false }
    }
}

impl LoraConfig {
    /// What the adapter's output is multiplied by.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    /// Checks every range.
    ///
    /// # Errors
    ///
    /// [`Error::Lora`] naming the key.
    pub fn validate(&self) -> Result<()> {
        let bad = |key, reason: String| Err(Error::Lora { key, reason });
        if self.rank == 0 {
            return bad("rank", "is 0, expected at least 1".into());
        }
        if !(self.alpha.is_finite() && 0.0 < self.alpha) {
            return bad("alpha", format!("is {}, expected more than 0", self.alpha));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return bad("dropout", format!("is {}, expected 0 or more and less than 1", self.dropout));
        }
        if self.targets.is_empty() {
            return bad("targets", "is empty: nothing would be trained".into());
        }
        Ok(())
    }

    /// Names and shapes of all adapter tensors of `model`, without PEFT's prefix.
    pub fn expected(&self, model: &ModelConfig) -> BTreeMap<String, Vec<usize>> {
        let mut out = BTreeMap::new();
        for (name, shape) in expected_tensors(model) {
            let Some(path) = name.strip_suffix(".weight") else { continue };
            if let ([rows, cols], true) = (&shape[..], self.targets.iter().any(|t| path.ends_with(t.path())))
            {
                out.insert(format!("{path}.lora_A.weight"), vec![self.rank, *cols]);
                out.insert(format!("{path}.lora_B.weight"), vec![*rows, self.rank]);
            }
        }
        out
    }

    /// Adapters that change nothing yet: `A` uniform within `1 / sqrt(in)`, as PEFT draws it, and `B` zero.
    ///
    /// # Errors
    ///
    /// If a tensor cannot be made.
    pub fn fresh(&self, model: &ModelConfig, stream: Stream) -> Result<Tensors> {
        let draw = |(name, shape): (String, Vec<usize>)| -> Result<(String, Tensor)> {
            let n = shape.iter().product();
            let values = match name.contains(".lora_A.") {
                true => {
                    let bound = 1.0 / (shape[1] as f64).sqrt();
                    let mut rng = stream.child(name.as_str()).rng();
                    (0..n).map(|_| ((2.0 * uniform_f64(&mut rng) - 1.0) * bound) as f32).collect()
                }
                false => vec![0.0; n],
            };
            Ok((name, Tensor::from_vec(values, shape, &Device::Cpu)?))
        };
        self.expected(model).into_iter().map(draw).collect()
    }

    /// `tensors` with the adapters added into the weights they sit on.
    ///
    /// # Errors
    ///
    /// [`Error::MissingTensor`] if an adapter or its weight is not there.
    pub fn merge(&self, tensors: &Tensors, adapters: &Tensors) -> Result<Tensors> {
        let mut out = tensors.clone();
        for (name, a) in adapters {
            let Some(path) = name.strip_suffix(".lora_A.weight") else { continue };
            let get = |from: &Tensors, name: String| {
                let missing =
                    Error::MissingTensor { path: "the adapters in memory".into(), name: name.clone() };
                from.get(&name).cloned().ok_or(missing)
            };
            let b = get(adapters, format!("{path}.lora_B.weight"))?;
            let weight = format!("{path}.weight");
            let base = get(tensors, weight.clone())?;
            out.insert(weight, merged(&base, a, &b, self.scale())?);
        }
        Ok(out)
    }

    /// Writes PEFT's two files. `base` is what the adapters belong to: a folder or a hub id.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] naming the file.
    pub fn save(&self, dir: &Path, adapters: &Tensors, base: &str) -> Result<()> {
        std::fs::create_dir_all(dir).map_err(Error::write(dir))?;
        let config = json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "target_modules": self.targets.iter().map(|t| t.module()).collect::<Vec<_>>(),
            "use_rslora": self.rslora,
            "use_dora": false,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "modules_to_save": null,
            "layers_to_transform": null,
            "layers_pattern": null,
            "rank_pattern": {},
            "alpha_pattern": {},
        });
        weights::save_text(&dir.join(CONFIG_FILE), &format!("{config:#}\n"))?;
        let named = adapters.iter().map(|(name, x)| (format!("{PREFIX}{name}"), x.clone())).collect();
        weights::save_as(&dir.join(FILE), &named, WeightDtype::F32)
    }

    /// Reads adapters of `model` that PEFT or [`LoraConfig::save`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming a key of another kind of adapter, and what reading weights returns.
    pub fn load(dir: &Path, model: &ModelConfig) -> Result<(Self, Tensors)> {
        let path = dir.join(CONFIG_FILE);
        let text = std::fs::read_to_string(&path).map_err(Error::read(&path))?;
        let json: Value = serde_json::from_str(&text).map_err(Error::json(&path))?;
        let config = Self::from_peft(&json, &path)?;
        let expected =
            config.expected(model).into_iter().map(|(name, shape)| (format!("{PREFIX}{name}"), shape));
        let adapters = weights::load_exactly(&dir.join(FILE), expected.collect())?;
        let plain = |(name, x): (String, Tensor)| (name[PREFIX.len()..].to_owned(), x);
        Ok((config, adapters.into_iter().map(plain).collect()))
    }

    fn from_peft(json: &Value, path: &Path) -> Result<Self> {
        let bad = |key: &str, reason: String| Error::Config { path: path.into(), key: key.into(), reason };
        if json.get("peft_type") != Some(&json!("LORA")) {
            return Err(bad("peft_type", "is not \"LORA\"".into()));
        }
        // What would change the arithmetic and is not done here. Absent, null and empty are as good as off.
        let off = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::String(text) => text == "none",
            _ => false,
        };
        for key in [
            "use_dora",
            "fan_in_fan_out",
            "bias",
            "lora_bias",
            "modules_to_save",
            "layers_to_transform",
            "rank_pattern",
            "alpha_pattern",
            "exclude_modules",
        ] {
            if let Some(value) = json.get(key).filter(|value| !off(value)) {
                return Err(bad(key, format!("is {value}, which is not supported")));
            }
        }
        let number = |key: &str, default: Option<f64>| match json.get(key) {
            None => default.ok_or_else(|| bad(key, "is missing".into())),
            Some(value) => value.as_f64().ok_or_else(|| bad(key, "is not a number".into())),
        };
        let Some(Value::Array(modules)) = json.get("target_modules") else {
            return Err(bad("target_modules", "is not a list of names".into()));
        };
        let target = |module: &Value| {
            let found = Target::ALL
                .into_iter()
                .find(|t| module.as_str().is_some_and(|name| name == t.module() || name.ends_with(t.path())));
            found.ok_or_else(|| {
                bad("target_modules", format!("names {module}, which carries no adapter here"))
            })
        };
        let mut targets: Vec<Target> = modules.iter().map(target).collect::<Result<_>>()?;
        targets.sort_unstable();
        targets.dedup();
        let rank = number("r", None)?;
        if rank.fract() != 0.0 || !(1.0..=65_536.0).contains(&rank) {
            return Err(bad("r", format!("is {rank}, expected a whole number of at least 1")));
        }
        let config = Self {
            rank: rank as usize,
            alpha: number("lora_alpha", Some(8.0))?, // PEFT's default
            dropout: number("lora_dropout", Some(0.0))?,
            targets,
            rslora: json.get("use_rslora") == Some(&Value::Bool(true)),
        };
        config.validate()?;
        Ok(config)
    }
}

/// `weight + scale * b a`.
pub(crate) fn merged(weight: &Tensor, a: &Tensor, b: &Tensor, scale: f64) -> candle_core::Result<Tensor> {
    let (weight, a, b) = (weight.detach(), a.detach(), b.detach());
    weight + (b.matmul(&a)? * scale)?
}
