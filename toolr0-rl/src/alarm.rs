//! Alarms: what a run watches itself by, and what it does when something goes wrong.
//!
//! Each alarm compares one number with a threshold: of every step, of every dataset, of every sitting of the exam. It
//! is raised once, told in a record, and raised again only after the number was good in between. What then happens is
//! its action: warn, stop, or roll back to the last good checkpoint and go on with a smaller step.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use toolr0_curriculum::Candidate;
use toolr0_curriculum::diversity::{Index, distinct_n, distinct_tools};

use crate::error::{Error, Result};
use crate::exam::ExamReport;
use crate::record::StepReport;
use crate::state::{Position, Turn};

/// What is done when an alarm is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing; the number is not looked at.
    Off,
    /// It is told.
    Warn,
    /// The run ends with the alarm as its cause.
    Stop,
    /// The run goes back to the last good checkpoint and on with a smaller step. Without checkpoints it ends.
    Rollback,
}

/// A threshold and what is done beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The last good value.
    pub threshold: f64,
    /// What is done beyond it.
    pub action: Action,
}

impl Rule {
    const fn new(threshold: f64, action: Action) -> Self {
        Self { threshold, action }
    }
}

/// Every alarm. The defaults are far from what healthy runs of the embedded base show, which stands with each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlarmConfig {
    /// A weight, a loss or a gradient that is not a finite number. Default roll back.
    pub not_finite: Action,
    /// Norm of an update of the weights, over the median of this turn's last 20. Default 10, roll back; healthy 1 to 4.
    pub update_norm: Rule,
    /// Norm of a gradient before clipping, over the same median. Default 20, warn; healthy 1 to 3.
    pub grad_norm: Rule,
    /// Mean entropy of a token, nats, over 5 steps. Default 0.005, warn; healthy 0.016 and more.
    pub entropy: Rule,
    /// Share of groups whose rewards are all equal, over 5 steps. Default 0.95, warn; healthy 0 to 0.9.
    pub zero_variance: Rule,
    /// Share of bigrams of a dataset's questions that are no repetition. Default 0.2, warn; healthy 0.5.
    pub distinct: Rule,
    /// Share of a dataset's questions that are like an earlier one of the run (Jaccard 0.7). Default 0.3, warn; healthy 0.
    pub overlap: Rule,
    /// Share of the domains asked for that a dataset covers. Default 0.5, warn; healthy 1. Datasets of fewer than four
    /// tasks a domain are not looked at.
    pub domains: Rule,
    /// Share of a dataset's tools that no other of it is like, by names. Default 0.2, warn; healthy 0.98.
    pub schemas: Rule,
    /// How far the solver's mean success rate on a dataset is from that of the dataset before. Default 0.5, warn;
    /// healthy 0.1 to 0.35.
    pub drift: Rule,
    /// How much the exam's accuracy falls from one iteration to the next while the solver's reward rises. Default 0.05,
    /// warn; healthy up to 0.04.
    pub hacking: Rule,
    /// What the learning rate is multiplied by after a rollback, to the end of the turn. Default 0.5.
    pub smaller: f64,
    /// Rollbacks of one iteration; the next alarm that asks for one ends the run. Default 3.
    pub max_rollbacks: usize,
}

impl Default for AlarmConfig {
    fn default() -> Self {
        use Action::{Rollback, Warn};
        Self {
            not_finite: Rollback,
            update_norm: Rule::new(10.0, Rollback),
            grad_norm: Rule::new(20.0, Warn),
            entropy: Rule::new(0.005, Warn),
            zero_variance: Rule::new(0.95, Warn),
            distinct: Rule::new(0.2, Warn),
            overlap: Rule::new(0.3, Warn),
            domains: Rule::new(0.5, Warn),
            schemas: Rule::new(0.2, Warn),
            drift: Rule::new(0.5, Warn),
            hacking: Rule::new(0.05, Warn),
            smaller: 0.5,
            max_rollbacks: 3,
        }
    }
}

impl AlarmConfig {
    /// Checks every range.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the key.
    pub fn check(&self) -> Result<()> {
        let rules = [
            ("alarms.update_norm.threshold", self.update_norm),
            ("alarms.grad_norm.threshold", self.grad_norm),
            ("alarms.entropy.threshold", self.entropy),
            ("alarms.zero_variance.threshold", self.zero_variance),
            ("alarms.distinct.threshold", self.distinct),
            ("alarms.overlap.threshold", self.overlap),
            ("alarms.domains.threshold", self.domains),
            ("alarms.schemas.threshold", self.schemas),
            ("alarms.drift.threshold", self.drift),
            ("alarms.hacking.threshold", self.hacking),
        ];
        for (option, rule) in rules {
            if !(rule.threshold.is_finite() && 0.0 <= rule.threshold) {
                let (expected, got) = ("a finite number of at least 0".into(), rule.threshold.to_string());
                return Err(Error::Config { option, expected, got });
            }
        }
        if !(0.0 < self.smaller && self.smaller < 1.0) {
            let (expected, got) = ("more than 0 and less than 1".into(), self.smaller.to_string());
            return Err(Error::Config { option: "alarms.smaller", expected, got });
        }
        Ok(())
    }
}

