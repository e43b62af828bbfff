//! Why did an answer fail? Every failed attempt has at least one cause, down to the argument and where its value came from.
//!
//! [`CallErrors`](crate::CallErrors) says which kinds of mistakes an answer has; here each of them is told, with the tool
//! that took a wrong call and what became of a wrong value. Linear in the answer but for the matching of calls, which the
//! parser bounds.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use toolr0_tools::{Task, ToolCall};

use crate::fault::Fault;
use crate::grounding::Ground;
use crate::matching::{CallWeights, match_calls, values_match};
use crate::text::{folded, is_word};
use crate::wire::solver;

/// One cause of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The answer could not be read.
    Format,
    /// Something was called where no tool fits.
    ShouldAbstain,
    /// Nothing was called, and something should have been.
    NoCall,
    /// Another tool of the menu was called.
    WrongTool,
    /// A tool was called that the menu does not have.
    UnknownTool,
    /// A call is missing, beside others that are there.
    MissingCall,
    /// There is a call too many.
    ExtraCall,
    /// The calls stand in another order than the gold's. Alone it is no failure.
    Order,
    /// A rightly named call lacks an argument.
    MissingArgument,
    /// A rightly named call has an argument too many.
    ExtraArgument,
    /// A value is of another type than its parameter.
    Mistyped,
    /// A value has the right letters and digits in another form: case, punctuation, spaces.
    BadFormat,
    /// A value was copied from another place of the question.
    WrongSpan,
    /// A value is like the right one, and stands nowhere.
    Changed,
    /// A value is unlike the right one, and stands nowhere.
    Invented,
}

impl Cause {
    /// Every cause, in the order in which an answer can go wrong.
    pub const ALL: [Self; 15] = [
        Self::Format,
        Self::ShouldAbstain,
        Self::NoCall,
        Self::WrongTool,
        Self::UnknownTool,
        Self::MissingCall,
        Self::ExtraCall,
        Self::Order,
        Self::MissingArgument,
        Self::ExtraArgument,
        Self::Mistyped,
        Self::BadFormat,
        Self::WrongSpan,
        Self::Changed,
        Self::Invented,
    ];

    /// Its name in a log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::ShouldAbstain => "should_abstain",
            Self::NoCall => "no_call",
            Self::WrongTool => "wrong_tool",
            Self::UnknownTool => "unknown_tool",
            Self::MissingCall => "missing_call",
            Self::ExtraCall => "extra_call",
            Self::Order => "order",
            Self::MissingArgument => "missing_argument",
            Self::ExtraArgument => "extra_argument",
            Self::Mistyped => "mistyped",
            Self::BadFormat => "bad_format",
            Self::WrongSpan => "wrong_span",
            Self::Changed => "changed",
            Self::Invented => "invented",
        }
    }

    /// How far an answer with this mistake got, 0 to 1: it could be read, then called the right tools, then named the right
    /// arguments, then gave the right values.
    pub fn reached(self) -> f64 {
        match self {
            Self::Format => 0.0,
            Self::ShouldAbstain | Self::NoCall | Self::WrongTool | Self::UnknownTool => 0.25,
            Self::MissingCall | Self::ExtraCall | Self::Order => 0.25,
            Self::MissingArgument | Self::ExtraArgument => 0.5,
            Self::Mistyped | Self::BadFormat | Self::WrongSpan | Self::Changed | Self::Invented => 0.75,
        }
    }
}

/// One mistake of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mistake {
    /// What it is.
    pub cause: Cause,
    /// The right tool, or the one that was called for nothing; none where the answer could not be read.
    pub tool: Option<String>,
    /// The tool that took the call, where another did.
    pub taken_by: Option<String>,
    /// The argument, where it is one's.
    pub argument: Option<String>,
    /// The JSON type that the tool declares for that argument.
    pub kind: Option<String>,
}

impl Mistake {
    fn new(cause: Cause, tool: Option<&str>) -> Self {
        Self { cause, tool: tool.map(str::to_owned), taken_by: None, argument: None, kind: None }
    }
}

