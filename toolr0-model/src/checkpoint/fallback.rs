//! A tokenizer for checkpoints that bring none: one token a byte, and the marks of ChatML.
//!
//! Nobody was trained on these ids, so this is for models that were not trained at all: random weights with which
//! somebody tries the plumbing.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::CHATML;
use crate::config::ModelConfig;
use crate::error::{Error, Result};

/// Padding and end of text, opening and closing of a message.
const MARKS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// The texts of a `tokenizer.json` and a `tokenizer_config.json` that fit `config`.
///
/// The end of a message has the id that ends a completion by `config`, so that such a model can stop; the other marks
/// take the ids of padding and of the beginning of a text, and bytes the lowest ids that are left.
///
/// # Errors
///
/// [`Error::Tokenizer`] naming `path` if the vocabulary is too small for 256 bytes and the marks.
pub(super) fn byte_level(config: &ModelConfig, path: &Path) -> Result<(String, String)> {
    let least = 256 + MARKS.len();
    if config.vocab_size < least {
        let reason = format!(
            "is missing, and a vocab_size of {} has no room for a byte-level one, which takes {least}",
            config.vocab_size
        );
        return Err(Error::Tokenizer { path: path.into(), reason });
    }
    let wanted = [config.pad_token_id, config.bos_token_id, config.eos_token_ids.first().copied()];
    let fits = |id: &u32| (*id as usize) < config.vocab_size;
    // The end of a message chooses first: its id is the only one that matters to sampling.
    let mut marks: [Option<u32>; 3] = [None; 3];
    for mark in [2, 1, 0] {
        marks[mark] = wanted[mark].filter(fits).filter(|id| !marks.contains(&Some(*id)));
    }
    let taken: Vec<u32> = marks.iter().flatten().copied().collect();
    let mut free = (0u32..).filter(|id| !taken.contains(id));
    let mut next = || free.next().expect("the range of ids is larger than any vocabulary");
    let marks = marks.map(|id| id.unwrap_or_else(&mut next));
    let mut vocab = Map::new();
    for byte in 0..=u8::MAX {
        vocab.insert(spelling(byte).to_string(), next().into());
    }
    // An added token keeps the id it is given only if the vocabulary knows it under that id.
    vocab.extend(MARKS.iter().zip(marks).map(|(mark, id)| (mark.to_string(), id.into())));
    let added: Vec<Value> = MARKS
        .iter()
        .zip(marks)
        .map(|(mark, id)| {
            json!({"id": id, "content": mark, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": bytes,
        "post_processor": null,
        "decoder": bytes,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    let words = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": null,
        "eos_token": MARKS[2],
        "pad_token": MARKS[0],
        "model_max_length": config.max_position,
        "clean_up_tokenization_spaces": false,
        "chat_template": CHATML,
    });
    Ok((format!("{tokenizer:#}\n"), format!("{words:#}\n")))
}

/// The letter by which byte-level tokenizers spell a byte: itself where it can be seen, else one from 256 on.
///
/// # Source
///
/// `bytes_to_unicode` of GPT-2's `encoder.py`.
fn spelling(byte: u8) -> char {
    let seen = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if seen(byte) {
        return char::from(byte);
    }
    let hidden_before = (0..byte).filter(|b| !seen(*b)).count() as u32;
    char::from_u32(256 + hidden_before).expect("256 to 323 are letters")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tokenizer;

    fn config(vocab: usize, eos: u32) -> ModelConfig {
        let json = format!(
            r#"{{"model_type":"qwen2","architectures":["Qwen2ForCausalLM"],"hidden_size":8,"num_hidden_layers":1,
            "num_attention_heads":2,"num_key_value_heads":1,"intermediate_size":8,"vocab_size":{vocab},
            "max_position_embeddings":64,"rms_norm_eps":1e-6,"rope_theta":10000.0,"tie_word_embeddings":true,
            "hidden_act":"silu","eos_token_id":{eos},"bos_token_id":1}}"#
        );
        ModelConfig::from_json(&json, Path::new("c")).unwrap()
    }

    #[test]
    fn any_text_comes_back_and_fits_the_smallest_vocabulary() {
        let config = config(259, 258);
        let (json, _) = byte_level(&config, Path::new("t")).unwrap();
        let tokenizer = Tokenizer::from_json(json, Path::new("t")).unwrap();
        tokenizer.check_fits(&config).unwrap();
        for text in ["", "a  b\n\t{\"x\": 1}", "Zoë, 東京 \u{0}\u{7f}\u{ad}", "<|im_end|"] {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(ids.len(), text.len(), "one token a byte");
            assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
        }
    }

    #[test]
    fn the_end_of_a_message_is_what_ends_a_completion() {
        let config = config(320, 2);
        let (json, words) = byte_level(&config, Path::new("t")).unwrap();
        let tokenizer = Tokenizer::from_json(json, Path::new("t")).unwrap();
        assert_eq!(tokenizer.id("<|im_end|>"), Some(2));
        assert_eq!(tokenizer.id("<|im_start|>"), Some(1));
        assert_eq!(tokenizer.encode("<|im_end|>").unwrap(), [2]);
        crate::ChatTemplate::from_config_json(&words, Path::new("w")).unwrap();
    }

    #[test]
    fn a_vocabulary_without_room_is_refused() {
        let error = byte_level(&config(258, 2), Path::new("d/tokenizer.json")).unwrap_err().to_string();
        assert!(
            error.starts_with("tokenizer d/tokenizer.json: is missing") && error.contains("258"),
            "{error}"
        );
    }
}
