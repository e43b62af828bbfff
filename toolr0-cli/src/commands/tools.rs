//! `toolr0 tools`: look at a source of tools, and try it by hand.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use toolr0_reward::ast::BenchItem;
use toolr0_tools::schema::{Coercion, Refusal};
use toolr0_tools::{Limits, Message, Source, Task, ToolCall, ToolSpec};

use crate::args::{Global, Tools};
use crate::base;
use crate::source;
use crate::ui::out;

/// Lists tools, runs calls one after the other, or checks them.
pub(crate) fn run(args: &Tools, global: Global) -> Result<ExitCode> {
    match args {
        Tools::List { source } => list(&source::open(source, false)?, global),
        Tools::Call { source, calls, seed, strict, timeout } => {
            let limits = Limits { millis: timeout.saturating_mul(1000), ..Limits::default() };
            call(&source::open(source, *strict)?, source, calls, (*seed, limits), global)
        }
        Tools::Questions { source, n } => questions(&source::open(source, false)?, source, *n as usize),
        Tools::Check { source, calls } => check(&source::open(source, false)?, calls, global),
    }
}

fn list(source: &Source, global: Global) -> Result<ExitCode> {
    if global.json {
        let tools: Vec<&ToolSpec> = source.tools().collect();
        let skipped: Vec<Value> =
            source.skipped.iter().map(|(tool, reason)| json!({"tool": tool, "reason": reason})).collect();
        out(&format!("{}\n", json!({"tools": tools, "skipped": skipped})))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for menu in &source.menus {
        let s = if menu.tools.len() == 1 { "" } else { "s" };
        writeln!(text, "{} ({} tool{s})", menu.domain, menu.tools.len())?;
        for tool in &menu.tools {
            let params: Vec<String> = tool.params().map(|p| param(p.name, p.schema, p.required)).collect();
            writeln!(text, "  {}({})\n      {}", tool.name, params.join(", "), tool.description)?;
        }
    }
    for (tool, reason) in &source.skipped {
        writeln!(text, "left out: {tool}: {reason}")?;
    }
    out(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// One line of benchmark questions for each.
fn questions(source: &Source, name: &str, n: usize) -> Result<ExitCode> {
    let no_words = |what| anyhow!("{name}: the embedded base has no words for {what}");
    let tasks = base::questions_about(&source.menus, n).map_err(no_words)?;
    let line = |(i, task): (usize, &Task)| {
        let item = BenchItem {
            id: format!("own-{i}"),
            benchmark: "own".to_owned(),
            split: "exam".to_owned(),
            messages: vec![Message::new("user", task.question.as_str())],
            tools: task.tools.clone(),
            answers: vec![task.gold.clone()],
            answer_spec: None,
            meta: Default::default(),
        };
        format!("{}\n", json!(item))
    };
    out(&tasks.iter().enumerate().map(line).collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}

fn param(name: &str, schema: &Value, required: bool) -> String {
    let kind = match (schema.get("enum"), schema.get("type")) {
        (Some(Value::Array(set)), _) => {
            let word = |member: &Value| member.as_str().map_or_else(|| member.to_string(), str::to_owned);
            set.iter().map(word).collect::<Vec<_>>().join("|")
        }
        (_, Some(Value::String(kind))) => kind.clone(),
        _ => "any".to_owned(),
    };
    let default = schema.get("default").map_or_else(String::new, |default| format!(" = {default}"));
    let mark = if required || !default.is_empty() { "" } else { "?" };
    format!("{name}{mark}: {kind}{default}")
}

/// Runs calls on one state, and fails if any of them did not end with a value.
fn call(
    source: &Source,
    name: &str,
    calls: &[String],
    (seed, limits): (u64, Limits),
    global: Global,
) -> Result<ExitCode> {
    let Some(sandbox) = &source.sandbox else {
        bail!("the tools of {name} are described, not run; `toolr0 tools check` checks calls");
    };
    let calls = parse(calls)?;
    let mut state = sandbox.state(seed);
    let mut all = true;
    for call in &calls {
        let outcome = sandbox.run(call, &mut state, &limits);
        all &= outcome.end.value().is_some();
        let line = match global.json {
            true => json!({"call": call, "outcome": outcome, "state": state.hash()}).to_string(),
            false => {
                let changes = match outcome.changes.len() {
                    0 => "nothing changed".to_owned(),
                    _ => {
                        let of = |c: &toolr0_tools::state::RowChange| format!("{} {}", c.table, c.id);
                        format!("changed {}", outcome.changes.iter().map(of).collect::<Vec<_>>().join(", "))
                    }
                };
                let end = serde_json::to_string(&outcome.end)?;
                format!("{end}\n  {changes}; state {}{}", state.hash(), coerced(&outcome.coerced))
            }
        };
        out(&format!("{line}\n"))?;
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Checks calls without running them, and fails if any of them would be refused.
fn check(source: &Source, calls: &[String], global: Global) -> Result<ExitCode> {
    let mut all = true;
    for call in parse(calls)? {
        let unknown = || Refusal::UnknownTool { tool: call.name.clone() };
        let checked = source.schema(&call.name).ok_or_else(unknown).and_then(|schema| schema.check(&call));
        all &= checked.is_ok();
        let line = match (checked, global.json) {
            (Ok(checked), true) => json!({"call": call, "checked": checked}).to_string(),
            (Err(refusal), true) => json!({"call": call, "refused": refusal.to_string()}).to_string(),
            (Ok(checked), false) => {
                format!("fits: {}{}", Value::Object(checked.arguments), coerced(&checked.coerced))
            }
            (Err(refusal), false) => format!("refused: {refusal}"),
        };
        out(&format!("{line}\n"))?;
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn coerced(all: &[Coercion]) -> String {
    all.iter().map(|Coercion { argument, from, to }| format!("\n  {argument}: read {from} as {to}")).collect()
}

fn parse(calls: &[String]) -> Result<Vec<ToolCall>> {
    let read = |text: &String| -> Result<ToolCall> {
        serde_json::from_str(text).with_context(|| {
            format!("{text}: expected a call such as {{\"name\": \"f\", \"arguments\": {{}}}}")
        })
    };
    calls.iter().map(read).collect()
}
