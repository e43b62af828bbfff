//! Does the gold work, and does an answer come to the same end? Both asked by running the calls.

use serde_json::Value;
use toolr0_tools::{End, Limits, Sandbox, State, Task, ToolCall};

use crate::fault::Fault;

/// Where the calls of one task run.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    /// What runs them.
    pub sandbox: &'a dyn Sandbox,
    /// The seed of the state that they start from.
    pub seed: u64,
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
/// let fault = check_gold(&task, &Stage { sandbox: &worlds, seed: 0 }).unwrap_err();
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
pub fn same_end(task: &Task, calls: &[ToolCall], stage: &Stage<'_>) -> bool {
    if calls.len() != task.gold.len() || calls.iter().any(|call| task.tool(&call.name).is_none()) {
        return false;
    }
    let start = stage.sandbox.state(stage.seed);
    let (Some(gold), Some(own)) = (end(&task.gold, stage, start.clone()), end(calls, stage, start)) else {
        return false;
    };
    gold.0 == own.0 && same_values(gold.1, &own.1)
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
    right.iter().all(|value| match left.iter().position(|other| other == value) {
        Some(at) => {
            left.swap_remove(at);
            true
        }
        None => false,
    }) && left.is_empty()
}
