//! Adapters: beside the weights or merged into them, in memory or on disk, one model.

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use toolr0_model::CausalLm;
use toolr0_model::config::ModelConfig;
use toolr0_model::error::Error;
use toolr0_model::kernels::attention::Packing;
use toolr0_model::lora::{CONFIG_FILE, FILE, LoraConfig, Target};
use toolr0_model::rng::{Stream, uniform_f64};
use toolr0_model::weights::{self, Tensors};

fn model(name: &str) -> (ModelConfig, Tensors) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/models").join(name);
    let config = ModelConfig::load(&dir).unwrap();
    let tensors = weights::load(&dir, &config).unwrap();
    (config, tensors)
}

/// Adapters as training would leave them: no number is zero.
fn trained(lora: &LoraConfig, config: &ModelConfig) -> Tensors {
    let draw = |(name, shape): (String, Vec<usize>)| {
        let mut rng = Stream::root(3).child(name.as_str()).rng();
        let n: usize = shape.iter().product();
        let x: Vec<f32> = (0..n).map(|_| (uniform_f64(&mut rng) - 0.5) as f32 * 0.1).collect();
        (name, Tensor::from_vec(x, shape, &Device::Cpu).unwrap())
    };
    lora.expected(config).into_iter().map(draw).collect()
}

fn logits(model: &CausalLm) -> Vec<f32> {
    let tokens: Vec<u32> = (0..23).map(|i| (i * 7 + 3) % model.config().vocab_size as u32).collect();
    let hidden = model.forward(&tokens, &Arc::new(Packing::sequences(&[23]))).unwrap();
    model.logits(&hidden).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn gap(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn merged_equals_unmerged() {
    for name in ["qwen3-mini", "llama3-mini"] {
        let (config, tensors) = model(name);
        let plain = logits(&CausalLm::new(&config, &tensors).unwrap());
        for lora in [
            LoraConfig { rank: 4, alpha: 8.0, ..LoraConfig::default() },
            LoraConfig { rank: 3, rslora: true, alpha: 2.0, ..LoraConfig::default() },
            LoraConfig { targets: vec![Target::VProj, Target::DownProj], ..LoraConfig::default() },
        ] {
            let adapters = trained(&lora, &config);
            let beside = CausalLm::new(&config, &tensors).unwrap().with_adapters(&lora, &adapters).unwrap();
            let merged = CausalLm::new(&config, &lora.merge(&tensors, &adapters).unwrap()).unwrap();
            let (unmerged, merged) = (logits(&beside), logits(&merged));
            assert!(gap(&unmerged, &merged) <= 1e-5, "{name}: {}", gap(&unmerged, &merged));
            assert!(gap(&unmerged, &logits(&beside.frozen().unwrap())) <= 1e-5);
            assert!(gap(&unmerged, &plain) > 1e-3, "{name}: the adapters change nothing");
        }
    }
}

#[test]
fn a_fresh_adapter_changes_nothing() {
    let (config, tensors) = model("qwen3-mini");
    let lora = LoraConfig::default();
    let fresh = lora.fresh(&config, Stream::root(1)).unwrap();
    assert!(fresh.iter().all(|(name, x)| {
        let largest = x.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        if name.contains("lora_B") { largest == 0.0 } else { largest > 0.01 }
    }));
    let plain = CausalLm::new(&config, &tensors).unwrap();
    let with = plain.clone().with_adapters(&lora, &fresh).unwrap();
    assert_eq!(logits(&plain), logits(&with));
}

#[test]
fn what_is_saved_in_pefts_layout_loads() {
    let (config, _) = model("llama3-mini");
    let lora = LoraConfig {
        rank: 2,
        alpha: 5.0,
        dropout: 0.1,
        rslora: true,
        targets: vec![Target::QProj, Target::UpProj],
    };
    let adapters = trained(&lora, &config);
    let dir = tempfile::tempdir().unwrap();
    lora.save(dir.path(), &adapters, "some/base").unwrap();
    let (read, again) = LoraConfig::load(dir.path(), &config).unwrap();
    assert_eq!(read, lora);
    assert_eq!(again.keys().collect::<Vec<_>>(), adapters.keys().collect::<Vec<_>>());
    for (name, x) in &adapters {
        let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(flat(&again[name]), flat(x), "{name}");
    }
    // The names that peft 0.21 writes for these targets.
    let file = std::fs::read(dir.path().join(FILE)).unwrap();
    let file = safetensors::SafeTensors::deserialize(&file).unwrap();
    let shape = |name: &str| file.tensor(name).unwrap().shape().to_vec();
    let (c, m) = (config.hidden, config.intermediate);
    assert_eq!(shape("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"), [2, c]);
    assert_eq!(shape("base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"), [m, 2]);
    assert_eq!(file.len(), 4 * config.layers);
    let json: Value =
        serde_json::from_str(&std::fs::read_to_string(dir.path().join(CONFIG_FILE)).unwrap()).unwrap();
    assert_eq!(json["base_model_name_or_path"], "some/base");
    assert_eq!((&json["r"], &json["lora_alpha"]), (&json!(2), &json!(5.0)));
    assert_eq!(json["target_modules"], json!(["q_proj", "up_proj"]));
}

#[test]
fn what_is_not_this_kind_of_adapter_is_refused_by_key() {
    let (config, _) = model("llama3-mini");
    let lora = LoraConfig { rank: 2, ..LoraConfig::default() };
    let dir = tempfile::tempdir().unwrap();
    lora.save(dir.path(), &trained(&lora, &config), "x").unwrap();
    let path = dir.path().join(CONFIG_FILE);
    let good: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    for (key, value) in [
        ("peft_type", json!("IA3")),
        ("use_dora", json!(true)),
        ("bias", json!("all")),
        ("rank_pattern", json!({ "q_proj": 4 })),
        ("modules_to_save", json!(["lm_head"])),
        ("target_modules", json!(["lm_head"])),
        ("target_modules", json!("all-linear")),
        ("r", json!(0)),
        ("r", json!(1.5)),
        ("r", json!("8")),
    ] {
        let mut bad = good.clone();
        bad[key] = value;
        std::fs::write(&path, bad.to_string()).unwrap();
        let error = LoraConfig::load(dir.path(), &config).unwrap_err();
        assert!(matches!(&error, Error::Config { key: named, .. } if named == key), "{key}: {error}");
    }
    // A config that calls for more than the file holds.
    let mut more = good.clone();
    more["r"] = json!(3);
    std::fs::write(&path, more.to_string()).unwrap();
    assert!(matches!(LoraConfig::load(dir.path(), &config), Err(Error::Shape { .. })));
}

#[test]
fn settings_out_of_range_are_refused_by_key() {
    for (lora, key) in [
        (LoraConfig { rank: 0, ..LoraConfig::default() }, "rank"),
        (LoraConfig { alpha: 0.0, ..LoraConfig::default() }, "alpha"),
        (LoraConfig { dropout: 1.0, ..LoraConfig::default() }, "dropout"),
        (LoraConfig { targets: vec![], ..LoraConfig::default() }, "targets"),
    ] {
        let error = lora.validate().unwrap_err().to_string();
        assert!(error.contains(&format!("`{key}`")), "{error}");
    }
}