/// Which alarm; the names are the keys of [`AlarmConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alarm {
    /// A number that is none.
    NotFinite,
    /// An exploding update.
    UpdateNorm,
    /// An exploding gradient.
    GradNorm,
    /// Collapsed entropy.
    Entropy,
    /// Groups without a signal.
    ZeroVariance,
    /// Repeated phrases.
    Distinct,
    /// Repeated questions.
    Overlap,
    /// Missing domains.
    Domains,
    /// Repeated tools.
    Schemas,
    /// A success rate that jumps.
    Drift,
    /// Reward up, exam down.
    Hacking,
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFinite => "not_finite",
            Self::UpdateNorm => "update_norm",
            Self::GradNorm => "grad_norm",
            Self::Entropy => "entropy",
            Self::ZeroVariance => "zero_variance",
            Self::Distinct => "distinct",
            Self::Overlap => "overlap",
            Self::Domains => "domains",
            Self::Schemas => "schemas",
            Self::Drift => "drift",
            Self::Hacking => "hacking",
        })
    }
}

/// An alarm that was raised: a record of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlarmReport {
    /// Iteration.
    pub iteration: usize,
    /// The turn in which it was raised.
    pub turn: Turn,
    /// The step, from 1, as in the step's own record; 0 where a turn is one piece.
    pub step: usize,
    /// Which.
    pub alarm: Alarm,
    /// The number; `null` where it is none.
    pub value: f64,
    /// What it was compared with.
    pub threshold: f64,
    /// What is done.
    pub action: Action,
    /// The checkpoint that the run goes back to.
    pub back_to: Option<String>,
    /// What the learning rate is multiplied by from here on, to the end of the turn.
    pub rate: f64,
}

impl fmt::Display for AlarmReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { iteration, step, alarm, value, threshold, .. } = self;
        let turn = match self.turn {
            Turn::Generator => "generator",
            Turn::Dataset => "dataset",
            Turn::Solver => "solver",
            Turn::Exam => "exam",
        };
        write!(f, "alarm {alarm} in iteration {iteration}, {turn}")?;
        if 0 < *step {
            write!(f, " step {step}")?;
        }
        match value.is_finite() {
            true => write!(f, ": {value:.4} (threshold {threshold})")?,
            false => write!(f, ": a number that is not finite")?,
        }
        match &self.back_to {
            Some(name) => write!(f, "; back to {name}, steps times {}", self.rate),
            None if self.action == Action::Rollback => write!(f, "; there is nothing left to go back to"),
            None => Ok(()),
        }
    }
}

/// Steps of a turn whose norms make the median.
const WINDOW: usize = 20;
/// Norms below this number say nothing yet.
const LEAST: usize = 5;
/// Steps in a row that must be bad where one may be by chance.
pub(crate) const PATIENCE: usize = 5;
/// From this similarity on a question is like another.
const ALIKE: f64 = 0.7;

/// What the alarms remember.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// What the learning rate of this turn is multiplied by.
    pub rate: f64,
    /// Rollbacks of this iteration.
    pub rollbacks: usize,
    raised: BTreeSet<Alarm>,
    update_norms: Vec<f64>,
    grad_norms: Vec<f64>,
    entropies: Vec<f64>,
    flat: Vec<f64>,
    /// Rewards of the solver's turn in this iteration.
    rewards: Vec<f64>,
    /// Mean reward of the solver's turn, of the iteration before.
    last_reward: Option<f64>,
    /// Mean success rate on the dataset before.
    last_rate: Option<f64>,
    questions: Index,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            rate: 1.0,
            rollbacks: 0,
            raised: BTreeSet::new(),
            update_norms: Vec::new(),
            grad_norms: Vec::new(),
            entropies: Vec::new(),
            flat: Vec::new(),
            rewards: Vec::new(),
            last_reward: None,
            last_rate: None,
            questions: Index::default(),
        }
    }
}

/// An alarm with the number that raised it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Raised {
    pub(crate) alarm: Alarm,
    pub(crate) value: f64,
    pub(crate) rule: Rule,
}

impl Watch {
    /// Forgets what belongs to one turn.
    pub(crate) fn end_turn(&mut self) {
        self.rate = 1.0;
        for window in [&mut self.update_norms, &mut self.grad_norms, &mut self.entropies, &mut self.flat] {
            window.clear();
        }
        let step = [Alarm::UpdateNorm, Alarm::GradNorm, Alarm::Entropy, Alarm::ZeroVariance];
        self.raised.retain(|alarm| !step.contains(alarm));
    }

    /// Forgets what belongs to one iteration.
    pub(crate) fn end_iteration(&mut self) {
        self.rollbacks = 0;
        self.last_reward = mean(&self.rewards).or(self.last_reward);
        self.rewards.clear();
    }

