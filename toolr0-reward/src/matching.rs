//! Are these the same calls? One comparator for probing, cross-verification, reward and exam.
//!
//! A value is compared under the schema of its parameter ([`values_match`]); a list of calls as a whole
//! ([`calls_match`]), or call by call under the best assignment ([`match_calls`]). Calls may come in any order: every
//! value stands in the question, so no call waits for the result of another.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};
use toolr0_tools::{ToolCall, ToolSpec};

use crate::fault::Fault;
use crate::text::canonical;

/// Whether two values mean the same where `schema` describes them.
///
/// - numbers: by value (`5` = `5.0`) where the schema says `integer` or `number`, or says nothing about the type;
///   there alone, if it does say so, a string that spells a JSON number is that number (`"5"`);
/// - strings: after Unicode NFC and collapsing white space, case-sensitive;
/// - `true` is never `1`, `null` is only `null`;
/// - lists item by item, objects key by key, under the schema's `items` and `properties`.
///
/// Differs from the release on purpose, where `True` = `1` and `"1"` = `1` everywhere but `"1"` ≠ `"1.0"`.
///
/// # Examples
///
/// ```
/// use serde_json::json;
/// use toolr0_reward::matching::values_match;
/// let integer = json!({"type": "integer"});
/// assert!(values_match(Some(&integer), &json!(5), &json!("5")));
/// assert!(!values_match(Some(&json!({"type": "string"})), &json!(5), &json!("5")));
/// ```
pub fn values_match(schema: Option<&Value>, a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) if a == b => true,
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Array(a), Value::Array(b)) => {
            let items = schema.and_then(|s| s.get("items"));
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| values_match(items, a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let inner = |key: &str| schema.and_then(|s| s.get("properties")).and_then(|p| p.get(key));
            a.len() == b.len()
                && a.iter().all(|(k, a)| b.get(k).is_some_and(|b| values_match(inner(k), a, b)))
        }
        (Value::Number(a), Value::Number(b)) => match numeric(schema) {
            Some(false) => a == b,
            _ => numbers_match(a, b),
        },
        _ if numeric(schema) == Some(true) => match (as_number(a), as_number(b)) {
            (Some(a), Some(b)) => numbers_match(&a, &b),
            // Two strings that are no numbers are wrong under this schema, but may be the same wrong thing.
            _ => strings_match(a, b),
        },
        _ => strings_match(a, b),
    }
}

fn strings_match(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => canonical(a) == canonical(b),
        _ => false,
    }
}

/// Whether the schema says that the value is a number; `None` where it does not speak of types.
fn numeric(schema: Option<&Value>) -> Option<bool> {
    let is = |kind: &str| matches!(kind, "integer" | "number");
    match schema?.get("type")? {
        Value::String(kind) => Some(is(kind)),
        Value::Array(kinds) => {
            let mut kinds = kinds.iter().filter_map(Value::as_str).peekable();
            kinds.peek()?;
            // A type that may also be a string must keep strings and numbers apart.
            Some(kinds.all(|kind| is(kind) || kind == "null"))
        }
        _ => None,
    }
}

/// A number, or a string that spells one as JSON would: `"05"` and `"+5"` are identifiers.
fn as_number(value: &Value) -> Option<Number> {
    match value {
        Value::Number(n) => Some(n.clone()),
        Value::String(text) => {
            let text = text.trim();
            let digits = text.strip_prefix('-').unwrap_or(text);
            let plain = digits.len() <= 40 && digits.starts_with(|c: char| c.is_ascii_digit());
            if plain { serde_json::from_str(text).ok() } else { None }
        }
        _ => None,
    }
}

/// Exact between whole numbers; else within one part in 10^9, as far as decimal spellings of a float differ.
fn numbers_match(a: &Number, b: &Number) -> bool {
    let whole = |n: &Number| n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from));
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a == b,
        _ => {
            let (Some(a), Some(b)) = (a.as_f64(), b.as_f64()) else { return false };
            (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
        }
    }
}

/// How much of one predicted call is right, given that its name is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallScore {
    /// F1 of the argument keys; 1 if neither call has any.
    pub keys: f64,
    /// The share of right values among the keys of both calls together; 1 if there are none.
    pub values: f64,
}

/// The weights of the three parts of a call's score; they sum to 1 in every default.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallWeights {
    /// The right name. Default 0.2, as in the release.
    pub name: f64,
    /// The keys' F1. Default 0.3, as in the release.
    pub keys: f64,
    /// The values. Default 0.5, as in the release.
    pub values: f64,
}

impl Default for CallWeights {
    fn default() -> Self {
        Self { name: 0.2, keys: 0.3, values: 0.5 }
    }
}

