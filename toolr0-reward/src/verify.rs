//! Is this task sound, and is it the one that was asked for? Checked from its structure alone, before any solver
//! sees it.
//!
//! What cannot be checked this way is left to the solver: whether the question really asks for these calls, and
//! whether it stays in its domain.

use jsonschema::{PatternOptions, Validator};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use toolr0_tools::{Context, Task, TaskSpec, ToolCall, ToolSpec};

use crate::fault::{Block, Fault};
use crate::grounding::Ground;
use crate::text::{folded, has_hidden, has_look_alike, is_word};
use crate::wire::{STOP, holds_tag};

/// What [`verify`] demands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VerifyConfig {
    /// The least number of characters of a question. Default 8, the release's gate.
    pub min_question_chars: usize,
    /// The largest number of characters of a question. Default 2,000; the release has no bound, but a prompt has.
    pub max_question_chars: usize,
    /// Whether parameters must be plain values: strings, integers, numbers, booleans. Default true, as the paper asks.
    pub flat: bool,
    /// Whether every argument's value must stand in the question. Default true, as the paper asks.
    pub grounded: bool,
    /// Whether every tool must say what it does. Default true.
    pub descriptions: bool,
    /// Whether a multi-turn question must hold a transcript. Default true.
    pub turns: bool,
    /// From which similarity of two descriptions (0 to 1, see [`similarity`]) a distractor with the same argument
    /// names could serve as well. Default 0.8; 1 refuses equal descriptions only.
    pub twin_similarity: f64,
}

impl Default for VerifyConfig {
    fn default() -> Self {
        Self {
            min_question_chars: 8,
            max_question_chars: 2000,
            flat: true,
            grounded: true,
            descriptions: true,
            turns: true,
            twin_similarity: 0.8,
        }
    }
}

/// Which of the validity parts of the generator's reward a task has earned; see [`inspect`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The task is no honest one: a placeholder, an echo, a give-away, invisible letters.
    pub dishonest: Option<Fault>,
    /// The task is not the one asked for, or a menu of it cannot be used.
    pub task: Option<Fault>,
    /// A call names a tool that is not on the menu.
    pub menu: Option<Fault>,
    /// A call lacks a required argument, has a foreign one, or one of the wrong type.
    pub arguments: Option<Fault>,
    /// A value does not stand in the question.
    pub grounding: Option<Fault>,
}

impl Findings {
    /// The first fault, in the order of the fields.
    pub fn first(self) -> Option<Fault> {
        self.dishonest.or(self.task).or(self.menu).or(self.arguments).or(self.grounding)
    }
}

/// Verifies a task against what was asked for.
///
/// # Errors
///
/// The first [`Fault`]: one of honesty, then of the specification and the menu, then of the calls, all of them.
pub fn verify(task: &Task, spec: &TaskSpec, config: &VerifyConfig) -> Result<(), Fault> {
    inspect(task, Some(spec), config).first().map_or(Ok(()), Err)
}

/// All groups of findings of one task. Without a specification (a task from elsewhere) its three numbers are not
/// checked.
pub fn inspect(task: &Task, spec: Option<&TaskSpec>, config: &VerifyConfig) -> Findings {
    let schemas: Vec<Option<Schema>> = task.tools.iter().map(Schema::compile).collect();
    Findings {
        dishonest: honesty(task, config).err(),
        task: shape(task, spec, config).and_then(|()| menu(task, config, &schemas)).err(),
        menu: known(task).err(),
        arguments: arguments(task, &schemas).err(),
        grounding: if config.grounded { grounding(task).err() } else { None },
    }
}

/// Whether a tool can stand on a menu: [`verify`] refuses every task that offers another.
///
/// # Errors
///
/// The [`Fault`] that it would be.
pub fn usable(tool: &ToolSpec, config: &VerifyConfig) -> Result<(), Fault> {
    let task = Task { question: String::new(), tools: vec![tool.clone()], gold: Vec::new() };
    menu(&task, config, &[Schema::compile(tool)])
}

