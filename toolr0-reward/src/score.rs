//! Scores completions offline, one JSON object in and one out: the shape of a JSONL file of completions.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use toolr0_tools::{Context, Task, TaskSpec, ToolCall, ToolSpec};

use crate::fault::Fault;
use crate::release;
use crate::reward::{Curriculum, RewardConfig, generator_reward, solver_reward};
use crate::schema::{SchemaError, check_schemas};
use crate::verify::inspect;
use crate::wire;

/// Whose completion it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// A task was asked for.
    Generator,
    /// Calls were asked for.
    Solver,
}

/// Whose rules are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Ours, with the release's faults corrected.
    #[default]
    Strict,
    /// The public release's, for comparison.
    Release,
}

/// Why a line could not be scored: the fault of the file, not of a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// The line is no JSON object with the fields that are needed.
    #[error("expected an object with `completion`{}", if *solver { " and `gold`" } else { "" })]
    Line {
        /// Whether gold calls were needed.
        solver: bool,
        /// What was wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The gold calls are not `[{"name": .., "arguments": {..}}]`, which the strict profile needs.
    #[error("expected `gold` to be a list of calls with name and arguments")]
    Gold(#[source] serde_json::Error),
    /// A tool of the line has parameters that are no JSON Schema.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

#[derive(Deserialize)]
struct SolverLine {
    gold: Value,
    completion: String,
    #[serde(default)]
    tools: Vec<ToolSpec>,
}

#[derive(Deserialize)]
struct GeneratorLine {
    completion: String,
    spec: Option<TaskSpec>,
}

/// Scores one line.
///
/// - solver: takes `gold`, `completion` and, in the strict profile, `tools` if there are any (without them no schema
///   says what is a number); gives `format`, `accuracy`, `parsed` (the calls, or null).
/// - generator: takes `completion` and, in the strict profile, `spec` if there is one; gives `tags_parsed`,
///   `tools_valid_json`, `gold_valid_json`, `gold_tool_exists`, `gold_args_valid`, `gold_values_grounded`, `format`,
///   `validity`, `verify` (`ok` or the reason), and where that is `ok`, `normalized_tools` and `calls`, in the release
///   profile also `fingerprints` and `quality_score`.
///
/// The strict profile adds `fault`, the label of what is wrong or null.
///
/// # Errors
///
/// [`ScoreError`] if the line itself cannot be read. A bad completion is no error.
pub fn score_line(side: Side, profile: Profile, line: &str) -> Result<Value, ScoreError> {
    let bad = |source| ScoreError::Line { solver: side == Side::Solver, source };
    match side {
        Side::Solver => {
            let line: SolverLine = object(line).map_err(bad)?;
            match profile {
                Profile::Strict => strict_solver(line),
                Profile::Release => {
                    let score = release::solver::score(&line.gold, &line.completion);
                    Ok(json!({"format": score.format, "accuracy": score.accuracy, "parsed": score.parsed}))
                }
            }
        }
        Side::Generator => {
            let line: GeneratorLine = object(line).map_err(bad)?;
            Ok(match profile {
                Profile::Strict => strict_generator(&line),
                Profile::Release => release_generator(&line.completion),
            })
        }
    }
}

/// A line by its keys: serde would take a list for an object without them.
fn object<T: DeserializeOwned>(line: &str) -> serde_json::Result<T> {
    match line.trim_start().starts_with('{') {
        true => serde_json::from_str(line),
        false => Err(serde::de::Error::custom("the line is no object")),
    }
}

fn strict_solver(line: SolverLine) -> Result<Value, ScoreError> {
    let gold: Vec<ToolCall> = serde_json::from_value(line.gold).map_err(ScoreError::Gold)?;
    check_schemas(&line.tools)?;
    let task = Task { question: String::new(), tools: line.tools, gold };
    let mut config = RewardConfig::default().solver;
    // The bare terms, so that the numbers mean the same whatever the weights of a run.
    (config.format, config.accuracy) = (1.0, 1.0);
    let reward = solver_reward(&task, &line.completion, &config);
    // Without a menu nobody knows which tools there are.
    let known = |fault: &&Fault| !(task.tools.is_empty() && matches!(fault, Fault::UnknownTool { .. }));
    Ok(json!({
        "format": reward.get("format"),
        "accuracy": reward.get("accuracy"),
        "parsed": wire::solver::parse(&line.completion).ok(),
        "fault": reward.fault.as_ref().filter(known).map(Fault::kind),
    }))
}

fn strict_generator(line: &GeneratorLine) -> Value {
    let config = RewardConfig::default().generator;
    let draft = wire::generator::read(&line.completion);
    let task = draft.clone().and_then(wire::generator::Draft::task);
    let spec = line.spec.clone().unwrap_or_else(|| TaskSpec {
        domain: String::new(),
        context: Context::SingleTurn,
        n_tools: task.as_ref().map_or(0, |t| t.tools.len()),
        n_calls: task.as_ref().map_or(0, |t| t.gold.len()),
    });
    let reward =
        generator_reward(&line.completion, &spec, &Curriculum::difficulty(0.0).judged(Some(1)), &config);
    let findings = task.as_ref().ok().map(|task| inspect(task, Some(&spec), &config.verify));
    let known = findings.as_ref().is_some_and(|f| f.menu.is_none());
    let blocks = draft.as_ref().is_ok_and(|d| {
        let no_block = |fault: &Fault| {
            use Fault::{EmptyBlock, MisplacedBlock, MissingBlock, RepeatedBlock};
            matches!(
                fault,
                MissingBlock { .. } | EmptyBlock { .. } | MisplacedBlock { .. } | RepeatedBlock { .. }
            )
        };
        let whole = |fault: Option<&Fault>| !fault.is_some_and(no_block);
        whole(d.think.as_ref().err())
            && whole(d.question.as_ref().err())
            && whole(d.tools.as_ref().err())
            && whole(d.gold.as_ref().err())
    });
    let part = |ok: bool| f64::from(u8::from(ok));
    let fault = reward.fault.as_ref().map(Fault::kind);
    let mut out = json!({
        "tags_parsed": part(blocks),
        "tools_valid_json": part(blocks && draft.as_ref().is_ok_and(|d| d.tools.is_ok())),
        "gold_valid_json": part(blocks && draft.as_ref().is_ok_and(|d| d.gold.is_ok())),
        "gold_tool_exists": part(blocks && known),
        "gold_args_valid": part(blocks && known && findings.as_ref().is_some_and(|f| f.arguments.is_none())),
        "gold_values_grounded": part(blocks && known && findings.as_ref().is_some_and(|f| f.grounding.is_none())),
        "format": reward.get("format"),
        "validity": reward.get("validity"),
        "verify": fault.unwrap_or("ok"),
        "fault": fault,
    });
    if let (None, Ok(task)) = (fault, task) {
        out["normalized_tools"] = json!(task.tools);
        out["calls"] = json!(task.gold);
    }
    out
}

fn release_generator(completion: &str) -> Value {
    let score = release::generator::score(completion);
    let verified = release::verify::verify(completion);
    let mut out = json!({
        "tags_parsed": score.tags_parsed,
        "tools_valid_json": score.tools_valid_json,
        "gold_valid_json": score.gold_valid_json,
        "gold_tool_exists": score.gold_tool_exists,
        "gold_args_valid": score.gold_args_valid,
        "gold_values_grounded": score.gold_values_grounded,
        "format": score.format,
        "validity": score.validity,
        "verify": verified.as_ref().err().unwrap_or(&"ok"),
    });
    if let Ok(accepted) = verified {
        out["fingerprints"] = accepted.fingerprints.to_json();
        out["quality_score"] = json!(accepted.quality);
        out["normalized_tools"] = accepted.tools;
        out["calls"] = accepted.calls;
    }
    out
}
