//! Whatever a model writes, what reads it answers, and never panics.

#[path = "../../fuzz/targets.rs"]
mod targets;

use proptest::prelude::*;
use serde_json::Value;

/// Every target.
fn read(text: &str) {
    targets::replies(text);
    targets::questions(text);
}

/// Texts near the format: tags in any case, fences, JSON and its parts, scores.
fn fragments() -> impl Strategy<Value = String> {
    let parts = [
        "<tool_call_answer>",
        "</tool_call_answer>",
        "<TOOL_CALL_ANSWER>",
        "```json",
        "```",
        "[",
        "]",
        "{",
        "}",
        "\"name\"",
        "\"arguments\"",
        ":",
        ",",
        "\"f\"",
        "NaN",
        "1e999",
        "\\ud800",
        "Score",
        "(1-5)",
        "4",
        "10",
        "easy",
        "HARD",
        "東京",
        "\u{200b}",
        "\0",
        " ",
        "\n",
    ];
    prop::collection::vec(prop::sample::select(parts.to_vec()), 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn never_panics_on_any_string(text in "\\PC*") {
        read(&text);
    }

    #[test]
    fn never_panics_near_the_format(text in fragments()) {
        read(&text);
    }
}

#[test]
fn goldens_whole_and_cut_off_are_read() {
    for line in include_str!("golden/curriculum.jsonl").lines() {
        let golden: Value = serde_json::from_str(line).unwrap();
        for text in [Some(line), golden["text"].as_str()].into_iter().flatten() {
            read(text);
            read(&text[..text.floor_char_boundary(text.len() / 2)]);
        }
    }
}

#[test]
fn a_mebibyte_of_anything_is_read() {
    for part in ["[", "<tool_call_answer>", "{\"a\":", "```", "5"] {
        read(&part.repeat((1 << 20) / part.len()));
    }
    read(&format!("<tool_call_answer>{}", "[".repeat(1 << 20)));
}

/// A target has a file and stands in the manifest of the fuzzer: none can be forgotten.
#[test]
fn every_target_is_known_to_the_fuzzer() {
    let fuzz = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let bodies = include_str!("../../fuzz/targets.rs").matches("pub(crate) fn ").count();
    let files: Vec<_> =
        fuzz.join("fuzz_targets").read_dir().unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), bodies);
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}
