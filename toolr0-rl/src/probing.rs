//! Probes of tasks in small batches, until each task's worth is known well enough or the budget is spent.

use std::ops::Range;

use serde::Serialize;
use toolr0_curriculum::{Attempts, Calibration, Forecast, GoldLogprobs, Posterior, PosteriorConfig};
use toolr0_model::rng::Stream;
use toolr0_reward::Stage;
use toolr0_tools::Task;

use crate::answers::{Answerer, Heard, Tab};
use crate::error::Result;
use crate::gold::gold_logprobs;
use crate::policy::Sampler;
use crate::selfplay::{SelfPlay, solved, verdicts};

/// What probing cost and how well it knows, over the tasks of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProbingReport {
    /// Tasks that were probed.
    pub tasks: usize,
    /// Probes of them.
    pub probes: usize,
    /// Share of the budget, `probe.samples` for each task, that was not drawn.
    pub saved: f64,
    /// Mean standard deviation of the worth that was paid.
    pub deviation: f64,
    /// How well the forecasts held, made before the probes were drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Calibration>,
}

/// What was measured of a task in batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    pub(crate) attempts: Attempts,
    /// Probes drawn, those of unknown outcome included.
    pub(crate) probes: usize,
    /// What is paid; `None` where no outcome is known.
    pub(crate) worth: Option<f64>,
    /// How well that is known.
    pub(crate) deviation: f64,
    /// The log-probabilities of the gold answer, and the rate that was forecast from them.
    pub(crate) gold: Option<(GoldLogprobs, f64)>,
}

impl ProbingReport {
    /// Of the tasks of a step, each of which had a budget of `most` probes; `None` without any.
    pub(crate) fn of(measured: &[Measured], most: usize) -> Option<Self> {
        if measured.is_empty() {
            return None;
        }
        let (tasks, probes) = (measured.len(), measured.iter().map(|m| m.probes).sum::<usize>());
        let held: Vec<(f64, Attempts)> =
            measured.iter().filter_map(|m| Some((m.gold?.1, m.attempts))).collect();
        Some(Self {
            tasks,
            probes,
            saved: 1.0 - probes as f64 / (tasks * most) as f64,
            deviation: measured.iter().map(|m| m.deviation).sum::<f64>() / tasks as f64,
            forecast: Calibration::of(&held),
        })
    }
}

/// Teaches `forecast` what these tasks have shown.
pub(crate) fn learn(forecast: &mut Forecast, measured: &[Measured], memory: f64) {
    let seen: Vec<(GoldLogprobs, Attempts)> =
        measured.iter().filter_map(|m| Some((m.gold?.0, m.attempts))).collect();
    forecast.fit(&seen, memory);
}

/// The streams of the samples `which` of one prompt: the k-th has the same whatever is drawn beside it.
pub(crate) fn samples(stream: Stream, which: Range<usize>) -> Vec<Stream> {
    which.map(|sample| stream.child("sample").child(sample)).collect()
}

impl SelfPlay<'_> {
    /// The log-probabilities of each task's gold answer under the frozen solver, and the rate that is forecast from them.
    pub(crate) fn forecasts(
        &self,
        forecast: &Forecast,
        tasks: &[(usize, &Task)],
        solver: &Sampler,
    ) -> Result<Vec<(GoldLogprobs, f64)>> {
        let asked: Vec<_> = tasks.iter().map(|(_, task)| (self.solver_prompt(task), *task)).collect();
        let gold = gold_logprobs(solver, &asked)?;
        Ok(gold.into_iter().map(|gold| (gold, forecast.rate(gold))).collect())
    }

    /// Probes each task until its worth is known within `settings.tolerance`, at most `probe.samples` times; also returns
    /// the answers.
    ///
    /// `stages`: where the calls of each task run, if they are what decides. `priors`: what is believed of each task before.
    pub(crate) fn in_batches(
        &self,
        settings: &PosteriorConfig,
        (tasks, stages): (&[(usize, &Task)], &[Option<Stage<'_>>]),
        priors: &[Posterior],
        prober: &dyn Answerer,
        stream: Stream,
        tab: &mut Tab,
    ) -> Result<(Vec<Measured>, Vec<Heard>)> {
        let probe = &self.config.probe;
        let worth = |at: usize, attempts| settings.worth(priors[at].given(attempts), &self.config.frontier);
        let mut known = vec![Attempts::default(); tasks.len()];
        let mut heard = vec![Heard::default(); tasks.len()];
        let mut open: Vec<usize> = (0..tasks.len()).collect();
        let mut asked = 0;
        while !open.is_empty() && asked < probe.samples {
            let to = (asked + settings.batch).min(probe.samples);
            let some: Vec<(usize, &Task)> = open.iter().map(|at| tasks[*at]).collect();
            let theirs: Vec<Option<Stage<'_>>> = open.iter().map(|at| stages[*at]).collect();
            let (which, sampling) = (asked..to, &probe.sampling);
            let answers = self.attempt(&some, &theirs, prober, sampling, which, stream, &mut |_| true)?;
            for (&at, answers) in open.iter().zip(tab.book(answers)?) {
                heard[at].extend(answers);
                known[at] = solved(&verdicts(tasks[at].1, &heard[at].texts, stages[at].as_ref()));
            }
            asked = to;
            open.retain(|&at| !settings.knows(worth(at, known[at])));
        }
        let measured = |(at, attempts): (usize, Attempts)| {
            let (worth, probes) = (worth(at, attempts), heard[at].texts.len());
            // Without an outcome there is a belief, but nothing was measured: it is unknown, not of middling worth.
            let paid = (0 < attempts.tried()).then_some(worth.mean);
            Measured { attempts, probes, worth: paid, deviation: worth.deviation, gold: None }
        };
        let measured = known.into_iter().enumerate().map(measured).collect();
        Ok((measured, heard))
    }
}
