//! The solver's reward: format and accuracy.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use toolr0_tools::{Task, ToolCall};

use super::{Reward, Term};
use crate::executed::{Stage, same_end};
use crate::fault::{Block, Fault};
use crate::matching::{CallWeights, match_calls};
use crate::text::{canonical, has_hidden, has_look_alike};
use crate::wire::solver;

/// The shares of the format term.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FormatWeights {
    /// There is an answer with something in it. Default 0.3, as in the paper.
    pub answered: f64,
    /// It is JSON. Default 0.3, as in the paper.
    pub parsed: f64,
    /// It is a list of well-formed calls. Default 0.4, as in the paper.
    pub calls: f64,
}

impl Default for FormatWeights {
    fn default() -> Self {
        Self { answered: 0.3, parsed: 0.3, calls: 0.4 }
    }
}

/// The weights of the solver's reward.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SolverConfig {
    /// Weight of the format term. Default 1, as in the release.
    pub format: f64,
    /// Weight of the accuracy term. Default 1, as in the release.
    pub accuracy: f64,
    /// The format term's shares.
    pub format_weights: FormatWeights,
    /// The weights of a call's name, keys and values.
    pub call_weights: CallWeights,
    /// How hard superfluous calls are punished: accuracy is divided by `1 + alpha * extra`. Default 0.25, as in the
    /// paper.
    pub alpha: f64,
    /// What each call costs where none is right, up to 1 for all of them: accuracy is then `-needless * calls`. Default 0, as
    /// in the paper, whose models stop abstaining.
    pub needless: f64,
    /// Whether accuracy is paid only after a `<think>` block. Default true, as in the release.
    pub require_think: bool,
    /// Whether calls that come to the same end as the gold count as the gold, however they are spelt. Needs given tools that
    /// run. Default false.
    pub executed: bool,
}

impl Default for SolverConfig {
    fn default() -> Self {
        Self {
            format: 1.0,
            accuracy: 1.0,
            format_weights: FormatWeights::default(),
            call_weights: CallWeights::default(),
            alpha: 0.25,
            needless: 0.0,
            require_think: true,
            executed: false,
        }
    }
}

/// Scores a solver's completion for `task`.
///
/// `format` pays in three steps: an answer, that is JSON, that is a list of calls (for a task that no tool serves, an
/// empty list; for any other an empty list stops before the last step). `accuracy` is the mean over the gold calls
/// of `name + keys * F1 + values * share` under the best assignment, divided by `1 + alpha * extra calls`.
///
/// Corrected against the release: a call of the wrong tool earns nothing, the values' share is over the keys of both
/// calls, and the assignment is optimal. Answers that guess are worth nothing at all: calling every tool of the menu
/// when fewer are needed ([`Fault::EveryToolCalled`]) scores 0 in both terms. Accuracy is 0 for a call that is
/// repeated more often than in the gold ([`Fault::RepeatedCall`]), for a list of candidates where one value is wanted
/// ([`Fault::ArgumentType`]), and for invisible or look-alike letters that the gold does not have.
///
/// # Examples
///
/// ```
/// use toolr0_reward::{reward::{SolverConfig, solver_reward}, tools::{Task, ToolCall, ToolSpec}, wire::solver};
/// let task = Task {
///     question: "What time is it?".into(),
///     tools: vec![ToolSpec::new("get_time", "Tell the time.", Default::default(), &[])],
///     gold: vec![ToolCall::new("get_time", Default::default())],
/// };
/// let reward = solver_reward(&task, &solver::write("easy", &task.gold), &SolverConfig::default());
/// assert_eq!(reward.total(), Some(2.0));
/// ```
pub fn solver_reward(task: &Task, text: &str, config: &SolverConfig) -> Reward {
    solver_reward_on(task, text, config, None)
}

/// The same, where accuracy is full for an answer that comes to the same end as the gold on `stage`.
pub fn solver_reward_on(task: &Task, text: &str, config: &SolverConfig, stage: Option<&Stage<'_>>) -> Reward {
    let (format, accuracy, fault) = match solver::read(text) {
        Err(fault) => (0.0, 0.0, Some(fault)),
        Ok(draft) => score(task, draft, config, stage),
    };
    let terms = vec![
        Term { name: "format", value: Some(config.format * format) },
        Term { name: "accuracy", value: Some(config.accuracy * accuracy) },
    ];
    Reward { terms, fault }
}

