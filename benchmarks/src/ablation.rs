//! The ablations of `ablations/`: a run, and the same run with one thing changed.
//!
//! Each program takes `CHECKPOINT CONFIG.json TASKS.jsonl`: a folder in the Hugging Face layout (the embedded base is
//! `toolr0-cli/assets/base`), what `toolr0 selfplay --dry-run --json | jq .config` prints, and held-out tasks, such as
//! `iteration-1/tasks.jsonl` of another run. For grids, seeds and tests there is `toolr0 ablate`.

use std::path::Path;

use anyhow::{Context, Result};
use toolr0_curriculum::Candidate;
use toolr0_model::Checkpoint;
use toolr0_reward::stats::{mcnemar_exact, paired_bootstrap};
use toolr0_rl::exam::ExamReport;
use toolr0_rl::selfplay::{Phase, Record};
use toolr0_rl::{Observer, RunConfig, SelfPlay};
use toolr0_tools::Task;

/// What a run begins with.
#[derive(Debug)]
pub struct Setup {
    /// The base of both roles.
    pub base: Checkpoint,
    /// The run that is compared with.
    pub config: RunConfig,
    /// Held-out tasks.
    pub exam: Vec<Task>,
}

impl Setup {
    /// Reads what the command line names.
    ///
    /// # Errors
    ///
    /// If an argument is missing, or a file is not what it should be.
    pub fn from_args() -> Result<Self> {
        let mut args = std::env::args().skip(1);
        let mut next = |what: &'static str| args.next().with_context(|| format!("expected {what}"));
        let (base, config, tasks) =
            (next("a checkpoint")?, next("a configuration")?, next("held-out tasks")?);
        let read =
            |path: &str| std::fs::read_to_string(path).with_context(|| format!("failed to read {path}"));
        let task = |line: &str| -> Result<Task> {
            let candidate: Candidate = serde_json::from_str(line).with_context(|| tasks.clone())?;
            Ok(candidate.task)
        };
        Ok(Self {
            base: Checkpoint::load_or_byte_level(Path::new(&base))?.0,
            config: serde_json::from_str(&read(&config)?).with_context(|| config.clone())?,
            exam: read(&tasks)?.lines().map(task).collect::<Result<_>>()?,
        })
    }

    /// Plays a run, and returns the last sitting of the exam.
    ///
    /// # Errors
    ///
    /// If the configuration does not pass its checks, there are no held-out tasks, or the arithmetic fails.
    pub fn play(&self, config: &RunConfig) -> Result<ExamReport> {
        let game = SelfPlay::new(config, &self.base, &self.exam)?;
        let outcome = game.run(&mut Quiet, &mut |_| Ok(()))?;
        outcome.exams.last().cloned().context("there are no held-out tasks")
    }
}

/// Listens to nothing.
struct Quiet;

impl Observer for Quiet {
    fn begin(&mut self, _: Phase, _: usize, _: usize) {}
    fn advance(&mut self, _: usize, _: &str) {}
    fn record(&mut self, _: &Record) -> toolr0_rl::Result<()> {
        Ok(())
    }
}

/// One line: both accuracies, their difference with a paired interval, and McNemar's test.
pub fn compare(name: &str, full: &ExamReport, changed: &ExamReport) -> String {
    let pairs = || full.correct.iter().copied().zip(changed.correct.iter().copied());
    let scores: Vec<(f64, f64)> = pairs().map(|(a, b)| (f64::from(a), f64::from(b))).collect();
    let interval = paired_bootstrap(&scores, 2000, 0)
        .map_or(String::new(), |found| format!(" ({:+.1} to {:+.1})", 100.0 * found.low, 100.0 * found.high));
    let lost = pairs().filter(|(a, b)| *a && !*b).count();
    let won = pairs().filter(|(a, b)| !*a && *b).count();
    format!(
        "full {:.1} %, {name} {:.1} %: {:+.1} points{interval}, McNemar p = {:.1e}",
        100.0 * full.accuracy,
        100.0 * changed.accuracy,
        100.0 * (changed.accuracy - full.accuracy),
        mcnemar_exact(lost, won)
    )
}
