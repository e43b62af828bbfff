//! Config files in both spellings, and the rotary frequencies they imply.

use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;
use toolr0_model::config::{Architecture, Llama3Scaling, ModelConfig, WeightDtype};
use toolr0_model::error::Error;

/// Written by transformers 5.23.0 (`NAME.json`), and the same in the older spelling (`NAME.v4.json`).
const CONFIGS: [(&str, &str, &str); 5] = [
    (
        "qwen2-tied",
        include_str!("golden/config/qwen2-tied.json"),
        include_str!("golden/config/qwen2-tied.v4.json"),
    ),
    (
        "qwen2-untied",
        include_str!("golden/config/qwen2-untied.json"),
        include_str!("golden/config/qwen2-untied.v4.json"),
    ),
    ("qwen3", include_str!("golden/config/qwen3.json"), include_str!("golden/config/qwen3.v4.json")),
    (
        "llama3-scaled-rope",
        include_str!("golden/config/llama3-scaled-rope.json"),
        include_str!("golden/config/llama3-scaled-rope.v4.json"),
    ),
    (
        "llama-plain",
        include_str!("golden/config/llama-plain.json"),
        include_str!("golden/config/llama-plain.v4.json"),
    ),
];

fn parse(text: &str) -> Result<ModelConfig, Error> {
    ModelConfig::from_json(text, Path::new("m/config.json"))
}

#[test]
fn both_spellings_mean_the_same_and_survive_a_round_trip() {
    for (name, new, old) in CONFIGS {
        let config = parse(new).unwrap();
        assert_eq!(config, parse(old).unwrap(), "{name}");
        assert_eq!(config, parse(&config.to_json()).unwrap(), "{name}");
    }
}

#[test]
fn fields_are_what_the_files_say() {
    let [qwen2, untied, qwen3, scaled, plain] = CONFIGS.map(|(_, text, _)| parse(text).unwrap());
    let want = ModelConfig {
        architecture: Architecture::Qwen2,
        vocab_size: 320,
        hidden: 64,
        layers: 3,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        intermediate: 160,
        rms_eps: 1e-6,
        rope_theta: 1e6,
        rope_scaling: None,
        tie_word_embeddings: true,
        qkv_bias: true,
        qk_norm: false,
        max_position: 512,
        eos_token_ids: vec![2],
        bos_token_id: Some(1),
        pad_token_id: Some(0),
        initializer_range: 0.02,
        dtype: WeightDtype::F32,
    };
    assert_eq!(qwen2, want);
    assert_eq!(untied, ModelConfig { tie_word_embeddings: false, ..want.clone() });
    let heads = ModelConfig {
        architecture: Architecture::Qwen3,
        head_dim: 32,
        qkv_bias: false,
        qk_norm: true,
        ..want.clone()
    };
    assert_eq!(qwen3, heads);
    let llama = ModelConfig { architecture: Architecture::Llama, qkv_bias: false, rms_eps: 1e-5, ..want };
    let scaling = Llama3Scaling {
        factor: 32.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position: 128,
    };
    assert_eq!(scaled, ModelConfig { rope_theta: 5e5, rope_scaling: Some(scaling), ..llama.clone() });
    assert_eq!(plain, ModelConfig { rope_theta: 1e4, tie_word_embeddings: false, ..llama });
    // 320 * 64 tied + 3 layers + final norm, counted by hand for the plain Llama: no biases, no q/k norms.
    let layer = 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 160 + 2 * 64;
    assert_eq!(plain.n_params(), 2 * 320 * 64 + 3 * layer + 64);
    assert_eq!(qwen2.n_params(), 320 * 64 + 3 * (layer + 64 + 32 + 32) + 64);
}

#[test]
fn a_real_file_of_smollm2_loads() {
    let config = parse(include_str!("golden/config/smollm2.json")).unwrap();
    assert_eq!((config.architecture, config.dtype), (Architecture::Llama, WeightDtype::Bf16));
    assert_eq!((config.heads, config.kv_heads, config.head_dim), (9, 3, 64));
    assert_eq!(config.n_params(), 134_515_008); // "SmolLM2-135M"
    assert_eq!(config, parse(&config.to_json()).unwrap());
}

#[derive(Deserialize)]
struct InvFreq {
    format: u32,
    cases: Vec<InvFreqCase>,
}

