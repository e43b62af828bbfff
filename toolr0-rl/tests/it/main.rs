//! The crate through its public API: one module per subject.

mod advantage;
mod conversation;
mod corrections;
mod cuda;
mod frontier;
mod given;
mod gradients;
mod grpo_loss;
mod lora;
mod options;
mod outside;
mod resume;
mod run_options;
mod selfplay;
mod switches;
mod update;

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::{Map, Value, json};
use toolr0_model::config::{Architecture, WeightDtype};
use toolr0_model::rng::{Stream, uniform_f64};
use toolr0_model::weights::{EMBEDDING, HEAD, expected_tensors};
use toolr0_model::{Checkpoint, ModelConfig};

/// A file or folder of the full golden set, which lies beside the repository or nowhere.
fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: ../shared/{name} is not here");
    None
}

/// Ids of the special tokens behind the 256 bytes; phrases follow.
const IM_START: u32 = 256;
const IM_END: u32 = 257;

/// GPT-2's spelling of a byte as a visible character.
fn spelling(byte: u8) -> char {
    let visible = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    match visible(byte) {
        true => char::from(byte),
        false => {
            char::from_u32(256 + (0..byte).filter(|&b| !visible(b)).count() as u32).expect("below 0x200")
        }
    }
}

/// A `tokenizer.json`: id `b` is the byte `b`, then come ChatML's two tokens, then one token per phrase.
fn tokenizer_json(phrases: &[String]) -> String {
    let vocab: Map<String, Value> = (0..=255u8).map(|b| (spelling(b).to_string(), b.into())).collect();
    let added = |id: u32, content: &str, special: bool| {
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": special })
    };
    let mut tokens = vec![added(IM_START, "<|im_start|>", true), added(IM_END, "<|im_end|>", true)];
    tokens.extend(phrases.iter().zip(IM_END + 1..).map(|(phrase, id)| added(id, phrase, false)));
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": tokens,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "vocab": vocab, "merges": [] },
    })
    .to_string()
}

/// Two layers over bytes and `phrases`, with seeded weights.
///
/// Component 0 of every embedding is the same number, so that the head's column 0 acts as a bias: it lifts each
/// phrase, a whole completion in one token, to about `lift` above a byte. A model of no training thus writes sound
/// tasks and answers now and then.
fn tiny(phrases: &[String], lift: f32, template: &str) -> Checkpoint {
    let config = ModelConfig {
        architecture: Architecture::Qwen2,
        vocab_size: 258 + phrases.len(),
        hidden: 16,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 6,
        intermediate: 24,
        rms_eps: 1e-6,
        rope_theta: 1e4,
        rope_scaling: None,
        tie_word_embeddings: false,
        qkv_bias: true,
        qk_norm: false,
        max_position: 4096,
        eos_token_ids: vec![IM_END],
        bos_token_id: None,
        pad_token_id: None,
        initializer_range: 0.02,
        dtype: WeightDtype::F32,
    };
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let mut rng = Stream::root(1).child(name.as_str()).rng();
        let (centre, size) = if name.contains("norm") { (1.0, 0.2) } else { (0.0, 0.25) };
        let n: usize = shape.iter().product();
        let mut values: Vec<f32> =
            (0..n).map(|_| (centre + size * (2.0 * uniform_f64(&mut rng) - 1.0)) as f32).collect();
        match name.as_str() {
            EMBEDDING => values.iter_mut().step_by(16).for_each(|x| *x = 2.0),
            // Component 0 is about 4 after the last norm.
            HEAD => values.iter_mut().step_by(16).skip(258).for_each(|x| *x += lift / 4.0),
            _ => {}
        }
        (name, Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values as the shape says"))
    };
    let tensors = expected_tensors(&config).into_iter().map(tensor).collect();
    let words = json!({ "eos_token": "<|im_end|>", "chat_template": template }).to_string();
    Checkpoint::new(config, tensors, &tokenizer_json(phrases), &words, Path::new("tiny"))
        .expect("its parts fit")
}
