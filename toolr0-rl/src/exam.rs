//! The held-out measurement: greedy answers to questions that neither role has seen.

use serde::{Deserialize, Serialize};
use toolr0_model::SamplingConfig;
use toolr0_model::rng::Stream;
use toolr0_reward::stats::wilson;
use toolr0_reward::{Style, judge, wire};
use toolr0_tools::Task;

use crate::error::Result;
use crate::policy::Sampler;

/// How many answers went wrong, by kind. One answer may be wrong in several ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCounts {
    /// The answer could not be read.
    pub format: usize,
    /// A wrong tool was called.
    pub tool_name: usize,
    /// An argument is missing or superfluous.
    pub argument_names: usize,
    /// A value is wrong.
    pub argument_values: usize,
    /// There are too few or too many calls.
    pub n_calls: usize,
}

/// The result of one sitting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExamReport {
    /// Questions.
    pub items: usize,
    /// Questions answered exactly.
    pub solved: usize,
    /// `solved / items`.
    pub accuracy: f64,
    /// 95 % Wilson interval of the accuracy.
    pub interval: (f64, f64),
    /// Share of answers that could be read.
    pub parse_rate: f64,
    /// What went wrong.
    pub errors: ErrorCounts,
    /// Which questions were answered exactly, in their order: for paired comparisons.
    pub correct: Vec<bool>,
}

/// Greedy answers to `tasks`, judged on whole calls. `progress` is called with the number of answers.
///
/// # Errors
///
/// If the model's arithmetic fails.
pub fn sit(
    sampler: &Sampler,
    tasks: &[Task],
    style: Style,
    max_new_tokens: usize,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<ExamReport> {
    let sampling = SamplingConfig { max_new_tokens, ..SamplingConfig::greedy() };
    let answers = answers(sampler, tasks, style, &sampling, 1, Stream::root(0), progress)?;
    let (mut errors, mut correct, mut parsed) = (ErrorCounts::default(), Vec::with_capacity(tasks.len()), 0);
    for (task, texts) in tasks.iter().zip(&answers) {
        let verdict = judge(task, texts.first().map_or("", String::as_str));
        let e = &verdict.errors;
        errors.format += usize::from(e.format);
        errors.tool_name += usize::from(e.tool_name);
        errors.argument_names += usize::from(e.argument_names);
        errors.argument_values += usize::from(e.argument_values);
        errors.n_calls += usize::from(e.n_calls);
        parsed += usize::from(verdict.fault.is_none());
        correct.push(verdict.solved);
    }
    let (items, solved) = (tasks.len(), correct.iter().filter(|c| **c).count());
    let share = |n: usize| n as f64 / items.max(1) as f64;
    Ok(ExamReport {
        items,
        solved,
        accuracy: share(solved),
        interval: wilson(solved, items),
        parse_rate: share(parsed),
        errors,
        correct,
    })
}

/// Share of `tasks` of which at least one of `k` samples at temperature 1 is exactly right: the headroom that
/// reinforcement learning can reach for.
///
/// # Errors
///
/// If the model's arithmetic fails.
pub fn pass_at(
    sampler: &Sampler,
    tasks: &[Task],
    style: Style,
    k: usize,
    max_new_tokens: usize,
    stream: Stream,
) -> Result<f64> {
    let sampling = SamplingConfig { max_new_tokens, ..SamplingConfig::default() };
    let answers = answers(sampler, tasks, style, &sampling, k, stream, &mut |_| true)?;
    let any = tasks.iter().zip(&answers).filter(|(task, texts)| texts.iter().any(|t| judge(task, t).solved));
    Ok(any.count() as f64 / tasks.len().max(1) as f64)
}

/// `k` answers to each task.
fn answers(
    sampler: &Sampler,
    tasks: &[Task],
    style: Style,
    sampling: &SamplingConfig,
    k: usize,
    stream: Stream,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<Vec<String>>> {
    let ask = |(i, task): (usize, &Task)| {
        let streams = (0..k).map(|sample| stream.child(i).child(sample)).collect();
        (wire::solver::prompt(&task.question, &task.tools, style), streams)
    };
    let prompts: Vec<_> = tasks.iter().enumerate().map(ask).collect();
    let groups = sampler.sample(&prompts, sampling, progress)?;
    Ok(groups.into_iter().map(|g| g.rollouts.into_iter().map(|r| r.text).collect()).collect())
}
