//! Whatever a model replies, the readers of the public release's rules answer, and never panic.

#[path = "../../fuzz/targets.rs"]
mod targets;

use proptest::prelude::*;
use serde_json::Value;

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
        targets::replies(&text);
    }

    #[test]
    fn never_panics_near_the_format(text in fragments()) {
        targets::replies(&text);
    }
}

#[test]
fn goldens_whole_and_cut_off_are_read() {
    for line in include_str!("golden/curriculum.jsonl").lines() {
        let golden: Value = serde_json::from_str(line).unwrap();
        for text in [Some(line), golden["text"].as_str()].into_iter().flatten() {
            targets::replies(text);
            targets::replies(&text[..text.floor_char_boundary(text.len() / 2)]);
        }
    }
}

#[test]
fn a_mebibyte_of_anything_is_read() {
    for part in ["[", "<tool_call_answer>", "{\"a\":", "```", "5"] {
        targets::replies(&part.repeat((1 << 20) / part.len()));
    }
    targets::replies(&format!("<tool_call_answer>{}", "[".repeat(1 << 20)));
}