/// What is wrong with a solver's completion; nothing if it solves `task`.
///
/// # Examples
///
/// ```
/// use serde_json::json;
/// use toolr0_reward::{Cause, explain, tools::Task, wire::solver};
/// let task: Task = serde_json::from_value(json!({
///     "question": "Book a table in Oslo for Maria.",
///     "tools": [{ "name": "book", "description": "Book.", "parameters": { "type": "object",
///         "properties": { "city": { "type": "string" } }, "required": ["city"] } }],
///     "gold": [{ "name": "book", "arguments": { "city": "Oslo" } }],
/// })).unwrap();
/// let mut calls = task.gold.clone();
/// assert!(explain(&task, &solver::write("so", &calls)).is_empty());
/// calls[0].arguments["city"] = json!("Maria");
/// assert_eq!(explain(&task, &solver::write("so", &calls))[0].cause, Cause::WrongSpan);
/// ```
pub fn explain(task: &Task, text: &str) -> Vec<Mistake> {
    explain_calls(task, solver::parse(text).as_deref())
}

/// How far a solver's completion gets, 0 to 1; 1 if it solves `task`.
pub fn reached(mistakes: &[Mistake]) -> f64 {
    mistakes.iter().map(|mistake| mistake.cause.reached()).fold(1.0, f64::min)
}

fn explain_calls(task: &Task, read: Result<&[ToolCall], &Fault>) -> Vec<Mistake> {
    let Ok(pred) = read else { return vec![Mistake::new(Cause::Format, None)] };
    let gold = &task.gold;
    if gold.is_empty() {
        return pred.iter().map(|call| Mistake::new(Cause::ShouldAbstain, Some(&call.name))).collect();
    }
    if pred.is_empty() {
        return gold.iter().map(|call| Mistake::new(Cause::NoCall, Some(&call.name))).collect();
    }
    let pairs = match_calls(&task.tools, gold, pred, &CallWeights::default()).pairs;
    let mut mistakes = Vec::new();
    let open: Vec<&ToolCall> = gold
        .iter()
        .enumerate()
        .filter(|(i, _)| !pairs.iter().any(|p| p.gold == *i))
        .map(|(_, c)| c)
        .collect();
    let spare: Vec<&ToolCall> = pred
        .iter()
        .enumerate()
        .filter(|(i, _)| !pairs.iter().any(|p| p.pred == *i))
        .map(|(_, c)| c)
        .collect();
    // Calls without a partner of their name, in the order in which they were written.
    for i in 0..open.len().max(spare.len()) {
        mistakes.push(match (open.get(i), spare.get(i)) {
            (Some(gold), Some(pred)) => {
                let known = task.tool(&pred.name).is_some();
                let cause = if known { Cause::WrongTool } else { Cause::UnknownTool };
                Mistake { taken_by: Some(pred.name.clone()), ..Mistake::new(cause, Some(&gold.name)) }
            }
            (Some(gold), None) => Mistake::new(Cause::MissingCall, Some(&gold.name)),
            (None, Some(pred)) => Mistake::new(Cause::ExtraCall, Some(&pred.name)),
            (None, None) => continue,
        });
    }
    let ground = Ground::new(&task.question);
    for pair in &pairs {
        arguments(task, &ground, &gold[pair.gold], &pred[pair.pred], &mut mistakes);
    }
    if !mistakes.is_empty() && !pairs.is_sorted_by_key(|pair| pair.pred) {
        mistakes.push(Mistake::new(Cause::Order, None));
    }
    mistakes
}

/// The mistakes in the arguments of a rightly named call.
fn arguments(task: &Task, ground: &Ground, gold: &ToolCall, pred: &ToolCall, out: &mut Vec<Mistake>) {
    let tool = task.tool(&gold.name);
    let schema = |key: &str| tool.and_then(|tool| Some(tool.param(key)?.schema));
    let mut push = |cause, key: &str| {
        let kind = tool.and_then(|tool| tool.param(key)?.kind()).map(str::to_owned);
        let argument = Some(key.to_owned());
        out.push(Mistake { argument, kind, ..Mistake::new(cause, Some(&gold.name)) });
    };
    for (key, want) in &gold.arguments {
        match pred.arguments.get(key) {
            None => push(Cause::MissingArgument, key),
            Some(got) if !values_match(schema(key), want, got) => push(value(ground, want, got), key),
            Some(_) => {}
        }
    }
    pred.arguments
        .keys()
        .filter(|key| !gold.arguments.contains_key(*key))
        .for_each(|key| push(Cause::ExtraArgument, key));
}

