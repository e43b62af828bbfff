//! Benchmark scoring: is a list of calls the answer to a benchmark question?
//!
//! Three published rules over one normal form of the questions ([`BenchItem`]):
//!
//! - [`ast_match`]: one verdict a question; name, keys and values of every call equal, numbers also when they are
//!   written as strings. This is the accuracy that we report;
//! - [`bfcl_match`]: the rule of the Berkeley Function Calling Leaderboard, with alternatives for each argument;
//! - [`hammer_counts`]: the counts behind Hammer's micro F1 of names and of parameters.
//!
//! These rules are kept as others use them, down to Python's idea of equality (`1 == True`, `str` of a list), so
//! that numbers can be compared. What we *train* with is decided in `matching` alone.
//!
//! A prediction is what the parser made of a model's text: calls, or `None` where there was nothing to read.

use std::collections::{BTreeMap, HashSet};
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use toolr0_tools::{Message, ToolCall, ToolSpec};

/// One benchmark question, as a line of JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchItem {
    /// Unique over all benchmarks.
    pub id: String,
    /// E.g. `bfcl`.
    pub benchmark: String,
    /// Part of the benchmark, e.g. `live_simple`.
    pub split: String,
    /// The conversation; the last message is the one to answer.
    pub messages: Vec<Message>,
    /// The menu.
    pub tools: Vec<ToolSpec>,
    /// Lists of calls, any one of which is right. `[[]]` where no call is, `[]` where any is.
    pub answers: Vec<Vec<ToolCall>>,
    /// BFCL's own form of the answer, one entry a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_spec: Option<Vec<CallSpec>>,
    /// Whatever else is known of the question; `expect` is read by the rules.
    #[serde(default)]
    pub meta: Map<String, Value>,
}

/// What a question without a definite answer wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// To see that no tool fits.
    NoCall,
    /// Any call at all.
    AnyCall,
}

impl BenchItem {
    /// Whether the question wants no call or any call, instead of certain ones.
    pub fn expect(&self) -> Option<Expect> {
        match self.meta.get("expect")?.as_str()? {
            "no_call" => Some(Expect::NoCall),
            "any_call" => Some(Expect::AnyCall),
            _ => None,
        }
    }

    /// Why the question cannot be asked or its answers cannot be right, if that is so: no tools, no words, or an answer
    /// that breaks the schema of its own tool. Types are not looked at: published answers write numbers as strings.
    pub fn fault(&self) -> Option<&'static str> {
        if self.tools.is_empty() {
            return Some("no tools");
        }
        if self.messages.iter().all(|message| message.content.trim().is_empty()) {
            return Some("no question");
        }
        let mut names = HashSet::new();
        if !self.tools.iter().all(|tool| names.insert(tool.name.as_str())) {
            return Some("two tools of one name");
        }
        if self.answers.is_empty() && self.expect() != Some(Expect::AnyCall) {
            return Some("no answer");
        }
        self.answers.iter().flatten().find_map(|call| {
            let Some(tool) = self.tools.iter().find(|tool| tool.name == call.name) else {
                return Some("the answer calls a tool that is not offered");
            };
            if tool.required().any(|key| !call.arguments.contains_key(key)) {
                return Some("the answer lacks a required argument");
            }
            let unknown = call.arguments.keys().any(|key| tool.param(key).is_none());
            unknown.then_some("the answer has an unknown argument")
        })
    }
}

/// A call with alternatives: `{"name": {"argument": [value, value, ..]}}`. The alternative `""` means that the
/// argument may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, BTreeMap<String, Vec<Value>>>")]
#[serde(into = "BTreeMap<String, BTreeMap<String, Vec<Value>>>")]
pub struct CallSpec {
    /// The tool's name.
    pub name: String,
    /// The allowed values of each argument.
    pub arguments: BTreeMap<String, Vec<Value>>,
}

impl TryFrom<BTreeMap<String, BTreeMap<String, Vec<Value>>>> for CallSpec {
    type Error = String;

