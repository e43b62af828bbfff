//! The public release's rules, reproduced so that old and new numbers can be compared. Not for training: the
//! [module of rewards](crate::reward) corrects what is wrong here.
//!
//! - [`solver`]: format and accuracy of a solver's completion;
//! - [`generator`]: the six sub-rewards of a generator's completion, format and validity;
//! - [`verify`]: structural verification, the normalised menu, fingerprints and quality of a candidate task.
//!
//! The rules lean on Python: its JSON and literals, Unicode case folding, and what `\b` and `\s` match. Two bounds
//! are ours: a completion beyond [`MAX_BYTES`] counts as one without any tag, and values nested deeper than Python's
//! own limits, which vary with its version, as unparsable.
//!
//! # Source
//!
//! The initial release of Tool-R0 (Apache-2.0, March 2026), its one syntax error repaired so that every argument of
//! the first call is checked for grounding.

pub mod generator;
mod literal;
mod python;
pub mod solver;
pub mod verify;

use python::{Dict, Py, is_space, strip};

/// A completion longer than this counts as one without tags; as in [`crate::wire`].
pub const MAX_BYTES: usize = crate::wire::MAX_BYTES;

/// Reads a Python literal, as `ast.literal_eval` does, into the nearest JSON: published files write lists of calls and
/// tools as Python prints them. `None` where Python raises.
pub fn literal(text: &str) -> Option<serde_json::Value> {
    literal::literal_eval(text).map(|value| value.to_json())
}

/// How a tag is looked for.
#[derive(Clone, Copy, PartialEq)]
enum Case {
    Exact,
    Ignored,
}

/// The blocks `<tag>..</tag>`, each from an opening tag to the nearest closing one after it, not overlapping.
fn blocks<'a>(text: &'a str, tag: &str, case: Case) -> Vec<&'a str> {
    if text.len() > MAX_BYTES {
        return Vec::new();
    }
    // Lower-casing ASCII alone keeps every byte offset.
    let lower = if case == Case::Ignored { text.to_ascii_lowercase() } else { text.to_owned() };
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = lower[at..].find(&open).map(|s| at + s + open.len()) {
        let Some(end) = lower[start..].find(&close).map(|e| start + e) else { break };
        found.push(&text[start..end]);
        at = end + close.len();
    }
    found
}

/// Takes Markdown fences off both ends: ```` ```json ````, ```` ``` ````.
fn strip_fences(text: &str) -> &str {
    let text = strip(text);
    let text = match text.strip_prefix("```") {
        Some(rest) => {
            let json = rest.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("json"));
            rest[if json { 4 } else { 0 }..].trim_start_matches(is_space)
        }
        None => text,
    };
    text.strip_suffix("```").map_or(text, |rest| rest.trim_end_matches(is_space))
}

/// Reads one call in any of the spellings that the release takes: a list (its first item), a `function` object,
/// `name` or `tool_name` with `arguments` (a dictionary, or a string that `loads` reads as one), or with the
/// arguments beside the name.
fn normalize_call(value: &Py, loads: impl Fn(&str) -> Option<Py>) -> Option<Call> {
    let value = if let Py::List(items) = value { items.first()? } else { value };
    let object = value.as_dict()?;
    let arguments = |object: &Dict| match object.get("arguments") {
        Some(Py::Str(text)) => loads(text).and_then(|value| value.as_dict().cloned()),
        Some(Py::Dict(dict)) => Some(dict.clone()),
        _ => None,
    };
    if let Some(function) = object.get("function").and_then(Py::as_dict)
        && let (Some(name), Some(arguments)) =
            (function.get("name").and_then(Py::as_str), arguments(function))
    {
        return Some(Call { name: name.to_owned(), arguments });
    }
    let name = object.get("name").filter(|name| name.truthy()).or_else(|| object.get("tool_name"))?;
    let name = name.as_str().filter(|name| !strip(name).is_empty())?.to_owned();
    let arguments = arguments(object).unwrap_or_else(|| object.without(&["name", "tool_name"]));
    Some(Call { name, arguments })
}

/// A call as the release holds it.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    arguments: Dict,
}

/// Whether `phrase` stands in `text` between word boundaries; it begins and ends with a letter.
fn has_phrase(text: &str, phrase: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(phrase).any(|(at, found)| {
        !is_word(text[..at].chars().next_back()) && !is_word(text[at + found.len()..].chars().next())
    })
}

/// Whether `[`, then the phrases in order, then `]` stand in `text`.
fn has_bracketed(text: &str, phrases: &[&str]) -> bool {
    let Some(mut at) = text.find('[').map(|at| at + 1) else { return false };
    for phrase in phrases {
        match text[at..].find(phrase) {
            Some(found) => at += found + phrase.len(),
            None => return false,
        }
    }
    text[at..].contains(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_end_at_the_nearest_closing_tag() {
        assert_eq!(blocks("<q>a<q>b</q>c</q><Q>d</Q>", "q", Case::Exact), ["a<q>b"]);
        assert_eq!(blocks("<q>a</q><Q>d</Q><q>", "q", Case::Ignored), ["a", "d"]);
        assert!(blocks(&"<q>".repeat(30_000), "q", Case::Exact).is_empty());
    }

    #[test]
    fn fences_come_off_both_ends() {
        for text in ["```json\n[1]\n```", "```JSON [1]```", "[1]\n```", "```\n[1]", " [1] "] {
            assert_eq!(strip_fences(text), "[1]", "{text:?}");
        }
        assert_eq!(strip_fences("```"), "");
    }

    #[test]
    fn phrases_respect_word_boundaries() {
        assert!(
            has_phrase("the control spec.", "control spec") && !has_phrase("control specs", "control spec")
        );
        assert!(has_bracketed("x [a b c] y", &["b"]) && !has_bracketed("b [a] y", &["b"]));
    }
}
