//! The browser of tasks with the solver's attempts.

use std::fmt::Write as _;

use serde_json::Value;
use toolr0_curriculum::Candidate;
use toolr0_tools::{ParamSpec, ToolCall, ToolSpec};

use crate::chart::escape;
use crate::run_log::{RunLog, whole};

/// The section's name.
pub(super) const TITLE: &str = "Tasks";

/// Tasks of an iteration that are shown where a run has not recorded samples.
const SHOWN: usize = 16;

/// A task and what the solver wrote.
struct Shown {
    iteration: usize,
    place: usize,
    candidate: Candidate,
    /// Text, and whether it is right; `None` where the run did not record them.
    answers: Option<Vec<(String, bool)>>,
}

/// The section; empty without tasks.
pub(super) fn browser(log: &RunLog) -> String {
    let mut tasks: Vec<Shown> = log.samples.iter().flat_map(recorded).collect();
    if tasks.is_empty() {
        tasks = (1..=log.iterations()).flat_map(|i| spread(log, i)).collect();
    }
    let Some(last) = tasks.iter().map(|task| task.iteration).max() else { return String::new() };
    let mut text = format!(
        "<section id=\"tasks\">\n<h2>{TITLE}</h2>\n<p>Samples from all over the order of training, with what the solver wrote \
         before it trained on them.</p>\n<div class=\"filter\"><label>Iteration <select id=\"iteration\"><option value=\"\">all</option>"
    );
    (1..=last).for_each(|i| _ = write!(text, "<option>{i}</option>"));
    text.push_str("</select></label><label>Find <input type=\"search\" id=\"find\"></label></div>\n<div id=\"samples\">\n");
    tasks.iter().for_each(|task| text.push_str(&one(task)));
    text.push_str("</div>\n</section>\n");
    text
}

/// The samples of one record; those that cannot be read are left out.
fn recorded(record: &Value) -> Vec<Shown> {
    let iteration = whole(record, "/iteration");
    let read = |sample: &Value| {
        let answer = |answer: &Value| {
            (
                answer["text"].as_str().unwrap_or_default().to_owned(),
                answer["solved"].as_bool().unwrap_or(false),
            )
        };
        Some(Shown {
            iteration,
            place: whole(sample, "/place"),
            candidate: serde_json::from_value(sample["candidate"].clone()).ok()?,
            answers: Some(sample["answers"].as_array()?.iter().map(answer).collect()),
        })
    };
    record["tasks"].as_array().into_iter().flatten().filter_map(read).collect()
}

/// Tasks of a run that recorded none of the answers.
fn spread(log: &RunLog, iteration: usize) -> Vec<Shown> {
    let tasks = log.tasks(iteration);
    let n = SHOWN.min(tasks.len());
    let pick = |i: usize| {
        let at = i * tasks.len() / n;
        Shown { iteration, place: at + 1, candidate: tasks[at].clone(), answers: None }
    };
    (0..n).map(pick).collect()
}

fn one(task: &Shown) -> String {
    let Shown { iteration, place, candidate, answers } = task;
    let (solved, tried) = (candidate.attempts.solved(), candidate.attempts.tried());
    let mut text = format!(
        "<details class=\"task\" data-iteration=\"{iteration}\"><summary><span class=\"rate\">{solved}/{tried}</span>\
         <span class=\"question\">{}</span><span class=\"domain\">{} · {iteration}.{place}</span></summary>\n",
        escape(&candidate.task.question),
        escape(&candidate.spec.domain.replace('_', " "))
    );
    text.push_str("<h3>Tools</h3><ul>");
    for tool in &candidate.task.tools {
        let _ =
            write!(text, "<li><code>{}</code> {}</li>", escape(&signature(tool)), escape(&tool.description));
    }
    text.push_str("</ul><h3>Right calls</h3><ul>");
    for call in &candidate.task.gold {
        let _ = write!(text, "<li><code>{}</code></li>", escape(&written(call)));
    }
    text.push_str("</ul><h3>The solver's attempts</h3>");
    match answers {
        None => text.push_str("<p>This run did not record them.</p>"),
        Some(answers) => {
            text.push_str("<ol>");
            for (answer, solved) in answers {
                let (class, word) = if *solved { ("right", "right") } else { ("wrong", "wrong") };
                let _ = write!(text, "<li><b class=\"{class}\">{word}</b><pre>{}</pre></li>", escape(answer));
            }
            text.push_str("</ol>");
        }
    }
    text.push_str("</details>\n");
    text
}

/// `name(city: string, guests?: integer)`
fn signature(tool: &ToolSpec) -> String {
    let one = |param: ParamSpec<'_>| {
        let optional = if param.required { "" } else { "?" };
        format!("{}{optional}: {}", param.name, param.kind().unwrap_or("any"))
    };
    format!("{}({})", tool.name, tool.params().map(one).collect::<Vec<_>>().join(", "))
}

/// `name(city="Oslo", guests=2)`
fn written(call: &ToolCall) -> String {
    let all: Vec<String> = call.arguments.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{}({})", call.name, all.join(", "))
}