/// Phrases of prompts and templates, folded. Our own prompts' wording is among them, so that an echo is no
/// question, and so is the question of the example in the generator's prompt.
const PLACEHOLDERS: [&str; 14] = [
    "the weather be like in lisbon for the next 3 days",
    "lorem ipsum",
    "placeholder",
    "control spec",
    "task specification",
    "rules to satisfy",
    "private reasoning",
    "invent a task",
    "answer with tool calls",
    "practice tasks for",
    "write one new task",
    "user question",
    "tool-calling task",
    "tool call answer",
];

fn honesty(task: &Task, config: &VerifyConfig) -> Result<(), Fault> {
    let question = task.question.trim();
    let chars = question.chars().count();
    if chars < config.min_question_chars || chars > config.max_question_chars {
        return Err(Fault::QuestionLength { chars });
    }
    let values = || task.gold.iter().flat_map(|call| call.arguments.values()).filter_map(Value::as_str);
    let texts = [(Block::Question, question)].into_iter().chain(values().map(|v| (Block::ToolCallAnswer, v)));
    let described = task.tools.iter().map(|tool| (Block::AvailableTools, tool.description.as_str()));
    for (block, text) in texts.chain(described) {
        if has_hidden(text) {
            return Err(Fault::HiddenCharacter { block });
        }
        if has_look_alike(text) {
            return Err(Fault::LookAlike { block });
        }
    }
    let folded = folded(question);
    let few_letters = question.chars().filter(|c| c.is_alphabetic()).count() < 4;
    let bracketed = [('[', ']'), ('<', '>'), ('{', '}')]
        .iter()
        .any(|(a, b)| question.starts_with(*a) && question.ends_with(*b));
    let echoed = PLACEHOLDERS.iter().any(|p| folded.contains(p));
    // A question that speaks to whoever rates it is no user's.
    let any = |parts: &[&str]| parts.iter().any(|part| folded.contains(part));
    let to_judge = any(&["judge", "rubric", "grader", "evaluator", "this task", "this example"])
        && any(&["5/5", "score", "rate ", "rating", "answer 5", "reply with 5", "reply 5"]);
    if few_letters || bracketed || echoed || to_judge {
        return Err(Fault::Placeholder);
    }
    let json =
        ["\"arguments\"", "\"name\":", "\"name\" :", "{\"", "[{"].iter().any(|part| question.contains(part));
    let identifier = |name: &str| {
        // A plain word such as `weather` may stand in an honest question, `get_weather` and `getWeather` may not.
        let marked = name.contains('_') || name.chars().skip(1).any(char::is_uppercase);
        marked
            && question.match_indices(name).any(|(at, found)| {
                let head = question[..at].chars().next_back();
                let tail = question[at + found.len()..].chars().next();
                let inside = |c: Option<char>| c.is_some_and(|c| is_word(c) || c == '_');
                !inside(head) && !inside(tail)
            })
    };
    if json
        || holds_tag(question)
        || question.contains(STOP[0])
        || task.tools.iter().any(|t| identifier(&t.name))
    {
        return Err(Fault::AnswerInQuestion);
    }
    Ok(())
}

/// The specification's numbers, and whether a tool is needed at all.
fn shape(task: &Task, spec: Option<&TaskSpec>, config: &VerifyConfig) -> Result<(), Fault> {
    if let Some(spec) = spec {
        if task.tools.len() != spec.n_tools {
            return Err(Fault::MenuSize { want: spec.n_tools, got: task.tools.len() });
        }
        if task.gold.len() != spec.n_calls {
            return Err(Fault::CallCount { want: spec.n_calls, got: task.gold.len() });
        }
        if config.turns && spec.context == Context::MultiTurn {
            let question = task.question.to_lowercase();
            let agent = ["agent:", "assistant:"].iter().any(|turn| question.contains(turn));
            if !agent || !question.contains("user:") {
                return Err(Fault::NoTurns);
            }
        }
    }
    for (index, call) in task.gold.iter().enumerate() {
        if task.gold[..index].contains(call) {
            return Err(Fault::RepeatedCall { index });
        }
    }
    // A tool that takes arguments but gets none is called for nothing that the question says.
    let idle = |call: &ToolCall| {
        call.arguments.is_empty() && task.tool(&call.name).is_some_and(|t| t.params().next().is_some())
    };
    if !task.gold.is_empty() && task.gold.iter().all(idle) {
        return Err(Fault::NoToolNeeded);
    }
    Ok(())
}