    fn try_from(map: BTreeMap<String, BTreeMap<String, Vec<Value>>>) -> Result<Self, String> {
        let n = map.len();
        let mut entries = map.into_iter();
        match (entries.next(), n) {
            (Some((name, arguments)), 1) => Ok(Self { name, arguments }),
            _ => Err(format!("an entry of answer_spec names {n} tools, expected 1")),
        }
    }
}

impl From<CallSpec> for BTreeMap<String, BTreeMap<String, Vec<Value>>> {
    fn from(CallSpec { name, arguments }: CallSpec) -> Self {
        Self::from([(name, arguments)])
    }
}

/// Whether the prediction is one of the answers: as many calls, each with the name, the keys and the values of
/// another gold call, in any order.
///
/// Two values are the same if they are of one type and equal, or both are numbers (also as strings of at most 15
/// digits) less than 1e-9 apart, or both are strings that agree up to white space. `None` is the empty list, so
/// it is right where no call is wanted.
///
/// # Source
///
/// The binary AST accuracy that readers of Tool-R0, arXiv:2602.21320, describe; the value rule is that of the
/// public release's solver reward.
///
/// # Examples
///
/// ```
/// use toolr0_reward::ast::{BenchItem, ast_match};
/// let item: BenchItem = serde_json::from_str(r#"{"id": "1", "benchmark": "b", "split": "s", "messages": [],
///     "tools": [], "answers": [[{"name": "book", "arguments": {"n": 2}}]]}"#)?;
/// let right = serde_json::from_str::<Vec<_>>(r#"[{"name": "book", "arguments": {"n": "2.0"}}]"#)?;
/// assert!(ast_match(Some(&right), &item));
/// assert!(!ast_match(None, &item));
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn ast_match(prediction: Option<&[ToolCall]>, item: &BenchItem) -> bool {
    let calls = prediction.unwrap_or_default();
    if item.expect() == Some(Expect::AnyCall) {
        return !calls.is_empty();
    }
    item.answers.iter().any(|answer| each_once(calls, answer, call_eq))
}

/// Whether the prediction is right by BFCL's rule: as many calls as `answer_spec`, each paired with another entry
/// that it fits, in any order.
///
/// A call fits if it has the name, all arguments that the tool requires, none that the entry lacks, and of each
/// argument one of the alternatives. Strings agree up to case, spaces and the characters `,./-_*^`.
///
/// `false` for a question without `answer_spec` and without [`Expect`]: it is not BFCL's.
///
/// # Source
///
/// ShishirPatil/gorilla, `berkeley-function-call-leaderboard`, AST checker.
pub fn bfcl_match(prediction: Option<&[ToolCall]>, item: &BenchItem) -> bool {
    let calls = prediction.unwrap_or_default();
    match (item.expect(), &item.answer_spec) {
        (Some(Expect::NoCall), _) => calls.is_empty(),
        (Some(Expect::AnyCall), _) => !calls.is_empty(),
        (None, Some(specs)) => each_once(calls, specs, |call, spec| bfcl_call(call, spec, &item.tools)),
        (None, None) => false,
    }
}

/// Pairs every gold call with the first unused prediction that equals it; whether all found one and none is left.
fn each_once<T>(calls: &[ToolCall], gold: &[T], eq: impl Fn(&ToolCall, &T) -> bool) -> bool {
    if calls.len() != gold.len() {
        return false;
    }
    let mut used = vec![false; calls.len()];
    gold.iter().all(|gold| {
        let found = (0..calls.len()).find(|&i| !used[i] && eq(&calls[i], gold));
        found.inspect(|&i| used[i] = true).is_some()
    })
}

fn call_eq(call: &ToolCall, gold: &ToolCall) -> bool {
    call.name == gold.name
        && call.arguments.len() == gold.arguments.len()
        && gold
            .arguments
            .iter()
            .all(|(key, want)| call.arguments.get(key).is_some_and(|got| value_eq(got, want)))
}