#[derive(Deserialize)]
struct InvFreqCase {
    theta: f64,
    d: usize,
    scaling: Option<Value>,
    inv_freq: Vec<f32>,
}

/// Golden file: `golden/config/inv_freq.json`, written by the script beside it.
#[test]
fn rotary_frequencies_match_python() {
    let golden: InvFreq = serde_json::from_str(include_str!("golden/config/inv_freq.json")).unwrap();
    assert_eq!(golden.format, 1, "rerun golden/config/inv_freq.py");
    for case in golden.cases {
        let scaling = case.scaling.map(|s| Llama3Scaling {
            factor: s["factor"].as_f64().unwrap(),
            low_freq_factor: s["low"].as_f64().unwrap(),
            high_freq_factor: s["high"].as_f64().unwrap(),
            original_max_position: s["context"].as_u64().unwrap() as usize,
        });
        let base = parse(CONFIGS[4].1).unwrap();
        let config = ModelConfig { rope_theta: case.theta, head_dim: case.d, rope_scaling: scaling, ..base };
        let got = config.inv_freq();
        assert_eq!(got.len(), case.inv_freq.len());
        for (i, (got, want)) in got.iter().zip(&case.inv_freq).enumerate() {
            let gap = (got - want).abs() / want;
            assert!(gap < 3e-7, "theta {}, d {}, pair {i}: got {got}, want {want}", case.theta, case.d);
        }
    }
}

/// The first config with `change` laid over it: a null removes a key.
fn changed(base: usize, change: Value) -> String {
    let mut config: Value = serde_json::from_str(CONFIGS[base].1).unwrap();
    for (key, value) in change.as_object().unwrap() {
        match value.is_null() {
            true => drop(config.as_object_mut().unwrap().shift_remove(key)),
            false => config[key] = value.clone(),
        }
    }
    config.to_string()
}

#[test]
fn what_is_not_supported_or_wrong_is_named() {
    let full = || json!(["full_attention", "sliding_attention", "full_attention"]);
    for (base, change, key) in [
        (0, json!({ "model_type": "gemma3" }), "model_type"),
        (0, json!({ "architectures": ["Qwen2ForTokenClassification"] }), "architectures"),
        (0, json!({ "hidden_act": "gelu" }), "hidden_act"),
        (0, json!({ "vocab_size": null }), "vocab_size"),
        (0, json!({ "vocab_size": -1 }), "vocab_size"),
        (0, json!({ "vocab_size": "320" }), "vocab_size"),
        (0, json!({ "hidden_size": 1e12 }), "hidden_size"),
        (0, json!({ "hidden_size": 63 }), "hidden_size"),
        (0, json!({ "num_hidden_layers": 5000, "layer_types": null }), "num_hidden_layers"),
        (0, json!({ "num_key_value_heads": 3 }), "num_key_value_heads"),
        (0, json!({ "num_key_value_heads": null }), "num_key_value_heads"),
        (0, json!({ "head_dim": 15 }), "head_dim"),
        (0, json!({ "head_dim": 514 }), "head_dim"),
        (0, json!({ "rms_norm_eps": 0.0 }), "rms_norm_eps"),
        (0, json!({ "rms_norm_eps": "1e-6" }), "rms_norm_eps"),
        (0, json!({ "tie_word_embeddings": 1 }), "tie_word_embeddings"),
        (0, json!({ "eos_token_id": 320 }), "eos_token_id"),
        (0, json!({ "eos_token_id": [2, "x"] }), "eos_token_id"),
        (0, json!({ "dtype": "float8_e4m3fn" }), "dtype"),
        (0, json!({ "quantization_config": { "bits": 4 } }), "quantization_config"),
        (0, json!({ "layer_types": full(), "sliding_window": 64 }), "sliding_window"),
        (0, json!({ "layer_types": ["full_attention"] }), "layer_types"),
        (
            0,
            json!({ "layer_types": ["full_attention", "linear_attention", "full_attention"] }),
            "layer_types",
        ),
        (
            0,
            json!({ "layer_types": null, "use_sliding_window": true, "sliding_window": 64, "max_window_layers": 1 }),
            "sliding_window",
        ),
        (2, json!({ "attention_bias": true }), "attention_bias"),
        (3, json!({ "attention_bias": true }), "attention_bias"),
        (3, json!({ "mlp_bias": true }), "mlp_bias"),
        (
            4,
            json!({ "rope_parameters": { "rope_type": "yarn", "factor": 4.0 } }),
            "rope_parameters.rope_type",
        ),
        (
            4,
            json!({ "rope_parameters": null, "rope_scaling": { "type": "linear", "factor": 2.0 } }),
            "rope_scaling.type",
        ),
        (
            4,
            json!({ "rope_parameters": { "rope_type": "llama3", "factor": 4.0 } }),
            "rope_parameters.low_freq_factor",
        ),
        (4, json!({ "rope_parameters": { "full_attention": {} } }), "rope_parameters.full_attention"),
        (
            4,
            json!({ "rope_parameters": { "partial_rotary_factor": 0.5 } }),
            "rope_parameters.partial_rotary_factor",
        ),
        (4, json!({ "rope_theta": 5.0 }), "rope_parameters.rope_theta"),
        (3, json!({ "rope_scaling": { "type": "default", "rope_theta": 500000.0 } }), "rope_scaling"),
        (4, json!({ "rope_parameters": [1] }), "rope_parameters"),
    ] {
        match parse(&changed(base, change.clone())) {
            Err(Error::Config { path, key: got, .. }) => {
                assert_eq!((path.to_str(), got.as_str()), (Some("m/config.json"), key), "{change}");
            }
            other => panic!("{change}: {other:?}"),
        }
    }
    assert!(matches!(parse("[]"), Err(Error::Json { .. })));
    assert!(matches!(parse(&"[".repeat(1 << 20)), Err(Error::Json { .. })));
}

