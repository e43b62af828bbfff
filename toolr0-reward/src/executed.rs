//! Does the gold work, and does an answer come to the same end? Both asked by running the calls.

use serde_json::{Value, json};
use toolr0_tools::{End, Limits, Outcome, Sandbox, Source, State, Task, ToolCall};

use crate::fault::Fault;

/// Where the calls of one task run.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    /// What runs them.
    pub sandbox: &'a dyn Sandbox,
    /// The seed of the state that they start from.
    pub seed: u64,
    /// Whether an answer may look before it acts: calls beyond the gold's are then allowed, if they leave the state alone.
    pub looks: bool,
}

/// How a gold is tried.
#[derive(Clone, Copy, Debug)]
pub enum Trial<'a> {
    /// It runs.
    Run(Stage<'a>),
    /// Its tools are described and do not run: it is read by their schemas.
    Read(&'a Source),
}

impl Trial<'_> {
    /// Whether the gold of a task passes.
    ///
    /// # Errors
    ///
    /// As [`check_gold`]; of tools that do not run, [`Fault::GoldRefused`] alone.
    pub fn pass(&self, task: &Task) -> Result<(), Fault> {
        let source = match self {
            Self::Run(stage) => return check_gold(task, stage),
            Self::Read(source) => source,
        };
        for (index, call) in task.gold.iter().enumerate() {
            let read = match source.schema(&call.name) {
                Some(schema) => schema.check(call).map_err(|refusal| refusal.to_string()),
                None => Err(format!("there is no tool `{}`", call.name)),
            };
            read.map_err(|reason| Fault::GoldRefused { index, reason })?;
        }
        Ok(())
    }
}

/// Runs the gold of a task from the state of its stage.
///
/// # Errors
///
/// The [`Fault`] of the first call that is refused, fails, runs into a limit or has no effect
/// ([`Outcome::is_idle`](toolr0_tools::Outcome::is_idle)).
///
/// # Examples
///
/// ```
/// use serde_json::json;
/// use toolr0_reward::{executed::{Stage, check_gold}, tools::{Sandbox, Task, Worlds}};
/// let worlds = Worlds::new(&["math"])?;
/// let task: Task = serde_json::from_value(json!({
///     "question": "What is 6 divided by 0?", "tools": worlds.tools(),
///     "gold": [{"name": "divide", "arguments": {"dividend": 6, "divisor": 0}}],
/// }))?;
/// let fault = check_gold(&task, &Stage { sandbox: &worlds, seed: 0, looks: false }).unwrap_err();
/// assert_eq!(fault.kind(), "gold_failed");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn check_gold(task: &Task, stage: &Stage<'_>) -> Result<(), Fault> {
    let mut state = stage.sandbox.state(stage.seed);
    for (index, call) in task.gold.iter().enumerate() {
        let outcome = stage.sandbox.run(call, &mut state, &Limits::default());
        match &outcome.end {
            End::Value(_) if outcome.is_idle() => return Err(Fault::GoldIdle { index }),
            End::Value(_) => {}
            End::Refused(refusal) => return Err(Fault::GoldRefused { index, reason: refusal.to_string() }),
            End::ToolError(reason) => return Err(Fault::GoldFailed { index, reason: reason.clone() }),
            limit => return Err(Fault::GoldLimit { index, limit: limit.kind().to_owned() }),
        }
    }
    Ok(())
}

/// Whether `calls` come to the same end as the gold: as many calls, all of tools on the menu and all with a value, the
/// same state, and the same values in whatever order.
///
/// The spelling does not matter, since every call is read by its tool's schema before it runs: arguments in another
/// order, 1 for 1.0, a default given or left out, calls swapped that do not depend on one another.
///
/// With [`Stage::looks`] there may be more calls than in the gold: the state must still be the gold's, and the gold's values
/// must be among those returned. A call that fails then counts as a look.
pub fn same_end(task: &Task, calls: &[ToolCall], stage: &Stage<'_>) -> bool {
    if stage.looks {
        return looks_around(task, calls, stage);
    }
    if calls.len() != task.gold.len() || calls.iter().any(|call| task.tool(&call.name).is_none()) {
        return false;
    }
    let start = stage.sandbox.state(stage.seed);
    let (Some(gold), Some(own)) = (end(&task.gold, stage, start.clone()), end(calls, stage, start)) else {
        return false;
    };
    gold.0 == own.0 && same_values(gold.1, &own.1)
}

fn looks_around(task: &Task, calls: &[ToolCall], stage: &Stage<'_>) -> bool {
    let mut state = stage.sandbox.state(stage.seed);
    let Some(gold) = end(&task.gold, stage, state.clone()) else { return false };
    let run = |call: &ToolCall| run_on_menu(task, call, stage, &mut state)?.end.value().cloned();
    let mut values: Vec<Value> = calls.iter().filter_map(run).collect();
    gold.0 == state && take_all(&mut values, &gold.1)
}

/// Runs a call, if its tool is on the menu.
fn run_on_menu(task: &Task, call: &ToolCall, stage: &Stage<'_>, state: &mut State) -> Option<Outcome> {
    task.tool(&call.name)?;
    Some(stage.sandbox.run(call, state, &Limits::default()))
}

/// How the calls of the last turn end, after those of the turns before it.
pub fn outcomes(task: &Task, turns: &[Vec<ToolCall>], stage: &Stage<'_>) -> Vec<Value> {
    let mut state = stage.sandbox.state(stage.seed);
    let mut told = Vec::new();
    for calls in turns {
        told.clear();
        for call in calls {
            told.push(match run_on_menu(task, call, stage, &mut state).map(|outcome| outcome.end) {
                Some(End::Value(value)) => value,
                Some(End::ToolError(reason)) => json!({ "error": reason }),
                Some(End::Refused(refusal)) => json!({ "error": refusal.to_string() }),
                Some(limit) => json!({ "error": limit.kind() }),
                None => json!({ "error": format!("there is no tool `{}`", call.name) }),
            });
        }
    }
    told
}

/// The state and the values that calls leave; `None` if one of them leaves none.
fn end(calls: &[ToolCall], stage: &Stage<'_>, mut state: State) -> Option<(State, Vec<Value>)> {
    let mut values = Vec::with_capacity(calls.len());
    for call in calls {
        match stage.sandbox.run(call, &mut state, &Limits::default()).end {
            End::Value(value) => values.push(value),
            _ => return None,
        }
    }
    Some((state, values))
}

/// Whether both lists hold the same values, each as often.
fn same_values(mut left: Vec<Value>, right: &[Value]) -> bool {
    take_all(&mut left, right) && left.is_empty()
}

/// Takes the values of `right` out of `left`; false if one is not there.
fn take_all(left: &mut Vec<Value>, right: &[Value]) -> bool {
    right.iter().all(|value| match left.iter().position(|other| other == value) {
        Some(at) => {
            left.swap_remove(at);
            true
        }
        None => false,
    })
}
