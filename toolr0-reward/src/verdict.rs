//! Did this answer solve the task? The question that probing, cross-verification and the exam all ask.

use serde::{Deserialize, Serialize};
use toolr0_tools::{Task, ToolCall};

use crate::executed::{Stage, same_end};
use crate::fault::Fault;
use crate::matching::{CallErrors, attribute, call_matches, calls_match};
use crate::wire::solver;

/// What became of one attempt at a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether the calls are the gold calls, all of them and nothing else.
    pub solved: bool,
    /// Why the answer could not be read, if it could not.
    pub fault: Option<Fault>,
    /// What is wrong with it; nothing, if it is solved.
    pub errors: CallErrors,
    /// For each gold call, whether the answer holds it, whatever else it holds. An unreadable answer holds none.
    pub held: Vec<bool>,
}

/// Judges a solver's completion. A missing `<think>` does not matter here: the verdict is on the calls.
///
/// # Examples
///
/// ```
/// use toolr0_reward::{judge, tools::{Task, ToolCall, ToolSpec}, wire::solver};
/// let task = Task {
///     question: "What time is it?".into(),
///     tools: vec![ToolSpec::new("get_time", "Tell the time.", Default::default(), &[])],
///     gold: vec![ToolCall::new("get_time", Default::default())],
/// };
/// assert!(judge(&task, &solver::write("easy", &task.gold)).solved);
/// assert!(judge(&task, "It is noon.").fault.is_some());
/// ```
///
/// Of two calls, one alone solves nothing, but is held:
///
/// ```
/// use toolr0_reward::{judge, tools::{Task, ToolCall, ToolSpec}, wire::solver};
/// let (a, b) = (ToolCall::new("get_time", Default::default()), ToolCall::new("get_date", Default::default()));
/// let tools = vec![
///     ToolSpec::new("get_time", "Tell the time.", Default::default(), &[]),
///     ToolSpec::new("get_date", "Tell the date.", Default::default(), &[]),
/// ];
/// let task = Task { question: "What time is it, and which day?".into(), tools, gold: vec![a, b.clone()] };
/// let verdict = judge(&task, &solver::write("the day", &[b]));
/// assert_eq!((verdict.solved, verdict.held), (false, vec![false, true]));
/// ```
pub fn judge(task: &Task, text: &str) -> Verdict {
    judge_calls(task, solver::parse(text).as_deref())
}

/// The same, where an answer with other calls than the gold's also solves its task if it comes to the same end on `stage`.
pub fn judge_on(task: &Task, text: &str, stage: Option<&Stage<'_>>) -> Verdict {
    let read = solver::parse(text);
    let verdict = judge_calls(task, read.as_deref());
    match (&read, stage) {
        (Ok(calls), Some(stage)) if !verdict.solved && same_end(task, calls, stage) => solved(task),
        _ => verdict,
    }
}

fn solved(task: &Task) -> Verdict {
    let held = vec![true; task.gold.len()];
    Verdict { solved: true, fault: None, errors: CallErrors::default(), held }
}

/// Judges calls that were read already, or the fault for which they could not be.
pub(crate) fn judge_calls(task: &Task, read: Result<&[ToolCall], &Fault>) -> Verdict {
    let (tools, gold) = (&task.tools, &task.gold);
    match read {
        Ok(calls) if calls_match(tools, gold, calls) => solved(task),
        Ok(calls) => {
            let held = |gold| calls.iter().any(|call| call_matches(tools, gold, call));
            let errors = attribute(tools, gold, read);
            Verdict { solved: false, fault: None, errors, held: gold.iter().map(held).collect() }
        }
        Err(fault) => Verdict {
            solved: false,
            fault: Some(fault.clone()),
            errors: attribute(tools, gold, read),
            held: vec![false; gold.len()],
        },
    }
}