    /// Looks at a step.
    pub(crate) fn step(&mut self, config: &AlarmConfig, turn: Turn, step: &StepReport) -> Vec<Raised> {
        let update = &step.update;
        if turn == Turn::Solver {
            self.rewards.push(step.reward);
        }
        let mut found = Vec::new();
        let explosions = [
            (Alarm::UpdateNorm, update.update_norm, config.update_norm, &mut self.update_norms),
            (Alarm::GradNorm, update.grad_norm, config.grad_norm, &mut self.grad_norms),
        ];
        for (alarm, norm, rule, window) in explosions {
            let median = if LEAST <= window.len() { median(window) } else { None };
            let value = median.map_or(1.0, |median| norm / median);
            // An exploded norm must not become what the next one is compared with, nor one of a step without a signal.
            if 0.0 < norm && value <= rule.threshold {
                push(window, norm, WINDOW);
            }
            found.push((alarm, value, rule, value <= rule.threshold));
        }
        if let Some(entropy) = update.stats.entropy {
            push(&mut self.entropies, entropy, PATIENCE);
        }
        push(&mut self.flat, step.zero_variance, PATIENCE);
        let full = |window: &[f64]| if window.len() < PATIENCE { None } else { mean(window) };
        if let Some(entropy) = full(&self.entropies) {
            found.push((Alarm::Entropy, entropy, config.entropy, config.entropy.threshold <= entropy));
        }
        if let Some(flat) = full(&self.flat) {
            found.push((
                Alarm::ZeroVariance,
                flat,
                config.zero_variance,
                flat <= config.zero_variance.threshold,
            ));
        }
        self.raise(found)
    }

    /// Looks at a dataset. `domains`: how many are asked for.
    pub(crate) fn dataset(
        &mut self,
        config: &AlarmConfig,
        tasks: &[Candidate],
        domains: usize,
    ) -> Vec<Raised> {
        let questions = || tasks.iter().map(|c| c.task.question.as_str());
        let alike =
            questions().map(|q| self.questions.add(q)).filter(|similarity| ALIKE <= *similarity).count();
        if tasks.is_empty() {
            return Vec::new(); // There is nothing to judge; the funnel says why.
        }
        let (distinct, schemas) = (distinct_n(questions(), 2), distinct_tools(tasks.iter().map(|c| &c.task)));
        let overlap = alike as f64 / tasks.len() as f64;
        let mut found = vec![
            (Alarm::Distinct, distinct, config.distinct, config.distinct.threshold <= distinct),
            (Alarm::Overlap, overlap, config.overlap, overlap <= config.overlap.threshold),
            (Alarm::Schemas, schemas, config.schemas, config.schemas.threshold <= schemas),
        ];
        if 4 * domains <= tasks.len() {
            let covered: BTreeSet<&str> = tasks.iter().map(|c| c.spec.domain.as_str()).collect();
            let share = covered.len() as f64 / domains.max(1) as f64;
            found.push((Alarm::Domains, share, config.domains, config.domains.threshold <= share));
        }
        let rates: Vec<f64> = tasks.iter().filter_map(|c| c.attempts.rate()).collect();
        if let Some(rate) = mean(&rates)
            && let Some(last) = self.last_rate.replace(rate)
        {
            let drift = (rate - last).abs();
            found.push((Alarm::Drift, drift, config.drift, drift <= config.drift.threshold));
        }
        self.raise(found)
    }

    /// Looks at the last two sittings of the exam.
    pub(crate) fn exam(&mut self, config: &AlarmConfig, exams: &[ExamReport]) -> Vec<Raised> {
        let ([.., before, after], Some(last), Some(now)) = (exams, self.last_reward, mean(&self.rewards))
        else {
            return Vec::new();
        };
        let fallen = before.accuracy - after.accuracy;
        let good = now <= last || fallen <= config.hacking.threshold;
        self.raise(vec![(Alarm::Hacking, fallen, config.hacking, good)])
    }

    /// Those that are bad and were not before.
    fn raise(&mut self, found: Vec<(Alarm, f64, Rule, bool)>) -> Vec<Raised> {
        let mut new = Vec::new();
        for (alarm, value, rule, good) in found {
            if rule.action == Action::Off {
                continue;
            }
            if good {
                self.raised.remove(&alarm);
            } else if self.raised.insert(alarm) {
                new.push(Raised { alarm, value, rule });
            }
        }
        new
    }
}

/// The newest position at which all was well, for an alarm raised at `at`: before the steps that it looks at, or before
/// the turn that led to what it looks at.
pub(crate) fn well_before(at: Position) -> Position {
    match at.turn {
        Turn::Generator | Turn::Solver => Position { step: at.step.saturating_sub(PATIENCE), ..at },
        Turn::Dataset => Position { turn: Turn::Generator, step: 0, ..at },
        Turn::Exam => Position { turn: Turn::Solver, step: 0, ..at },
    }
}

fn push(window: &mut Vec<f64>, value: f64, most: usize) {
    if window.len() == most {
        window.remove(0);
    }
    window.push(value);
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

fn mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / values.len() as f64) }
}

#[cfg(test)]
#[path = "alarm_tests.rs"]
mod tests;