fn value_eq(a: &Value, b: &Value) -> bool {
    if same_type(a, b) && python_eq(a, b) {
        return true;
    }
    if let (Some(x), Some(y)) = (number(a), number(b)) {
        return (x - y).abs() < 1e-9;
    }
    match (a, b) {
        (Value::String(a), Value::String(b)) => words(a).eq(words(b)),
        // Equal canonical JSON means equal values of one type, which the first test has seen.
        _ => false,
    }
}

/// Whether Python would give both the same `type`. A boolean is no integer here, an integer no float.
fn same_type(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.is_f64() == b.is_f64(),
        _ => std::mem::discriminant(a) == std::mem::discriminant(b),
    }
}

/// Python's `==`: numbers and booleans by value, lists by position, objects by key.
fn python_eq(a: &Value, b: &Value) -> bool {
    let as_number = |value: &Value| match value {
        Value::Bool(flag) => Some(Number::from(u8::from(*flag))),
        Value::Number(n) => Some(n.clone()),
        _ => None,
    };
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| python_eq(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| python_eq(a, b)))
        }
        _ => match (as_number(a), as_number(b)) {
            // Two integers are compared as such: as floats, large neighbours would be equal.
            (Some(a), Some(b)) if !a.is_f64() && !b.is_f64() => a == b,
            (Some(a), Some(b)) => a.as_f64() == b.as_f64(),
            _ => a == b,
        },
    }
}

/// A number, or a string that is one: an optional sign, digits, optionally a point and digits, at most 15 digits in
/// all. Longer strings are identifiers.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => {
            let text = text.trim_matches(is_space);
            let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
            let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            let well_formed = match digits.split_once('.') {
                Some((whole, fraction)) => all_digits(whole) && all_digits(fraction),
                None => all_digits(digits),
            };
            let short = digits.bytes().filter(u8::is_ascii_digit).count() <= 15;
            if well_formed && short { text.parse().ok() } else { None }
        }
        _ => None,
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// Python's `str.isspace`.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn bfcl_call(call: &ToolCall, spec: &CallSpec, tools: &[ToolSpec]) -> bool {
    let tool = tools.iter().find(|tool| tool.name == spec.name);
    call.name == spec.name
        && tool.is_none_or(|tool| tool.required().all(|key| call.arguments.contains_key(key)))
        && call.arguments.keys().all(|key| spec.arguments.contains_key(key))
        && spec.arguments.iter().all(|(key, options)| match call.arguments.get(key) {
            Some(value) => options.iter().any(|option| bfcl_value(value, option)),
            None => options.iter().any(may_be_left_out),
        })
}

fn may_be_left_out(option: &Value) -> bool {
    option.as_str() == Some("")
}

/// Objects and lists recursively; inside an object the alternatives are again lists of values.
fn bfcl_value(value: &Value, option: &Value) -> bool {
    let options = |option: &Value| match option {
        Value::Array(options) => options.clone(),
        single => vec![single.clone()],
    };
    match (value, option) {
        (Value::String(a), Value::String(b)) => standardize(a) == standardize(b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| bfcl_value(a, b))
        }
        (Value::Object(got), Value::Object(want)) => {
            got.iter().all(|(key, value)| {
                want.get(key).is_some_and(|want| options(want).iter().any(|option| bfcl_value(value, option)))
            }) && want
                .iter()
                .all(|(key, want)| got.contains_key(key) || options(want).iter().any(may_be_left_out))
        }
        _ => value.is_boolean() == option.is_boolean() && python_eq(value, option),
    }
}

fn standardize(text: &str) -> String {
    let kept: String = text.chars().filter(|c| !" ,./-_*^".contains(*c)).collect();
    kept.to_lowercase().replace('\'', "\"")
}

/// What the three rules say of one prediction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scores {
    /// The accuracy that we report.
    pub ast_match: bool,
    /// BFCL's own rule; only of its questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfcl_match: Option<bool>,
    /// The counts behind Hammer's F1.
    pub hammer_counts: HammerCounts,
}

