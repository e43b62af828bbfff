//! The held-out measurement: greedy answers to questions that neither role has seen.

use serde::{Deserialize, Serialize};
use toolr0_model::SamplingConfig;
use toolr0_model::rng::Stream;
use toolr0_reward::Style;
pub use toolr0_reward::question::ErrorCounts;
use toolr0_reward::question::{Mark, Question, Tally};
use toolr0_reward::stats::pass_at_k;
use toolr0_tools::Task;

use crate::error::Result;
use crate::policy::{Group, Sampler};

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
    let marks = marks(sampler, tasks, style, &sampling, 1, Stream::root(0), progress)?;
    let mut tally = Tally::default();
    marks.iter().flatten().for_each(|mark| tally.add(mark));
    Ok(ExamReport {
        items: tasks.len(),
        solved: tally.solved,
        accuracy: tally.accuracy(),
        interval: tally.interval(),
        parse_rate: tally.share(tally.parsed),
        errors: tally.errors,
        correct: marks.iter().map(|of_one| of_one.iter().any(|mark| mark.solved)).collect(),
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
    let marks = marks(sampler, tasks, style, &sampling, k, stream, &mut |_| true)?;
    let solved = |of_one: &Vec<Mark>| of_one.iter().filter(|mark| mark.solved).count();
    let sum: f64 = marks.iter().map(|of_one| pass_at_k(k, solved(of_one), k)).sum();
    Ok(sum / tasks.len().max(1) as f64)
}

/// `k` answers to each task, marked.
fn marks(
    sampler: &Sampler,
    tasks: &[Task],
    style: Style,
    sampling: &SamplingConfig,
    k: usize,
    stream: Stream,
    progress: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<Vec<Mark>>> {
    let questions: Vec<Question> = tasks.iter().cloned().map(Question::Task).collect();
    let ask = |(i, question): (usize, &Question)| {
        let streams = (0..k).map(|sample| stream.child(i).child(sample)).collect();
        (question.prompt(style), streams)
    };
    let prompts: Vec<_> = questions.iter().enumerate().map(ask).collect();
    let groups = sampler.sample(&prompts, sampling, progress)?;
    let mark = |(question, group): (&Question, Group)| -> Vec<Mark> {
        group.rollouts.iter().map(|rollout| question.mark(&rollout.text)).collect()
    };
    Ok(questions.iter().zip(groups).map(mark).collect())
}
