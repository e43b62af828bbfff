//! The release's reward of a solver's completion.

use serde_json::Value;

use super::literal::literal_eval;
use super::python::{Dict, Py, collapse, digit, float, is_space, loads, strip};
use super::{Call, Case, blocks, normalize_call, strip_fences};

/// What the release makes of a solver's completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// 0.3 for an answer, 0.3 more if it parses, 0.4 more if a call can be read out of it.
    pub format: f64,
    /// From 0 to 1; 0 without a `<think>` block.
    pub accuracy: f64,
    /// The calls as `[{"name": .., "arguments": ..}]`; null without a tag, a parse or a call.
    pub parsed: Value,
}

/// Scores a completion against the gold calls (a JSON list, spelt in any way that the release reads).
///
/// # Examples
///
/// ```
/// use serde_json::json;
/// let gold = json!([{"name": "f", "arguments": {"a": 1, "b": 2, "c": 3}}]);
/// let text = r#"<think>.</think><tool_call_answer>[{"name": "f", "a": 1, "b": 2}]</tool_call_answer>"#;
/// let score = toolr0_reward::release::solver::score(&gold, text);
/// assert!((score.accuracy - 0.94).abs() < 1e-12, "a missing key costs nothing in the values' share");
/// ```
pub fn score(gold: &Value, completion: &str) -> Score {
    let last = |tag: &str| {
        blocks(completion, tag, Case::Ignored).last().map(|text| strip(text)).filter(|t| !t.is_empty())
    };
    let Some(answer) = last("tool_call_answer") else {
        return Score { format: 0.0, accuracy: 0.0, parsed: Value::Null };
    };
    let value = loads_relaxed(answer);
    let calls = value.as_ref().and_then(calls);
    let format = 0.3
        + if value.as_ref().is_some_and(|v| !matches!(v, Py::None)) { 0.3 } else { 0.0 }
        + if calls.is_some() { 0.4 } else { 0.0 };
    let mut accuracy = 0.0;
    if let (Some(calls), Some(gold), Some(_)) = (&calls, gold_calls(gold), last("think")) {
        accuracy = accuracy_of(calls, &gold);
    }
    let parsed = calls.map_or(Value::Null, |calls| calls.iter().map(to_json).collect());
    Score { format, accuracy, parsed }
}

fn to_json(call: &Call) -> Value {
    serde_json::json!({"name": call.name, "arguments": Py::Dict(call.arguments.clone()).to_json()})
}

/// JSON, else a Python literal, else JSON once Python's words are replaced; nothing that holds an ellipsis.
fn loads_relaxed(text: &str) -> Option<Py> {
    let text = strip(strip_fences(text));
    if text.contains("...") {
        return None;
    }
    loads(text)
        .or_else(|| literal_eval(text))
        .or_else(|| loads(&text.replace("None", "null").replace("True", "true").replace("False", "false")))
}

/// The calls of an answer; `None` if there is none.
fn calls(value: &Py) -> Option<Vec<Call>> {
    let one = std::slice::from_ref(value);
    let items = if let Py::List(items) = value { items.as_slice() } else { one };
    let calls: Vec<Call> = items.iter().filter_map(|item| normalize_call(item, loads_relaxed)).collect();
    if calls.is_empty() { None } else { Some(calls) }
}

/// The gold calls; `None` if there are none, or if an ellipsis stands anywhere in them (fault 14).
fn gold_calls(gold: &Value) -> Option<Vec<Call>> {
    if gold.to_string().contains("...") {
        return None;
    }
    calls(&Py::from_json(gold))
}

fn accuracy_of(predicted: &[Call], gold: &[Call]) -> f64 {
    let mut used = vec![false; predicted.len()];
    let mut total = 0.0;
    for want in gold {
        // Greedy: the best that is left, the earlier of equals, and only if it earns anything.
        let mut best: Option<(usize, f64)> = None;
        for (at, got) in predicted.iter().enumerate().filter(|(at, _)| !used[*at]) {
            let score = call_score(got, want);
            if score > best.map_or(0.0, |(_, score)| score) {
                best = Some((at, score));
            }
        }
        if let Some((at, score)) = best {
            used[at] = true;
            total += score;
        }
    }
    let extra = predicted.len().saturating_sub(gold.len());
    (total / gold.len() as f64 / (1.0 + 0.25 * extra as f64)).clamp(0.0, 1.0)
}

fn call_score(got: &Call, want: &Call) -> f64 {
    let name = strip(&got.name) == strip(&want.name) && !strip(&got.name).is_empty();
    let (got, want) = (&got.arguments, &want.arguments);
    let both: Vec<(&Py, &Py)> =
        want.iter().filter_map(|(key, b)| got.get_same(key).map(|a| (a, b))).collect();
    let keys = f1(both.len(), got, want);
    let values = match (both.is_empty(), got.len() + want.len()) {
        (true, 0) => 1.0,
        (true, _) => 0.0,
        (false, _) => both.iter().filter(|(a, b)| values_match(a, b)).count() as f64 / both.len() as f64,
    };
    0.2 * f64::from(name) + 0.3 * keys + 0.5 * values
}

fn f1(both: usize, got: &Dict, want: &Dict) -> f64 {
    if got.len() + want.len() == 0 {
        return 1.0;
    }
    if both == 0 {
        return 0.0;
    }
    let (precision, recall) = (both as f64 / got.len() as f64, both as f64 / want.len() as f64);
    2.0 * precision * recall / (precision + recall)
}

/// The release's comparison of two values.
fn values_match(a: &Py, b: &Py) -> bool {
    if a.equals(b) {
        return true;
    }
    let textual = |v: &Py| matches!(v, Py::Int(_) | Py::Bool(_) | Py::Str(_)).then(|| v.display());
    if let (Some(a), Some(b)) = (textual(a), textual(b)) {
        let (a, b) = (strip(&a), strip(&b));
        if is_numeral(a) && is_numeral(b) {
            return a == b;
        }
    }
    if let (Some(a), Some(b)) = (as_float(a), as_float(b)) {
        return (a - b).abs() < 1e-9;
    }
    if let (Py::Str(a), Py::Str(b)) = (a, b) {
        return collapse(a) == collapse(b);
    }
    a.canonical() == b.canonical()
}

/// `-?\d+(\.\d+)?` with white space around; digits of any script.
fn is_numeral(text: &str) -> bool {
    let text = text.trim_matches(is_space);
    let text = text.strip_prefix('-').unwrap_or(text);
    let digits = |part: &str| !part.is_empty() && part.chars().all(|c| digit(c).is_some());
    match text.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(text),
    }
}

/// A number, or a short string that spells one; a long one is an identifier.
fn as_float(value: &Py) -> Option<f64> {
    match value {
        Py::Int(digits) => digits.parse().ok().filter(|f: &f64| f.is_finite()),
        Py::Float(f) => Some(*f),
        Py::Str(text) if is_numeral(text) => {
            let digits = strip(text).trim_start_matches(['+', '-']).chars().filter(|c| *c != '.').count();
            if digits > 15 { None } else { float(text) }
        }
        _ => None,
    }
}