#[test]
fn what_transformers_leaves_out_has_its_defaults() {
    let config = parse(&changed(4, json!({
        "num_key_value_heads": null, "head_dim": null, "rope_parameters": null, "max_position_embeddings": null,
        "rms_norm_eps": null, "dtype": null, "eos_token_id": null, "bos_token_id": null, "pad_token_id": -1,
        "architectures": null,
    })))
    .unwrap();
    assert_eq!(
        (config.kv_heads, config.head_dim, config.rope_theta, config.max_position),
        (4, 16, 1e4, 2048)
    );
    assert_eq!((config.eos_token_ids, config.bos_token_id, config.pad_token_id), (vec![], None, None));
    // A window that no sequence reaches is no window.
    let wide = json!({ "layer_types": null, "use_sliding_window": true, "sliding_window": 512, "max_window_layers": 0 });
    assert!(parse(&changed(0, wide)).is_ok());
    let idle = json!({ "layer_types": null, "use_sliding_window": false, "sliding_window": 64, "max_window_layers": 0 });
    assert!(parse(&changed(0, idle)).is_ok());
}

#[test]
fn a_second_end_of_turn_comes_from_the_generation_config() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), CONFIGS[0].1).unwrap();
    assert_eq!(ModelConfig::load(dir.path()).unwrap().eos_token_ids, [2]);
    std::fs::write(dir.path().join("generation_config.json"), r#"{"eos_token_id": [7, 2]}"#).unwrap();
    let config = ModelConfig::load(dir.path()).unwrap();
    assert_eq!(config.eos_token_ids, [2, 7]);
    // What we write says the same, and how to sample.
    let written: Value = serde_json::from_str(&config.generation_config_json(0.7, 0.9)).unwrap();
    assert_eq!(
        written,
        json!({
            "bos_token_id": 1, "eos_token_id": [2, 7], "pad_token_id": 0, "do_sample": true, "temperature": 0.7, "top_p": 0.9
        })
    );
    let greedy: Value = serde_json::from_str(&config.generation_config_json(0.0, 1.0)).unwrap();
    assert_eq!((&greedy["do_sample"], greedy.get("temperature")), (&json!(false), None));
    std::fs::write(dir.path().join("generation_config.json"), r#"{"eos_token_id": 9999}"#).unwrap();
    assert!(matches!(ModelConfig::load(dir.path()), Err(Error::Config { key, .. }) if key == "eos_token_id"));
    assert!(matches!(ModelConfig::load(Path::new("/nonexistent")), Err(Error::Read { .. })));
}