/// What became of a value.
fn value(ground: &Ground, want: &Value, got: &Value) -> Cause {
    if std::mem::discriminant(want) != std::mem::discriminant(got) {
        return Cause::Mistyped;
    }
    let (Some(a), Some(b)) = (plain(want), plain(got)) else {
        return if ground.holds(got) { Cause::WrongSpan } else { Cause::Invented };
    };
    let bare = |text: &str| folded(text).chars().filter(|c| is_word(*c)).collect::<String>();
    let (bare_a, bare_b) = (bare(&a), bare(&b));
    if want.is_string() && !bare_a.is_empty() && bare_a == bare_b {
        Cause::BadFormat
    } else if got.is_boolean() || ground.holds(got) {
        // A boolean stands in no words of its own: the wrong one was read out of the question.
        Cause::WrongSpan
    } else if like(&bare_a, &bare_b) {
        Cause::Changed
    } else {
        Cause::Invented
    }
}

/// The text of a plain value.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// Letters of a value that are compared.
const LETTERS: usize = 256;

/// Whether one is made from the other by few changes: they share half of their pairs of letters (Dice), or begin or end
/// alike for half of the longer one.
fn like(a: &str, b: &str) -> bool {
    let letters = |text: &str| text.chars().take(LETTERS).collect::<Vec<char>>();
    let (a, b) = (letters(a), letters(b));
    let longest = a.len().max(b.len());
    if a.is_empty() || b.is_empty() {
        return false;
    }
    let head = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let tail = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    let pairs = |text: &[char]| {
        let mut pairs: Vec<(char, char)> = text.windows(2).map(|w| (w[0], w[1])).collect();
        pairs.sort_unstable();
        pairs
    };
    let (x, y) = (pairs(&a), pairs(&b));
    let (mut i, mut j, mut both) = (0, 0, 0);
    while i < x.len() && j < y.len() {
        match x[i].cmp(&y[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => (i, j, both) = (i + 1, j + 1, both + 1),
        }
    }
    longest <= 2 * head.max(tail) || (x.len() + y.len() > 0 && x.len() + y.len() <= 4 * both)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::judge;

    fn task() -> Task {
        serde_json::from_value(json!({
            "question": "Book 4 seats on the Red Arrow to New York for Maria Lund on 2026-03-05, then mail Ben the code X-77.",
            "tools": [
                { "name": "book", "description": "Book seats.", "parameters": { "type": "object", "required": ["city"],
                  "properties": { "city": { "type": "string" }, "seats": { "type": "integer" }, "quiet": { "type": "boolean" } } } },
                { "name": "mail", "description": "Send a mail.", "parameters": { "type": "object", "required": ["to"],
                  "properties": { "to": { "type": "string" }, "code": { "type": "string" } } } },
                { "name": "hold", "description": "Hold seats.", "parameters": { "type": "object", "properties": {}, "required": [] } },
            ],
            "gold": [
                { "name": "book", "arguments": { "city": "New York", "seats": 4, "quiet": false } },
                { "name": "mail", "arguments": { "to": "Ben", "code": "X-77" } },
            ],
        }))
        .unwrap()
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Vec<ToolCall>), want: &[(Cause, Option<&str>)]) -> Vec<Mistake> {
        let task = task();
        let mut calls = task.gold.clone();
        change(&mut calls);
        let text = solver::write("so", &calls);
        let mistakes = explain(&task, &text);
        let got: Vec<_> = mistakes.iter().map(|m| (m.cause, m.argument.as_deref())).collect();
        assert_eq!(got, want);
        assert_eq!(mistakes.is_empty(), judge(&task, &text).solved);
        mistakes
    }

    #[test]
    fn values_say_where_they_came_from() {
        let of = |key: &'static str, value: Value, cause| {
            let call = usize::from(["to", "code"].contains(&key));
            check(|calls| calls[call].arguments[key] = value, &[(cause, Some(key))]);
        };
        check(|_| {}, &[]);
        of("city", json!("Red Arrow"), Cause::WrongSpan);
        of("city", json!("York"), Cause::WrongSpan);
        of("city", json!("new york"), Cause::BadFormat);
        of("city", json!("New-York"), Cause::BadFormat);
        of("city", json!("New Yorkk"), Cause::Changed);
        of("city", json!("Bergen"), Cause::Invented);
        of("city", json!(7), Cause::Mistyped);
        of("seats", json!(5), Cause::Invented);
        of("seats", json!("four"), Cause::Mistyped);
        of("quiet", json!(true), Cause::WrongSpan);
        of("code", json!("X77"), Cause::BadFormat);
        of("code", json!("X-78"), Cause::Changed);
        of("code", json!(["X-77"]), Cause::Mistyped);
    }

    #[test]
    fn calls_say_what_is_missing_and_who_took_them() {
        let taken =
            check(|calls| calls[0] = ToolCall::new("hold", Default::default()), &[(Cause::WrongTool, None)]);
        assert_eq!((taken[0].tool.as_deref(), taken[0].taken_by.as_deref()), (Some("book"), Some("hold")));
        check(|calls| calls[0].name = "buy".into(), &[(Cause::UnknownTool, None)]);
        check(|calls| drop(calls.pop()), &[(Cause::MissingCall, None)]);
        check(|calls| calls.push(ToolCall::new("hold", Default::default())), &[(Cause::ExtraCall, None)]);
        check(Vec::clear, &[(Cause::NoCall, None), (Cause::NoCall, None)]);
        check(|calls| calls.reverse(), &[]);
        let both = |calls: &mut Vec<ToolCall>| {
            calls.reverse();
            calls[0].arguments["to"] = json!("Eva");
        };
        check(both, &[(Cause::Invented, Some("to")), (Cause::Order, None)]);
        let kinds = check(
            |calls| {
                calls[0].arguments.shift_remove("seats");
                calls[1].arguments.insert("cc".into(), json!("Eva"));
            },
            &[(Cause::MissingArgument, Some("seats")), (Cause::ExtraArgument, Some("cc"))],
        );
        assert_eq!((kinds[0].kind.as_deref(), kinds[1].kind.as_deref()), (Some("integer"), None));
    }

    #[test]
    fn an_answer_where_none_is_right_and_one_that_cannot_be_read() {
        let mut none = task();
        none.gold.clear();
        let answered = explain(&none, &solver::write("so", &task().gold));
        assert!(answered.iter().all(|m| m.cause == Cause::ShouldAbstain) && answered.len() == 2);
        assert_eq!(explain(&none, &solver::write("so", &[])), []);
        let broken = explain(&task(), "no answer");
        assert_eq!((broken[0].cause, reached(&broken), reached(&[])), (Cause::Format, 0.0, 1.0));
    }

    #[test]
    fn names_are_those_of_json() {
        for cause in Cause::ALL {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.name());
        }
    }

    proptest! {
        /// Whatever a model writes, an answer that fails has a cause, and one that does not has none.
        #[test]
        fn every_failure_has_a_cause(
            names in prop::collection::vec(prop::sample::select(vec!["book", "mail", "hold", "x"]), 0..4),
            city in "\\PC{0,12}",
            text in "\\PC{0,80}",
        ) {
            let task = task();
            let call = |name: &&str| {
                let gold = task.gold.iter().find(|call| call.name == **name);
                let mut call = gold.cloned().unwrap_or_else(|| ToolCall::new(*name, Default::default()));
                if call.name == "book" && !city.is_empty() {
                    call.arguments["city"] = json!(city);
                }
                call
            };
            let calls: Vec<ToolCall> = names.iter().map(call).collect();
            for text in [solver::write("so", &calls), text] {
                prop_assert_eq!(explain(&task, &text).is_empty(), judge(&task, &text).solved);
            }
        }
    }
}
