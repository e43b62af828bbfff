//! What a run tells while it goes on: the lines of `metrics.jsonl`, and who listens.

use std::collections::BTreeMap;

use serde::Serialize;
use toolr0_curriculum::guard::Hit;
use toolr0_curriculum::{Candidate, Drops, Funnel, SteeringReport};

use crate::alarm::AlarmReport;
use crate::error::Result;
use crate::exam::ExamReport;
use crate::insight::ErrorReport;
use crate::ledger::Entry;
use crate::memory::NoveltyReport;
pub use crate::probing::ProbingReport;
use crate::trust::TrustReport;
use crate::update::UpdateStats;

/// What a run tells while it goes on, and whether it may go on.
pub trait Observer {
    /// A phase of `n` items begins.
    fn begin(&mut self, phase: Phase, iteration: usize, n: usize);
    /// `done` of its items are done; `note` says what is to be seen of them.
    fn advance(&mut self, done: usize, note: &str);
    /// A record for the log.
    ///
    /// # Errors
    ///
    /// What the log cannot take, such as [`Error::Write`](crate::Error::Write); it ends the run.
    fn record(&mut self, record: &Record) -> Result<()>;
    /// What the ledger says of the record before.
    ///
    /// # Errors
    ///
    /// As [`Observer::record`].
    fn enter(&mut self, entry: &Entry) -> Result<()> {
        let _ = entry;
        Ok(())
    }
    /// All records so far must be on disk now: a checkpoint that counts them follows.
    ///
    /// # Errors
    ///
    /// As [`Observer::record`].
    fn sync(&mut self) -> Result<()> {
        Ok(())
    }
    /// Whether the run should end at the next step boundary.
    fn stopped(&self) -> bool {
        false
    }
}

/// The parts of an iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The generator learns.
    Generator,
    /// Candidates are drawn.
    Candidates,
    /// The solver's attempts at them are counted.
    Verification,
    /// The solver learns.
    Solver,
    /// A role sits the exam.
    Exam,
}

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// One update.
    Step(Box<StepReport>),
    /// One dataset.
    Dataset(Box<DatasetReport>),
    /// Some of its tasks with the solver's answers.
    Samples {
        /// Iteration.
        iteration: usize,
        /// Spread evenly over the order of training.
        tasks: Vec<Sample>,
    },
    /// One sitting of the exam; iteration 0 is the base.
    Exam {
        /// Iteration.
        iteration: usize,
        /// Result.
        report: ExamReport,
    },
    /// Judge and teacher were tried.
    Trust {
        /// Iteration.
        iteration: usize,
        /// What came of it.
        report: TrustReport,
    },
    /// An alarm that was raised.
    Alarm(AlarmReport),
}

/// A task as the solver met it before it trained on it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// Its place in the order of training, from 1.
    pub place: usize,
    /// The task, what was asked for, and how often the solver solved it.
    pub candidate: Candidate,
    /// Some of the solver's answers.
    pub answers: Vec<Answer>,
}

/// One answer of the solver.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// What it wrote, cut off after [`Answer::MAX_CHARS`].
    pub text: String,
    /// Whether it holds the right calls.
    pub solved: bool,
}

impl Answer {
    /// Letters of an answer that are kept.
    pub const MAX_CHARS: usize = 2000;
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// One update of one role.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StepReport {
    /// Iteration, from 1.
    pub iteration: usize,
    /// `generator` or `solver`.
    pub role: String,
    /// Step of this phase, from 1.
    pub step: usize,
    /// Mean reward over completions that could be scored.
    pub reward: f64,
    /// Mean of each reward term over the same completions.
    pub reward_terms: BTreeMap<String, f64>,
    /// Completions whose reward could not be measured.
    pub unscorable: usize,
    /// Answers that did not come from outside, by reason.
    #[serde(skip_serializing_if = "Drops::is_empty")]
    pub unknown: Drops,
    /// Mean success rate of the solver: over probed tasks for the generator, over completions for the solver.
    pub success_rate: Option<f64>,
    /// How many probed tasks the solver solved 0, 1, .. `K` times; empty for the solver's own steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub p_hat: Vec<usize>,
    /// What probing in batches cost and knew; absent without a posterior.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probing: Option<ProbingReport>,
    /// Completions that were drawn to measure their task, and are trained on.
    #[serde(skip_serializing_if = "is_zero")]
    pub reused: usize,
    /// Share of groups whose rewards are all equal.
    pub zero_variance: f64,
    /// Groups that dynamic sampling threw away.
    pub resampled: usize,
    /// Why completions were faulty, counted.
    pub faults: Drops,
    /// Whether the generator's tasks are new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub novelty: Option<NoveltyReport>,
    /// What the solver got wrong as it was probed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<ErrorReport>,
    /// How the law of specs is bent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steering: Option<SteeringReport>,
    /// Mean length of a completion, tokens.
    pub completion_tokens: f64,
    /// Share of completions that ran out of tokens.
    pub truncated: f64,
    /// The update.
    pub update: UpdateStats,
    /// Tokens sampled in this step, probes included.
    pub sampled_tokens: usize,
    /// Fingerprint of the first prompt as rendered, to be compared across phases.
    pub prompt_fingerprint: String,
    /// Wall time, s. Not reproducible.
    pub seconds: f64,
    /// Sampled and trained tokens per second. Not reproducible.
    pub tokens_per_second: f64,
}

/// What became of the candidates of one iteration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DatasetReport {
    /// Iteration, from 1.
    pub iteration: usize,
    /// Every drop by reason.
    pub funnel: Funnel,
    /// Tasks that are like questions of a benchmark, and were dropped for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contaminated: Vec<Hit>,
    /// Answers that did not come from outside, by reason.
    #[serde(skip_serializing_if = "Drops::is_empty")]
    pub unknown: Drops,
    /// Tasks kept.
    pub tasks: usize,
    /// Mean success rate of the solver on them before training.
    pub success_rate: f64,
    /// How many candidates, before cross-verification, the solver solved 0, 1, .. `dataset.samples` times.
    pub p_hat: Vec<usize>,
    /// Tasks by domain.
    pub domains: BTreeMap<String, usize>,
    /// Tasks that no tool serves.
    pub abstentions: usize,
    /// Whether the candidates that could be read are new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub novelty: Option<NoveltyReport>,
    /// What the solver got wrong at cross-verification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<ErrorReport>,
    /// Wall time, s. Not reproducible.
    pub seconds: f64,
}
