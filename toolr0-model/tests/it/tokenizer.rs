//! Text to ids and back, on a small byte-level BPE made here, and on a real one where it is at hand.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::path::Path;
use toolr0_model::config::ModelConfig;
use toolr0_model::error::Error;
use toolr0_model::tokenizer::{Incremental, SpecialTokens, Tokenizer};

/// GPT-2's spelling of a byte as a visible character.
fn spelling(byte: u8) -> char {
    let visible = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    match visible(byte) {
        true => char::from(byte),
        false => char::from_u32(256 + (0..byte).filter(|&b| !visible(b)).count() as u32).unwrap(),
    }
}

/// A byte-level BPE of 256 bytes, four merges and two special tokens, as a `tokenizer.json`.
fn json_of(truncation: Value) -> String {
    let mut vocab: Map<String, Value> = (0..=255u8).map(|b| (spelling(b).to_string(), b.into())).collect();
    let merges = [("h", "i"), ("t", "h"), ("th", "e"), ("Ġ", "the")];
    for (i, (a, b)) in merges.iter().enumerate() {
        vocab.insert(format!("{a}{b}"), (256 + i).into());
    }
    let special = |id: u32, content: &str| json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true });
    let merges: Vec<_> = merges.iter().map(|(a, b)| format!("{a} {b}")).collect();
    json!({
        "version": "1.0", "truncation": truncation, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [special(260, "<|im_start|>"), special(261, "<|im_end|>")],
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "vocab": vocab, "merges": merges },
    })
    .to_string()
}

pub(crate) fn small() -> Tokenizer {
    Tokenizer::from_json(json_of(Value::Null), Path::new("m/tokenizer.json")).unwrap()
}

#[test]
fn special_tokens_are_recognised_and_never_added() {
    let tokenizer = small();
    let ids = tokenizer.encode("<|im_start|>hi the<|im_end|>").unwrap();
    assert_eq!(ids, [260, 256, 259, 261]);
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), "<|im_start|>hi the<|im_end|>");
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "hi the");
    assert_eq!(tokenizer.encode("").unwrap(), [0; 0]);
    assert_eq!((tokenizer.id("<|im_end|>"), tokenizer.id("nope"), tokenizer.n_ids()), (Some(261), None, 262));
    assert_eq!(tokenizer.token(256).as_deref(), Some("hi"));
    // An id from a spare row of the embedding is nothing.
    assert_eq!(tokenizer.decode(&[256, 9999, 256], false).unwrap(), "hihi");
    assert_eq!(tokenizer.decode(&[0xc3], false).unwrap(), "\u{fffd}");
}

