//! The charts of a run: what the report shows and what `toolr0 figures` writes.

mod curriculum;
mod errors;
mod exam;
mod forecast;
mod training;

use serde_json::Value;

use crate::chart::Chart;
use crate::run_log::{ROLES, RunLog, number, whole};

/// Charts of one subject.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) figures: Vec<Figure>,
}

/// One chart.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Its name as a file.
    pub(crate) name: String,
    pub(crate) title: String,
    /// How it is read.
    pub(crate) about: &'static str,
    pub(crate) chart: Chart,
}

impl Figure {
    pub(crate) fn new(
        name: impl Into<String>,
        title: impl Into<String>,
        about: &'static str,
        chart: Chart,
    ) -> Self {
        Self { name: name.into(), title: title.into(), about, chart }
    }
}

/// Everything that the run has numbers for.
pub(crate) fn sections(log: &RunLog) -> Vec<Section> {
    let sections = [
        ("Exam", exam::figures(log)),
        ("Rewards", training::rewards(log)),
        ("The frontier", [curriculum::frontier(log), vec![forecast::reliability(log)]].concat()),
        ("Curriculum", curriculum::composition(log)),
        ("What was dropped", curriculum::funnel(log)),
        ("Mistakes and repetition", errors::figures(log)),
        ("Faults", ROLES.map(|role| training::faults(log, role)).to_vec()),
        ("Optimisation", training::optimisation(log)),
        ("Cost", training::cost(log)),
    ];
    let some = |(title, figures): (&'static str, Vec<Figure>)| {
        let figures: Vec<Figure> = figures.into_iter().filter(|figure| !figure.chart.is_empty()).collect();
        (!figures.is_empty()).then_some(Section { title, figures })
    };
    sections.into_iter().filter_map(some).collect()
}

/// Where a step stands on an axis on which each iteration is one long and its roles have half of it each.
pub(crate) fn place(log: &RunLog, step: &Value) -> f64 {
    let role = step["role"].as_str().unwrap_or_default();
    let planned = log.setting(&format!("selfplay.{role}_steps")).unwrap_or(0.0);
    let at = number(step, "/step").unwrap_or(1.0);
    let half = if role == "solver" { 0.5 } else { 0.0 };
    let iteration = number(step, "/iteration").unwrap_or(1.0);
    iteration - 1.0 + half + 0.5 * ((at - 0.5) / planned.max(at)).clamp(0.0, 1.0)
}

/// What a step is called.
fn called(step: &Value) -> String {
    let role = step["role"].as_str().unwrap_or_default();
    format!("iteration {}, {role} step {}", whole(step, "/iteration"), whole(step, "/step"))
}

/// The labels of that axis.
fn iteration_ticks(log: &RunLog) -> Vec<(f64, String)> {
    let n = log.steps.iter().map(|step| whole(step, "/iteration")).max().unwrap_or(0);
    (1..=n).map(|i| (i as f64 - 0.5, format!("iteration {i}"))).collect()
}

/// The ends of that axis.
fn whole_run(log: &RunLog) -> Option<(f64, f64)> {
    Some((0.0, iteration_ticks(log).len() as f64))
}

/// A name of the log as words.
pub(crate) fn words(name: &str) -> String {
    name.replace('_', " ")
}