/// Scores one call against one gold call; `None` if the names differ, since right arguments of a wrong tool are
/// worth nothing (the release pays 0.8 for them).
pub fn call_score(tools: &[ToolSpec], gold: &ToolCall, pred: &ToolCall) -> Option<CallScore> {
    if gold.name != pred.name {
        return None;
    }
    let (g, p) = (&gold.arguments, &pred.arguments);
    if g.is_empty() && p.is_empty() {
        return Some(CallScore { keys: 1.0, values: 1.0 });
    }
    let schema = Schemas::of(tools, &gold.name);
    let both = g.keys().filter(|key| p.contains_key(*key)).count();
    let right =
        g.iter().filter(|(key, a)| p.get(*key).is_some_and(|b| values_match(schema.get(key), a, b))).count();
    // F1 of two sets is twice the overlap over the sum of their sizes.
    let keys = 2.0 * both as f64 / (g.len() + p.len()) as f64;
    // Over the union, not the overlap: one sure key alone must not earn the full share (fault 15).
    let values = right as f64 / (g.len() + p.len() - both) as f64;
    Some(CallScore { keys, values })
}

/// The properties of one tool of the menu.
struct Schemas<'a>(Option<&'a Map<String, Value>>);

impl<'a> Schemas<'a> {
    fn of(tools: &'a [ToolSpec], name: &str) -> Self {
        Self(tools.iter().find(|tool| tool.name == name).and_then(ToolSpec::properties))
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.0?.get(key)
    }
}

/// Whether one call is the other: same name, same keys, same values.
pub fn call_matches(tools: &[ToolSpec], gold: &ToolCall, pred: &ToolCall) -> bool {
    gold.name == pred.name && gold.arguments.len() == pred.arguments.len() && {
        let schema = Schemas::of(tools, &gold.name);
        let value = |key: &String| pred.arguments.get(key);
        gold.arguments.iter().all(|(key, a)| value(key).is_some_and(|b| values_match(schema.get(key), a, b)))
    }
}

/// Whether the lists hold the same calls, each as often, in any order.
pub fn calls_match(tools: &[ToolSpec], gold: &[ToolCall], pred: &[ToolCall]) -> bool {
    if gold.len() != pred.len() {
        return false;
    }
    if let ([gold], [pred]) = (gold, pred) {
        return call_matches(tools, gold, pred);
    }
    let profit = table(gold, pred, |g, p| f64::from(call_matches(tools, g, p)));
    assign(&profit, pred.len())
        .iter()
        .enumerate()
        .all(|(i, j)| j.is_some_and(|j| profit[i * pred.len() + j] > 0.0))
}

/// One pair of [`Matching`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Index of the gold call.
    pub gold: usize,
    /// Index of the predicted call.
    pub pred: usize,
    /// How right it is.
    pub score: CallScore,
}

/// The best assignment of predicted to gold calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Matching {
    /// Pairs of calls with the same name, by gold index.
    pub pairs: Vec<Pair>,
    /// Sum over the pairs of the weighted scores.
    pub total: f64,
}

/// Assigns predicted to gold calls so that the sum of the weighted scores is largest; pairs have the same name.
///
/// The release takes, for each gold call in turn, the best prediction that is left, which can give away the one
/// that a later gold call needed. At most [`crate::wire::MAX_CALLS`] calls come out of the parser, so the cubic cost
/// stays small.
pub fn match_calls(
    tools: &[ToolSpec],
    gold: &[ToolCall],
    pred: &[ToolCall],
    weights: &CallWeights,
) -> Matching {
    let weigh = |s: CallScore| weights.name + weights.keys * s.keys + weights.values * s.values;
    let scores = table(gold, pred, |g, p| call_score(tools, g, p));
    let profit: Vec<f64> = scores.iter().map(|s| s.map_or(0.0, weigh)).collect();
    let mut matching = Matching::default();
    for (g, p) in assign(&profit, pred.len()).into_iter().enumerate() {
        let Some(p) = p else { continue };
        if let Some(score) = scores[g * pred.len() + p] {
            matching.pairs.push(Pair { gold: g, pred: p, score });
            matching.total += weigh(score);
        }
    }
    matching
}

fn table<T>(gold: &[ToolCall], pred: &[ToolCall], f: impl Fn(&ToolCall, &ToolCall) -> T) -> Vec<T> {
    gold.iter().flat_map(|g| pred.iter().map(move |p| (g, p))).map(|(g, p)| f(g, p)).collect()
}