fn score(
    task: &Task,
    draft: solver::Draft,
    config: &SolverConfig,
    stage: Option<&Stage<'_>>,
) -> (f64, f64, Option<Fault>) {
    let weights = &config.format_weights;
    let mut format = if draft.answered { weights.answered } else { 0.0 };
    let calls = match draft.calls {
        Ok(calls) => calls,
        Err(fault) => {
            let parsed =
                matches!(fault, Fault::NoCalls | Fault::MalformedCall { .. } | Fault::TooManyCalls { .. });
            format += if parsed { weights.parsed } else { 0.0 };
            return (format, 0.0, Some(fault));
        }
    };
    format += weights.parsed;
    if calls.is_empty() && !task.gold.is_empty() {
        return (format, 0.0, Some(Fault::NoCalls));
    }
    format += weights.calls;
    if calls.len() > task.gold.len() && every_tool(task, &calls) {
        return (0.0, 0.0, Some(Fault::EveryToolCalled));
    }
    if let Some(index) = repeated(task, &calls) {
        return (format, 0.0, Some(Fault::RepeatedCall { index }));
    }
    if let Some(fault) = trick(task, &calls) {
        return (format, 0.0, Some(fault));
    }
    if let (true, Err(fault)) = (config.require_think, draft.think) {
        return (format, 0.0, Some(fault));
    }
    let unknown = calls.iter().enumerate().find(|(_, call)| task.tool(&call.name).is_none());
    let fault = unknown.map(|(index, call)| Fault::UnknownTool { index, tool: call.name.clone() });
    let accuracy = match stage {
        Some(stage) if same_end(task, &calls, stage) => 1.0 / (1.0 + config.alpha * extra(task, &calls)),
        _ => accuracy(task, &calls, config),
    };
    (format, accuracy, fault)
}

/// Whether the calls name the whole menu, though the gold calls do not.
fn every_tool(task: &Task, calls: &[ToolCall]) -> bool {
    let all =
        |calls: &[ToolCall]| task.tools.iter().all(|tool| calls.iter().any(|call| call.name == tool.name));
    task.tools.len() > 1 && all(calls) && !all(&task.gold)
}

/// The first call that is written more often than in the gold list.
fn repeated(task: &Task, calls: &[ToolCall]) -> Option<usize> {
    let count = |list: &[ToolCall], call: &ToolCall| list.iter().filter(|other| *other == call).count();
    let over = |at: usize| {
        let earlier = count(&calls[..at], &calls[at]);
        earlier > 0 && earlier >= count(&task.gold, &calls[at])
    };
    (1..calls.len()).find(|at| over(*at))
}

/// A value that could pass for several, or that only looks like another one.
fn trick(task: &Task, calls: &[ToolCall]) -> Option<Fault> {
    let gold = |text: &str| {
        let values = task.gold.iter().flat_map(|call| call.arguments.values());
        values.filter_map(Value::as_str).any(|value| canonical(value) == canonical(text))
    };
    for (index, call) in calls.iter().enumerate() {
        for (argument, value) in &call.arguments {
            let kind = task.tool(&call.name).and_then(|tool| tool.param(argument)?.kind());
            let single = matches!(kind, Some("string" | "integer" | "number" | "boolean"));
            if single && (value.is_array() || value.is_object()) {
                return Some(Fault::ArgumentType { index, argument: argument.clone() });
            }
            let Some(text) = value.as_str().filter(|text| !text.is_ascii()) else { continue };
            if has_hidden(text) && !gold(text) {
                return Some(Fault::HiddenCharacter { block: Block::ToolCallAnswer });
            }
            if has_look_alike(text) && !gold(text) {
                return Some(Fault::LookAlike { block: Block::ToolCallAnswer });
            }
        }
    }
    None
}

fn accuracy(task: &Task, calls: &[ToolCall], config: &SolverConfig) -> f64 {
    if task.gold.is_empty() {
        return if calls.is_empty() { 1.0 } else { 0.0 - (config.needless * calls.len() as f64).min(1.0) };
    }
    let total = match_calls(&task.tools, &task.gold, calls, &config.call_weights).total;
    total / task.gold.len() as f64 / (1.0 + config.alpha * extra(task, calls))
}

/// Calls beyond as many as the gold has.
fn extra(task: &Task, calls: &[ToolCall]) -> f64 {
    calls.len().saturating_sub(task.gold.len()) as f64
}
