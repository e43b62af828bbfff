//! How likely a frozen solver finds the gold answer of a task, by part: one pass over the answer as it would be written,
//! and nothing is sampled.

use serde_json::Value;
use toolr0_curriculum::GoldLogprobs;
use toolr0_model::Finish;
use toolr0_model::tokenizer::Incremental;
use toolr0_reward::wire;
use toolr0_tools::{Prompt, Task, ToolCall};

use crate::error::Result;
use crate::policy::{Group, Rollout, Sampler};
use crate::update::logprobs;

/// The gold answers computed together.
const TOGETHER: usize = 8;

/// The log-probability of each task's gold answer to the prompt that the solver gets, summed over tool names, argument names and values, nats.
///
/// The thought before the calls is empty: what a solver would think is not known without sampling it. The log-probabilities
/// are therefore features of a forecast, not the chance of an answer.
///
/// # Errors
///
/// If the model's arithmetic fails.
pub fn gold_logprobs(sampler: &Sampler, tasks: &[(Prompt, &Task)]) -> Result<Vec<GoldLogprobs>> {
    let mut out = Vec::with_capacity(tasks.len());
    for tasks in tasks.chunks(TOGETHER) {
        let (mut groups, mut parts) = (Vec::new(), Vec::new());
        for (prompt, task) in tasks {
            let prompt = sampler.encode(prompt)?;
            let (text, labels) = labelled(&task.gold);
            let tokens = sampler.tokenizer().encode(&text)?;
            parts.push(parts_of(sampler, &tokens, &labels)?);
            let rollout =
                Rollout { logprobs: Vec::new(), finish: Finish::Eos, text, tokens, quoted: Vec::new() };
            groups.push(Group { prompt, rollouts: vec![rollout] });
        }
        let all = logprobs(sampler.model(), &groups.iter().collect::<Vec<_>>(), 1.0)?;
        let mut all = all.into_iter();
        for parts in parts {
            let mut sums = [0.0; 3];
            for (part, logprob) in parts.iter().zip(all.by_ref()) {
                if let Some(part) = part {
                    sums[*part] += logprob;
                }
            }
            out.push(sums);
        }
    }
    Ok(out)
}

/// The answer as the solver's format has it, and the part that each of its bytes belongs to: 0 a tool's name, 1 an
/// argument's, 2 a value.
fn labelled(calls: &[ToolCall]) -> (String, Vec<Option<usize>>) {
    let (mut text, mut labels) = (String::new(), Vec::new());
    let mut add = |piece: &str, label: Option<usize>| {
        text.push_str(piece);
        labels.resize(text.len(), label);
    };
    // Around the calls the format's own writer says what stands there.
    let frame = wire::solver::write("", &[]);
    let (head, foot) = frame.split_once("[]").unwrap_or((&frame, ""));
    add(head, None);
    add("[", None);
    for (i, call) in calls.iter().enumerate() {
        add(if i == 0 { r#"{"name":"# } else { r#",{"name":"# }, None);
        add(&Value::from(call.name.as_str()).to_string(), Some(0));
        add(r#","arguments":{"#, None);
        for (j, (name, value)) in call.arguments.iter().enumerate() {
            add(if j == 0 { "" } else { "," }, None);
            add(&Value::from(name.as_str()).to_string(), Some(1));
            add(":", None);
            add(&value.to_string(), Some(2));
        }
        add("}}", None);
    }
    add("]", None);
    add(foot, None);
    (text, labels)
}

/// The part of each token: that of the first of its bytes which has one.
fn parts_of(sampler: &Sampler, tokens: &[u32], labels: &[Option<usize>]) -> Result<Vec<Option<usize>>> {
    let (mut text, mut at) = (Incremental::new(false), 0);
    let mut part = |token: &u32| -> Result<Option<usize>> {
        let len = text.push(sampler.tokenizer(), *token)?.len();
        let own = labels.get(at..at + len).unwrap_or_default();
        at += len;
        Ok(own.iter().find_map(|label| *label))
    };
    tokens.iter().map(&mut part).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_parts_are_where_the_format_writes_them() {
        let arguments = json!({ "city": "Oslo", "days": [1, 2], "note": "say \"hi\"" });
        let calls =
            ["get_forecast", "tell"].map(|name| ToolCall::new(name, arguments.as_object().unwrap().clone()));
        let (text, labels) = labelled(&calls);
        assert_eq!(text, wire::solver::write("", &calls));
        let part = |n| -> String {
            text.char_indices().filter(|(at, _)| labels[*at] == Some(n)).map(|(_, letter)| letter).collect()
        };
        assert_eq!(part(0), r#""get_forecast""tell""#);
        assert_eq!(part(1), r#""city""days""note""#.repeat(2));
        assert_eq!(part(2), r#""Oslo"[1,2]"say \"hi\"""#.repeat(2));
        assert_eq!(labelled(&[]).0, wire::solver::write("", &[]));
    }
}
