//! Did this answer solve the task? The question that probing, cross-verification and the exam all ask.

use serde::{Deserialize, Serialize};
use toolr0_tools::Task;

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
pub fn judge(task: &Task, text: &str) -> Verdict {
    match solver::parse(text) {
        Ok(calls) if calls_match(&task.tools, &task.gold, &calls) => {
            Verdict { solved: true, fault: None, errors: CallErrors::default() }
        }
        Ok(calls) => {
            Verdict { solved: false, fault: None, errors: attribute(&task.tools, &task.gold, Ok(&calls)) }
        }
        Err(fault) => {
            let errors = attribute(&task.tools, &task.gold, Err(&fault));
            Verdict { solved: false, fault: Some(fault), errors }
        }
    }
}

/// For each gold call of `task`, whether the answer in `text` holds it; an answer that cannot be read holds none.
///
/// # Examples
///
/// ```
/// use toolr0_reward::{calls_held, tools::{Task, ToolCall, ToolSpec}, wire::solver};
/// let (a, b) = (ToolCall::new("get_time", Default::default()), ToolCall::new("get_date", Default::default()));
/// let tools = vec![
///     ToolSpec::new("get_time", "Tell the time.", Default::default(), &[]),
///     ToolSpec::new("get_date", "Tell the date.", Default::default(), &[]),
/// ];
/// let task = Task { question: "What time is it, and which day?".into(), tools, gold: vec![a, b.clone()] };
/// assert_eq!(calls_held(&task, &solver::write("the day", &[b])), [false, true]);
/// ```
pub fn calls_held(task: &Task, text: &str) -> Vec<bool> {
    let calls = solver::parse(text).unwrap_or_default();
    let held = |gold| calls.iter().any(|call| call_matches(&task.tools, gold, call));
    task.gold.iter().map(held).collect()
}