impl Scores {
    /// Scores one prediction; `None` is one that could not be read.
    pub fn new(prediction: Option<&[ToolCall]>, item: &BenchItem) -> Self {
        let is_bfcl = item.answer_spec.is_some() || item.expect().is_some();
        Self {
            ast_match: ast_match(prediction, item),
            bfcl_match: is_bfcl.then(|| bfcl_match(prediction, item)),
            hammer_counts: hammer_counts(prediction, item),
        }
    }
}

/// The counts that Hammer sums over all questions before it divides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HammerCounts {
    /// Gold calls.
    pub gold_api: usize,
    /// Arguments of gold calls, empty strings aside.
    pub gold_par: usize,
    /// Predicted calls; 1 where there was nothing to read.
    pub pred_api: usize,
    /// Arguments of predicted calls, empty strings aside.
    pub pred_par: usize,
    /// Predicted calls whose name is in the gold.
    pub ok_api: usize,
    /// Arguments of these that are as in a gold call of that name.
    pub ok_par: usize,
}

impl AddAssign for HammerCounts {
    fn add_assign(&mut self, other: Self) {
        self.gold_api += other.gold_api;
        self.gold_par += other.gold_par;
        self.pred_api += other.pred_api;
        self.pred_par += other.pred_par;
        self.ok_api += other.ok_api;
        self.ok_par += other.ok_par;
    }
}

impl HammerCounts {
    /// Micro F1 of tool names; 0 where nothing was right.
    pub fn name_f1(&self) -> f64 {
        f1(self.ok_api, self.pred_api, self.gold_api)
    }

    /// Micro F1 of arguments; 0 where nothing was right.
    pub fn parameter_f1(&self) -> f64 {
        f1(self.ok_par, self.pred_par, self.gold_par)
    }
}

/// `2 p r / (p + r)` with `p = right / predicted`, `r = right / gold`, without the zero divisions.
fn f1(right: usize, predicted: usize, gold: usize) -> f64 {
    if right == 0 { 0.0 } else { 2.0 * right as f64 / (predicted + gold) as f64 }
}

/// Hammer's counts for one question, whose gold is the first of its `answers` (none where there are none).
///
/// An argument is right if it prints as the gold one does in Python, so `5` and `"5"` are the same and `5` and
/// `5.0` are not. Of the gold calls of one name, the first with any argument right is compared with.
///
/// # Source
///
/// MadeAgents/Hammer, `evaluate.py`.
pub fn hammer_counts(prediction: Option<&[ToolCall]>, item: &BenchItem) -> HammerCounts {
    let gold = item.answers.first().map_or(&[][..], Vec::as_slice);
    let filled = |call: &ToolCall| call.arguments.values().filter(|value| !may_be_left_out(value)).count();
    let mut counts = HammerCounts {
        gold_api: gold.len(),
        gold_par: gold.iter().map(filled).sum(),
        ..HammerCounts::default()
    };
    let Some(calls) = prediction else {
        counts.pred_api = 1;
        return counts;
    };
    counts.pred_api = calls.len();
    for call in calls {
        counts.pred_par += filled(call);
        let named: Vec<_> = gold.iter().filter(|gold| gold.name == call.name).collect();
        counts.ok_api += usize::from(!named.is_empty());
        let right = |gold: &&ToolCall| {
            let asked = gold.arguments.iter().filter(|(_, value)| !may_be_left_out(value));
            let same = |(key, want): &(&String, &Value)| {
                call.arguments.get(*key).is_some_and(|got| python_str(got) == python_str(want))
            };
            asked.filter(same).count()
        };
        counts.ok_par += named.iter().map(right).find(|&n| n > 0).unwrap_or(0);
    }
    counts
}

/// Python's `str`: a string is itself, everything else its `repr`.
fn python_str(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::String(text) => out.push_str(text),
        other => write_repr(&mut out, other),
    }
    out
}

