//! Probes of tasks in small batches, until each task's worth is known well enough or the budget is spent.

use std::ops::Range;

use serde::Serialize;
use toolr0_curriculum::{Attempts, Calibration, Forecast, GoldLogprobs, Posterior, PosteriorConfig};
use toolr0_model::rng::Stream;
use toolr0_reward::{judge, wire};
use toolr0_tools::{Prompt, Task};

use crate::answers::{Answerer, Tab};
use crate::error::Result;
use crate::gold::gold_logprobs;
use crate::policy::Sampler;
use crate::selfplay::SelfPlay;

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
        let tasks: Vec<&Task> = tasks.iter().map(|(_, task)| *task).collect();
        let gold = gold_logprobs(solver, &tasks, self.config.style)?;
        Ok(gold.into_iter().map(|gold| (gold, forecast.rate(gold))).collect())
    }

    /// Probes each task until its worth is known within `settings.tolerance`, at most `probe.samples` times.
    ///
    /// `priors`: what is believed of each task before.
    pub(crate) fn in_batches(
        &self,
        settings: &PosteriorConfig,
        tasks: &[(usize, &Task)],
        priors: &[Posterior],
        prober: &dyn Answerer,
        stream: Stream,
        tab: &mut Tab,
    ) -> Result<Vec<Measured>> {
        let (probe, style) = (&self.config.probe, self.config.style);
        let worth = |at: usize, attempts| settings.worth(priors[at].given(attempts), &self.config.frontier);
        let mut known = vec![(Attempts::default(), 0); tasks.len()];
        let mut open: Vec<usize> = (0..tasks.len()).collect();
        let mut asked = 0;
        while !open.is_empty() && asked < probe.samples {
            let to = (asked + settings.batch).min(probe.samples);
            let ask = |at: &usize| -> (Prompt, Vec<Stream>) {
                let (i, task) = tasks[*at];
                (
                    wire::solver::prompt(&task.question, &task.tools, style),
                    samples(stream.child(i), asked..to),
                )
            };
            let prompts: Vec<_> = open.iter().map(ask).collect();
            let answers = prober.answer(&prompts, &probe.sampling, &mut |_| true)?;
            for (&at, answers) in open.iter().zip(tab.book(answers)?) {
                let (attempts, probes) = &mut known[at];
                *probes = to;
                for answer in answers {
                    attempts.record(answer.map(|text| judge(tasks[at].1, &text).solved));
                }
            }
            asked = to;
            open.retain(|&at| !settings.knows(worth(at, known[at].0)));
        }
        let measured = |(at, (attempts, probes)): (usize, (Attempts, usize))| {
            let worth = worth(at, attempts);
            // Without an outcome there is a belief, but nothing was measured: it is unknown, not of middling worth.
            let paid = (0 < attempts.tried()).then_some(worth.mean);
            Measured { attempts, probes, worth: paid, deviation: worth.deviation, gold: None }
        };
        Ok(known.into_iter().enumerate().map(measured).collect())
    }
}