fn menu(task: &Task, config: &VerifyConfig, schemas: &[Option<Schema>]) -> Result<(), Fault> {
    for (index, tool) in task.tools.iter().enumerate() {
        if !is_name(&tool.name)
            || ["tool", "function", "api", "call", "tool_name", "function_name"].contains(&&*tool.name)
        {
            return Err(Fault::ToolName { index });
        }
        if task.tools[..index].iter().any(|other| other.name == tool.name) {
            return Err(Fault::RepeatedTool { tool: tool.name.clone() });
        }
        if config.descriptions && tool.description.chars().filter(|c| c.is_alphabetic()).count() < 4 {
            return Err(Fault::ToolDescription { index });
        }
        if schemas[index].is_none() || tool.params().any(|p| !is_name(p.name) || has_look_alike(p.name)) {
            return Err(Fault::ToolSchema { index });
        }
        let nested =
            tool.params().find(|p| !matches!(p.kind(), Some("string" | "integer" | "number" | "boolean")));
        if let (true, Some(param)) = (config.flat, nested) {
            return Err(Fault::NestedArgument { index, argument: param.name.to_owned() });
        }
    }
    twins(task, config)
}

/// A letter or `_`, then letters, digits, `_`, `-` or `.`, 64 characters at most: what a call can name.
fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
        && name.chars().count() <= 64
        && !has_look_alike(name)
}

fn twins(task: &Task, config: &VerifyConfig) -> Result<(), Fault> {
    let keys = |tool: &ToolSpec| {
        let mut keys: Vec<String> = tool.params().map(|p| p.name.to_owned()).collect();
        keys.sort_unstable();
        keys
    };
    for call in &task.gold {
        let Some(tool) = task.tool(&call.name) else { continue };
        for other in task.tools.iter().filter(|other| other.name != tool.name) {
            // A tool that another gold call names is no distractor, but two that do the same are still one too many.
            if keys(tool) == keys(other)
                && similarity(&tool.description, &other.description) >= config.twin_similarity
            {
                return Err(Fault::TwinTool { tool: tool.name.clone(), other: other.name.clone() });
            }
        }
    }
    Ok(())
}

/// How alike two descriptions are, from 0 to 1: the Jaccard index of their pairs of neighbouring words, articles and
/// the like left out. Pairs, not words, so that "from metres to feet" and "from feet to metres" differ.
pub fn similarity(a: &str, b: &str) -> f64 {
    let (a, b) = (pairs(a), pairs(b));
    let both = a.intersection(&b).count();
    let all = a.len() + b.len() - both;
    if all == 0 { 1.0 } else { both as f64 / all as f64 }
}

fn pairs(text: &str) -> std::collections::HashSet<(String, String)> {
    const IDLE: [&str; 14] =
        ["a", "an", "the", "of", "for", "in", "on", "at", "by", "with", "and", "this", "that", "given"];
    let folded = folded(text);
    let mut words: Vec<String> = vec![String::new()];
    words.extend(
        folded.split(|c: char| !is_word(c)).filter(|w| !w.is_empty() && !IDLE.contains(w)).map(str::to_owned),
    );
    words.push(String::new());
    words
        .windows(2)
        .map(|w| (w[0].clone(), w[1].clone()))
        .filter(|(a, b)| !(a.is_empty() && b.is_empty()))
        .collect()
}

fn known(task: &Task) -> Result<(), Fault> {
    match task.gold.iter().enumerate().find(|(_, call)| task.tool(&call.name).is_none()) {
        Some((index, call)) => Err(Fault::UnknownTool { index, tool: call.name.clone() }),
        None => Ok(()),
    }
}