/// Python's `repr` of what its `json` reads. Unprintable characters beyond controls are left as they are.
fn write_repr(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(flag) => out.push_str(if *flag { "True" } else { "False" }),
        Value::Number(n) => match n.as_f64() {
            Some(x) if n.is_f64() => write_float(out, x),
            _ => out.push_str(&n.to_string()),
        },
        Value::String(text) => write_quoted(out, text),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write_repr(out, item);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (i, (key, item)) in map.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write_quoted(out, key);
                out.push_str(": ");
                write_repr(out, item);
            }
            out.push('}');
        }
    }
}

/// Single quotes, unless the text has some and no double ones.
fn write_quoted(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// The shortest digits that read back, with an exponent below 1e-4 and from 1e16 on.
fn write_float(out: &mut String, x: f64) {
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = x.to_string();
        out.push_str(&plain);
        out.push_str(if plain.contains('.') { "" } else { ".0" });
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        out.push_str(&format!("{digits}e{sign}{:02}", exponent.abs()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn calls(value: Value) -> Vec<ToolCall> {
        serde_json::from_value(value).unwrap()
    }

    fn item(answers: Value, meta: Value) -> BenchItem {
        serde_json::from_value(json!({"id": "1", "benchmark": "b", "split": "s", "messages": [], "tools": [],
            "answers": answers, "meta": meta}))
        .unwrap()
    }

    #[track_caller]
    fn check(a: Value, b: Value, same: bool) {
        assert_eq!((value_eq(&a, &b), value_eq(&b, &a)), (same, same), "{a} and {b}");
    }

    #[test]
    fn values_are_the_same_as_numbers_and_up_to_white_space() {
        for (a, b) in [
            (json!(5), json!("5")),
            (json!(5), json!(5.0)),
            (json!(" +5.0 "), json!("5")),
            (json!("05"), json!(5)),
            (json!("a \t b"), json!("a b ")),
            (json!([1, true]), json!([1.0, 1])),
            (json!({"x": 1, "y": null}), json!({"y": null, "x": true})),
            (json!("1234567890123456"), json!(" 1234567890123456")),
        ] {
            check(a, b, true);
        }
        for (a, b) in [
            (json!(true), json!(1)),
            (json!("true"), json!(true)),
            (json!(null), json!("null")),
            (json!("NYC"), json!("nyc")),
            (json!("5."), json!(5)),
            (json!("1e3"), json!(1000)),
            (json!([1]), json!(["1"])),
            (json!("1234567890123456"), json!(1234567890123456u64)),
            (json!(1), json!([1])),
        ] {
            check(a, b, false);
        }
    }

    #[test]
    fn the_order_of_calls_is_free_and_their_number_is_not() {
        let gold = item(
            json!([[{"name": "f", "arguments": {"x": 1}}, {"name": "f", "arguments": {"x": 2}}]]),
            json!({}),
        );
        let ok = |value| ast_match(Some(&calls(value)), &gold);
        assert!(ok(json!([{"name": "f", "arguments": {"x": 2}}, {"name": "f", "arguments": {"x": "1"}}])));
        assert!(!ok(json!([{"name": "f", "arguments": {"x": 2}}, {"name": "f", "arguments": {"x": 2}}])));
        assert!(!ok(json!([{"name": "f", "arguments": {"x": 2}}])));
        assert!(!ok(
            json!([{"name": "f", "arguments": {"x": 1}}, {"name": "f", "arguments": {"x": 2, "y": 3}}])
        ));
        assert!(!ok(json!([{"name": "f", "arguments": {"x": 1}}, {"name": "g", "arguments": {"x": 2}}])));
    }

    #[test]
    fn no_call_and_any_call() {
        let none = item(json!([[]]), json!({"expect": "no_call"}));
        let any = item(json!([]), json!({"expect": "any_call"}));
        let one = calls(json!([{"name": "x"}]));
        for rule in [ast_match, bfcl_match] {
            assert!(rule(None, &none) && rule(Some(&[]), &none) && !rule(Some(&one), &none));
            assert!(rule(Some(&one), &any) && !rule(Some(&[]), &any) && !rule(None, &any));
        }
        assert!(
            !bfcl_match(None, &item(json!([[]]), json!({}))),
            "a question without alternatives is not BFCL's"
        );
    }

    #[test]
    fn bfcl_takes_alternatives_and_optional_arguments() {
        let spec = json!([{"f": {"city": ["New York", "NYC"], "n": [5, ""], "o": [{"k": ["v", ""], "l": [[1]]}, ""]}}]);
        let mut gold = item(json!([[]]), json!({}));
        gold.answer_spec = Some(serde_json::from_value(spec).unwrap());
        gold.tools = vec![ToolSpec::new("f", "", Map::new(), &["city"])];
        let ok = |arguments: Value| {
            bfcl_match(Some(&calls(json!([{"name": "f", "arguments": arguments}]))), &gold)
        };
        assert!(ok(json!({"city": "new-york"})) && ok(json!({"city": "NYC", "n": 5.0})));
        assert!(
            !ok(json!({"n": 5}))
                && !ok(json!({"city": "NYC", "n": "5"}))
                && !ok(json!({"city": "NYC", "m": 1}))
        );
        assert!(ok(json!({"city": "NYC", "o": {"l": [1]}})) && !ok(json!({"city": "NYC", "o": {"k": "v"}})));
        let two = serde_json::from_value::<CallSpec>(json!({"f": {}, "g": {}})).unwrap_err().to_string();
        assert_eq!(two, "an entry of answer_spec names 2 tools, expected 1");
    }

    #[test]
    fn hammer_counts_what_prints_alike() {
        let gold = item(
            json!([[{"name": "f", "arguments": {"a": "5", "b": "", "c": [1.0, "x", null]}}]]),
            json!({}),
        );
        let got = hammer_counts(
            Some(&calls(json!([{"name": "f", "arguments": {"a": 5, "c": "[1.0, 'x', None]"}}]))),
            &gold,
        );
        let want = HammerCounts { gold_api: 1, gold_par: 2, pred_api: 1, pred_par: 2, ok_api: 1, ok_par: 2 };
        assert_eq!(got, want);
        assert_eq!((got.name_f1(), got.parameter_f1()), (1.0, 1.0));
        let mut sum = hammer_counts(None, &gold);
        assert_eq!((sum.pred_api, sum.name_f1()), (1, 0.0));
        sum += got;
        assert_eq!((sum.name_f1(), sum.parameter_f1()), (0.5, 4.0 / 6.0));
    }

    #[test]
    fn strings_print_as_in_python() {
        let repr = python_str(&json!([{"k'": "a\"b'c\n\\", "z": true}, "it's", 1e16, 1e-5, -0.0, 2.5]));
        assert_eq!(repr, r#"[{"k'": 'a"b\'c\n\\', 'z': True}, "it's", 1e+16, 1e-05, -0.0, 2.5]"#);
    }

    /// Any JSON that a model may write, small.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3i64..3).prop_map(Value::from),
            (-3i8..3).prop_map(|n| Value::from(f64::from(n) / 2.0)),
            "[ab1. ]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[xy]", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_answer_matches_itself_and_equality_is_symmetric(a in value(), b in value()) {
            prop_assert!(value_eq(&a, &a));
            // Inside an object BFCL reads a list as alternatives, so only values without one match themselves.
            let holds_an_object = a.to_string().contains('{');
            prop_assert!(holds_an_object || bfcl_value(&a, &a));
            prop_assert_eq!(value_eq(&a, &b), value_eq(&b, &a));
            let gold = item(json!([[{"name": "f", "arguments": {"x": a}}]]), json!({}));
            prop_assert!(ast_match(Some(&gold.answers[0]), &gold));
            let counts = hammer_counts(Some(&gold.answers[0]), &gold);
            prop_assert_eq!((counts.ok_api, counts.ok_par), (counts.gold_api, counts.gold_par));
        }
    }
}