/// The assignment of rows to distinct columns with the largest total profit, by the Hungarian method with
/// potentials (e-maxx's formulation), cubic. `profit` is row-major, not negative; a row may stay without a column.
fn assign(profit: &[f64], n_columns: usize) -> Vec<Option<usize>> {
    if n_columns == 0 || profit.is_empty() {
        return vec![None; profit.len().checked_div(n_columns).unwrap_or(0)];
    }
    let n_rows = profit.len() / n_columns;
    // The method wants no fewer columns than rows; the added ones mean "without a column" and earn nothing.
    let n = n_columns.max(n_rows);
    let cost = |i: usize, j: usize| if j < n_columns { -profit[i * n_columns + j] } else { 0.0 };
    let (mut u, mut v) = (vec![0.0; n_rows + 1], vec![0.0; n + 1]);
    // `row_of[j]` is the row that has column `j`, counted from 1; column 0 holds the row being placed.
    let (mut row_of, mut way) = (vec![0usize; n + 1], vec![0usize; n + 1]);
    for i in 1..=n_rows {
        row_of[0] = i;
        let mut j0 = 0;
        let (mut least, mut used) = (vec![f64::INFINITY; n + 1], vec![false; n + 1]);
        while row_of[j0] != 0 {
            used[j0] = true;
            let i0 = row_of[j0];
            let (mut delta, mut j1) = (f64::INFINITY, 0);
            for j in 1..=n {
                if used[j] {
                    continue;
                }
                let reduced = cost(i0 - 1, j - 1) - u[i0] - v[j];
                if reduced < least[j] {
                    (least[j], way[j]) = (reduced, j0);
                }
                if least[j] < delta {
                    (delta, j1) = (least[j], j);
                }
            }
            for j in 0..=n {
                if used[j] {
                    u[row_of[j]] += delta;
                    v[j] -= delta;
                } else {
                    least[j] -= delta;
                }
            }
            j0 = j1;
        }
        while j0 != 0 {
            row_of[j0] = row_of[way[j0]];
            j0 = way[j0];
        }
    }
    let mut column_of = vec![None; n_rows];
    for j in 1..=n_columns {
        if row_of[j] != 0 {
            column_of[row_of[j] - 1] = Some(j - 1);
        }
    }
    column_of
}

/// What is wrong with an answer; every flag that applies is set, none if the answer is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CallErrors {
    /// The answer could not be read; nothing else is known then.
    pub format: bool,
    /// A call names a tool that no gold call is left for, while one of another name is missing.
    pub tool_name: bool,
    /// A rightly named call lacks an argument or has one too many.
    pub argument_names: bool,
    /// A rightly named call has a wrong value under a right key.
    pub argument_values: bool,
    /// There are too few or too many calls.
    pub n_calls: bool,
    /// Nothing was called, and something should have been.
    pub no_call: bool,
    /// Something was called where no tool fits.
    pub should_abstain: bool,
    /// Of `argument_names`: a rightly named call lacks an argument.
    pub missing_argument: bool,
    /// Of `argument_names`: a rightly named call has an argument that the gold call lacks.
    pub extra_argument: bool,
    /// Of `argument_values`: a wrong value is of another JSON type than the gold one.
    pub mistyped_value: bool,
    /// Of `argument_values`: a wrong value is of the right JSON type.
    pub wrong_value: bool,
}

impl CallErrors {
    /// Whether any flag is set.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// Says what is wrong with an answer, under the best assignment of its calls.
pub fn attribute(tools: &[ToolSpec], gold: &[ToolCall], pred: Result<&[ToolCall], &Fault>) -> CallErrors {
    let mut errors = CallErrors::default();
    let Ok(pred) = pred else { return CallErrors { format: true, ..errors } };
    let pairs = match_calls(tools, gold, pred, &CallWeights::default()).pairs;
    errors.n_calls = gold.len() != pred.len();
    errors.no_call = pred.is_empty() && !gold.is_empty();
    errors.should_abstain = gold.is_empty() && !pred.is_empty();
    errors.tool_name = pairs.len() < gold.len().min(pred.len());
    for Pair { gold: g, pred: p, .. } in pairs {
        let (name, g, p) = (&gold[g].name, &gold[g].arguments, &pred[p].arguments);
        let schema = Schemas::of(tools, name);
        errors.missing_argument |= g.keys().any(|key| !p.contains_key(key));
        errors.extra_argument |= p.keys().any(|key| !g.contains_key(key));
        for (key, a) in g {
            let Some(b) = p.get(key).filter(|b| !values_match(schema.get(key), a, b)) else { continue };
            let same_type = std::mem::discriminant(a) == std::mem::discriminant(b);
            errors.wrong_value |= same_type;
            errors.mistyped_value |= !same_type;
        }
    }
    errors.argument_names = errors.missing_argument || errors.extra_argument;
    errors.argument_values = errors.mistyped_value || errors.wrong_value;
    errors
}

#[cfg(test)]
#[path = "matching_tests.rs"]
mod tests;