fn arguments(task: &Task, schemas: &[Option<Schema>]) -> Result<(), Fault> {
    for (index, call) in task.gold.iter().enumerate() {
        let Some(at) = task.tools.iter().position(|tool| tool.name == call.name) else { continue };
        let tool = &task.tools[at];
        if let Some(argument) = tool.required().find(|r| !call.arguments.contains_key(*r)) {
            return Err(Fault::MissingArgument { index, argument: argument.to_owned() });
        }
        for (key, value) in &call.arguments {
            let argument = || key.clone();
            let Some(param) = tool.param(key) else {
                return Err(Fault::UnknownArgument { index, argument: argument() });
            };
            let fits = match &schemas[at] {
                Some(schema) => schema.fits(key, param.schema, value),
                None => return Err(Fault::ToolSchema { index: at }),
            };
            if !fits {
                return Err(Fault::ArgumentType { index, argument: argument() });
            }
        }
    }
    Ok(())
}

fn grounding(task: &Task) -> Result<(), Fault> {
    let ground = Ground::new(&task.question);
    for (index, call) in task.gold.iter().enumerate() {
        if let Some((key, _)) = call.arguments.iter().find(|(_, value)| !ground.holds(value)) {
            return Err(Fault::Ungrounded { index, argument: key.clone() });
        }
    }
    Ok(())
}

/// The schemas of one tool's parameters, ready to check values.
///
/// Nearly all say only a type and perhaps an `enum`, which is checked here; the others are compiled by the crate
/// `jsonschema`, which costs far more.
struct Schema(Vec<(String, Validator)>);

impl Schema {
    /// `None` if a parameter's schema is not one.
    fn compile(tool: &ToolSpec) -> Option<Self> {
        let properties = tool.properties()?;
        let mut compiled = Vec::new();
        for (name, schema) in properties {
            if is_plain(schema) {
                continue;
            }
            // A reference could only lead out of the task: nothing is fetched, and a cycle is no plain schema.
            if mentions_reference(schema) {
                return None;
            }
            // Patterns come from a model, so they run on the engine that is linear in the text.
            let options =
                jsonschema::options().with_pattern_options(PatternOptions::regex().size_limit(1 << 20));
            compiled.push((name.clone(), options.should_validate_formats(true).build(schema).ok()?));
        }
        Some(Self(compiled))
    }

    fn fits(&self, name: &str, schema: &Value, value: &Value) -> bool {
        match self.0.iter().find(|(compiled, _)| compiled == name) {
            Some((_, validator)) => validator.is_valid(value),
            None => fits_plain(schema, value),
        }
    }
}

/// Whether the schema says a known type and nothing else that binds but `enum`.
fn is_plain(schema: &Value) -> bool {
    let Some(object) = schema.as_object() else { return false };
    let known = object.get("type").and_then(Value::as_str).is_some_and(|kind| type_check(kind).is_some());
    known
        && object.iter().all(|(key, value)| match key.as_str() {
            "type" | "description" | "title" | "default" | "examples" => true,
            "enum" => value.is_array(),
            _ => false,
        })
}

fn fits_plain(schema: &Value, value: &Value) -> bool {
    let kind = schema.get("type").and_then(Value::as_str).and_then(type_check);
    kind.is_none_or(|check| check(value))
        && match schema.get("enum") {
            Some(Value::Array(allowed)) => {
                allowed.iter().any(|a| crate::matching::values_match(Some(schema), a, value))
            }
            _ => true,
        }
}

fn type_check(kind: &str) -> Option<fn(&Value) -> bool> {
    Some(match kind {
        "string" => Value::is_string,
        // 5.0 is an integer in JSON Schema.
        "integer" => |v| v.is_i64() || v.is_u64() || v.as_f64().is_some_and(|f| f.fract() == 0.0),
        "number" => Value::is_number,
        "boolean" => Value::is_boolean,
        _ => return None,
    })
}

fn mentions_reference(schema: &Value) -> bool {
    match schema {
        Value::Object(object) => object.iter().any(|(k, v)| {
            matches!(&**k, "$ref" | "$dynamicRef" | "$schema" | "$id") || mentions_reference(v)
        }),
        Value::Array(items) => items.iter().any(mentions_reference),
        _ => false,
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