#[test]
fn limits_in_the_file_do_not_cut_a_prompt() {
    let cut = json!({ "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0 });
    let tokenizer = Tokenizer::from_json(json_of(cut), Path::new("t")).unwrap();
    assert_eq!(tokenizer.encode("abcdef").unwrap().len(), 6);
    // The file itself is kept as it was.
    assert!(tokenizer.json().contains("max_length"));
}

#[test]
fn a_tokenizer_must_fit_its_model() {
    let config =
        ModelConfig::from_json(include_str!("golden/config/qwen2-tied.json"), Path::new("c")).unwrap();
    small().check_fits(&config).unwrap();
    small().check_fits(&ModelConfig { vocab_size: 262, ..config.clone() }).unwrap();
    let error =
        small().check_fits(&ModelConfig { vocab_size: 261, ..config.clone() }).unwrap_err().to_string();
    assert!(
        error.contains("m/tokenizer.json") && error.contains("<|im_end|>") && error.contains("261"),
        "{error}"
    );
    let special = json!({ "eos_token": { "content": "<|im_end|>" }, "bos_token": null });
    let special = SpecialTokens::from_config(special.as_object().unwrap());
    assert_eq!(small().eos_ids(&config, &special), [2, 261]);
    assert_eq!(small().eos_ids(&ModelConfig { eos_token_ids: vec![261], ..config }, &special), [261]);
}

#[test]
fn broken_files_are_errors() {
    let empty =
        r#"{"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}"#;
    for text in ["", "{}", "[]", "null", &json_of(Value::Null)[..2000], empty] {
        let error = Tokenizer::from_json(text, Path::new("m/tokenizer.json")).unwrap_err();
        assert!(
            matches!(&error, Error::Tokenizer { path, .. } if path == Path::new("m/tokenizer.json")),
            "{text}: {error:?}"
        );
    }
    assert!(matches!(Tokenizer::load(Path::new("/nonexistent")), Err(Error::Read { .. })));
}

/// Feeds `ids` one by one and returns the text of each push and of the end.
fn pieces(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> Vec<String> {
    let mut incremental = Incremental::new(skip_special);
    let mut pieces: Vec<String> =
        ids.iter().map(|&id| incremental.push(tokenizer, id).unwrap().to_owned()).collect();
    pieces.push(incremental.finish(tokenizer).unwrap().to_owned());
    assert_eq!(incremental.text(), pieces.concat());
    pieces
}

#[test]
fn characters_come_whole() {
    let tokenizer = small();
    let ids = tokenizer.encode("hié😀!").unwrap();
    assert_eq!(pieces(&tokenizer, &ids, false), ["hi", "", "é", "", "", "", "😀", "!", ""]);
    // Bytes that no character has are not waited for.
    let broken = pieces(&tokenizer, &[0xff; 12], false);
    assert!(!broken[..8].concat().is_empty(), "{broken:?}");
    assert_eq!(pieces(&tokenizer, &[256, 0xc3], false), ["hi", "", "\u{fffd}"]);
}

proptest! {
    #[test]
    fn text_survives_and_comes_piece_by_piece(text in "(\\PC|hi| the|<\\|im_end\\|>|\n){0,40}") {
        let tokenizer = small();
        let ids = tokenizer.encode(&text).unwrap();
        prop_assert_eq!(&tokenizer.decode(&ids, false).unwrap(), &text);
        prop_assert_eq!(&pieces(&tokenizer, &ids, false).concat(), &text);
        prop_assert_eq!(pieces(&tokenizer, &ids, true).concat(), tokenizer.decode(&ids, true).unwrap());
    }

    /// What a broken model may draw: any ids at all.
    #[test]
    fn any_ids_are_text(ids in prop::collection::vec(0u32..400, 0..60)) {
        pieces(&small(), &ids, false);
    }

    #[test]
    fn a_stop_string_is_found_when_it_is_complete(
        text in "[ab<>é]{0,40}",
        stops in prop::collection::vec("[ab<>é]{1,4}", 0..4),
    ) {
        let tokenizer = small();
        let mut incremental = Incremental::new(false);
        for id in tokenizer.encode(&text).unwrap() {
            incremental.push(&tokenizer, id).unwrap();
            let want = stops.iter().filter_map(|stop| incremental.text().find(stop)).min();
            prop_assert_eq!(incremental.find_stop(&stops), want);
            if want.is_some() {
                break;
            }
        }
    }
}

/// 333 lines of the tokenizers crate's Python package (0.23.3) on SmolLM2's 49,152-entry byte-level BPE.
#[test]
fn every_golden_line_encodes_and_decodes() {
    let Some(dir) = crate::shared("golden/tokenizer") else { return };
    let tokenizer = Tokenizer::load(&dir).unwrap();
    tokenizer.check_fits(&ModelConfig::load(&dir).unwrap()).unwrap();
    let text = std::fs::read_to_string(dir.join("golden.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 333);
    for (index, line) in text.lines().enumerate() {
        let case: Value = serde_json::from_str(line).unwrap();
        let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        let decoded = case["decoded"].as_str().unwrap();
        assert_eq!(tokenizer.encode(case["text"].as_str().unwrap()).unwrap(), ids, "line {index}");
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), decoded, "line {index}");
        assert_eq!(pieces(&tokenizer, &ids, false).concat(), decoded, "line {index}");
    }
}
