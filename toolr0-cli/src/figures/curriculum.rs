//! Which tasks there were: how hard for the solver, of which domains, and what was dropped on the way.

use std::collections::BTreeMap;

use serde_json::Value;
use toolr0_curriculum::{Attempts, Candidate, Difficulty};

use crate::chart::{Bars, Cell, Chart, Heat, Lines, Row, Series, Tone, Unit};
use crate::run_log::{RunLog, counts, number, whole};

use super::{Figure, iteration_ticks, training, whole_run, words};

/// Reasons shown, at most.
const REASONS: usize = 14;

pub(super) fn frontier(log: &RunLog) -> Vec<Figure> {
    vec![probes(log), spread(log), kept(log)]
}

/// Mean p-hat of what the generator invents, against the band.
fn probes(log: &RunLog) -> Figure {
    let name = "mean p-hat of the generator's tasks".to_owned();
    let rate = |step: &Value| number(step, "/success_rate");
    let line = Series { dots: true, ..training::series(log, "generator", name, 0, rate) };
    let chart = Chart::Lines(Lines {
        x_label: "step",
        unit: Unit::Share,
        x_ticks: iteration_ticks(log),
        x_range: whole_run(log),
        band: Some(log.frontier()),
        series: vec![line],
    });
    let about = "How often the frozen solver solves what the generator invents. The band is what it is paid for in full.";
    Figure::new("p-hat", "The frontier over time", about, chart)
}

/// Counts by number of solved attempts as a column of shades, the hardest at the bottom.
fn column(counts: &[f64]) -> Vec<Option<Cell>> {
    let total: f64 = counts.iter().sum();
    let cell = |n: &f64| {
        let share = if 0.0 < total { n / total } else { 0.0 };
        Some(Cell { shade: share, text: Unit::Share.show(share), note: format!("({n:.0} tasks)") })
    };
    counts.iter().rev().map(cell).collect()
}

/// Columns beside one another, with the rows named and the band marked.
fn heat(log: &RunLog, columns: Vec<(String, Vec<f64>)>, column_label: &'static str, tone: Tone) -> Chart {
    let k = columns.iter().map(|(_, counts)| counts.len()).max().unwrap_or(1).saturating_sub(1);
    let (low, high) = log.frontier();
    let rate = |row: usize| (k - row) as f64 / k.max(1) as f64;
    let inside: Vec<usize> = (0..=k).filter(|row| (low..=high).contains(&rate(*row))).collect();
    let shades: Vec<Vec<Option<Cell>>> = columns.iter().map(|(_, counts)| column(counts)).collect();
    let cells = (0..=k).map(|row| shades.iter().map(|c| c.get(row).cloned().flatten()).collect()).collect();
    Chart::Heat(Heat {
        row_label: "solved",
        column_label,
        tone,
        rows: (0..=k).map(|row| format!("{} of {k}", k - row)).collect(),
        columns: columns.into_iter().map(|(name, _)| name).collect(),
        cells,
        band: inside.first().copied().zip(inside.last().copied()),
    })
}

/// The distribution of p-hat in each step of the generator.
fn spread(log: &RunLog) -> Figure {
    let columns: Vec<(String, Vec<f64>)> = log
        .steps_of("generator")
        .map(|step| {
            (format!("{}.{}", whole(step, "/iteration"), whole(step, "/step")), counts(step, "/p_hat"))
        })
        .filter(|(_, counts)| !counts.is_empty())
        .collect();
    let chart = heat(log, columns, "iteration.step", Tone::Generator);
    let about = "Every column is a step of the generator; the darker a cell, the more of its sound tasks were solved so often. \
                 The frame is the frontier band.";
    Figure::new("p-hat-distribution", "Distribution of p-hat while the generator learns", about, chart)
}

/// The same of the candidates of each iteration; of the kept tasks where a run is too old to have it.
fn kept(log: &RunLog) -> Figure {
    let candidates: Vec<(String, Vec<f64>)> = log
        .datasets
        .iter()
        .map(|data| (format!("iteration {}", whole(data, "/iteration")), counts(data, "/p_hat")))
        .filter(|(_, counts)| !counts.is_empty())
        .collect();
    if !candidates.is_empty() {
        let about = "Candidates that reached cross-verification, by how often the solver solved them.";
        let chart = heat(log, candidates, "iteration", Tone::Solver);
        return Figure::new("p-hat-candidates", "Distribution of p-hat of the candidates", about, chart);
    }
    let of = |i: usize| (format!("iteration {i}"), histogram(&log.tasks(i)));
    let columns = (1..=log.iterations()).map(of).filter(|(_, counts)| !counts.is_empty()).collect();
    let about = "Kept tasks by how often the solver solved them before it trained on them.";
    Figure::new(
        "p-hat-tasks",
        "Distribution of p-hat of the tasks",
        about,
        heat(log, columns, "iteration", Tone::Solver),
    )
}

fn histogram(tasks: &[Candidate]) -> Vec<f64> {
    let tried = |c: &Candidate| c.attempts.tried() as usize;
    let k = tasks.iter().map(tried).max().unwrap_or(0);
    if k == 0 {
        return Vec::new();
    }
    let mut counts = vec![0.0; k + 1];
    let known = |attempts: &&Attempts| attempts.tried() as usize == k;
    tasks.iter().map(|c| &c.attempts).filter(known).for_each(|a| counts[a.solved() as usize] += 1.0);
    counts
}

const LEVELS: [(&str, Tone); 3] = [("easy", Tone::Easy), ("medium", Tone::Medium), ("hard", Tone::Hard)];

fn levels<'a>(log: &RunLog, tasks: impl Iterator<Item = &'a Candidate>) -> Vec<f64> {
    let bands = log.bands();
    let mut counts = vec![0.0; 3];
    for task in tasks {
        match task.difficulty(&bands) {
            Some(Difficulty::Easy) => counts[0] += 1.0,
            Some(Difficulty::Medium) => counts[1] += 1.0,
            Some(Difficulty::Hard) => counts[2] += 1.0,
            None => {}
        }
    }
    counts
}

pub(super) fn composition(log: &RunLog) -> Vec<Figure> {
    let all: Vec<(usize, Vec<Candidate>)> =
        (1..=log.iterations()).map(|i| (i, log.tasks(i))).filter(|(_, tasks)| !tasks.is_empty()).collect();
    let bars = |label, rows| {
        let parts = LEVELS.iter().map(|(name, tone)| ((*name).to_owned(), *tone)).collect();
        Chart::Bars(Bars { label, unit: Unit::Count, parts, stacked: true, rows })
    };
    let row = |(i, tasks): &(usize, Vec<Candidate>)| {
        let two = tasks.iter().filter(|c| 1 < c.task.gold.len()).count();
        let note = format!("{two} of them ask for several calls");
        Row { label: format!("iteration {i}"), values: levels(log, tasks.iter()), note, ..Row::default() }
    };
    let by_iteration = bars("iteration", all.iter().map(row).collect());
    let about = "Tasks that the solver trained on, by the success rate that it had on them before.";
    let mut figures = vec![Figure::new("difficulty", "Curriculum by difficulty", about, by_iteration)];
    if let Some((i, tasks)) = all.last() {
        let mut domains: BTreeMap<&str, Vec<&Candidate>> = BTreeMap::new();
        tasks.iter().for_each(|c| domains.entry(&c.spec.domain).or_default().push(c));
        let row = |(domain, tasks): (&&str, &Vec<&Candidate>)| Row {
            label: words(domain),
            values: levels(log, tasks.iter().copied()),
            ..Row::default()
        };
        let chart = bars("domain", domains.iter().map(row).collect());
        let about = "The same of the last iteration, domain by domain.";
        figures.push(Figure::new("domains", format!("Curriculum of iteration {i} by domain"), about, chart));
    }
    figures
}

/// The stages of each iteration, and over all of them the reasons.
pub(super) fn funnel(log: &RunLog) -> Vec<Figure> {
    let mut reasons: BTreeMap<String, f64> = BTreeMap::new();
    let mut figures = Vec::new();
    for data in &log.datasets {
        let stages = data["funnel"].as_array().map_or(&[][..], Vec::as_slice);
        let mut rows = Vec::new();
        for stage in stages {
            let name = stage["name"].as_str().unwrap_or_default();
            let mut drops: Vec<(String, f64)> = stage["drops"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(reason, n)| (words(reason), n.as_f64().unwrap_or(0.0)))
                .collect();
            drops.sort_by(|a, b| b.1.total_cmp(&a.1));
            let dropped: f64 = drops.iter().map(|(_, n)| n).sum();
            let entered = number(stage, "/entered").unwrap_or(0.0);
            let note: Vec<String> = drops.iter().map(|(reason, n)| format!("{n:.0} {reason}")).collect();
            rows.push(Row {
                label: name.to_owned(),
                values: vec![(entered - dropped).max(0.0), dropped],
                note: note.join(", "),
                ..Row::default()
            });
            for (reason, n) in drops {
                *reasons.entry(format!("{name}: {reason}")).or_default() += n;
            }
        }
        let i = whole(data, "/iteration");
        let chart = Chart::Bars(Bars {
            label: "stage",
            unit: Unit::Count,
            parts: vec![("kept".into(), Tone::Generator), ("dropped".into(), Tone::Muted)],
            stacked: true,
            rows,
        });
        let about = "From raw completions to tasks; the number is what came into the stage. Reasons are in the table.";
        figures.push(Figure::new(format!("funnel-{i}"), format!("Funnel of iteration {i}"), about, chart));
    }
    let mut reasons: Vec<(String, f64)> = reasons.into_iter().collect();
    reasons.sort_by(|a, b| b.1.total_cmp(&a.1));
    let rest: f64 = reasons.iter().skip(REASONS).map(|(_, n)| n).sum();
    reasons.truncate(REASONS);
    if 0.0 < rest {
        reasons.push(("all others".to_owned(), rest));
    }
    let row = |(label, n): (String, f64)| Row { label, values: vec![n], ..Row::default() };
    let chart = Chart::Bars(Bars {
        label: "reason",
        unit: Unit::Count,
        parts: vec![("dropped".into(), Tone::Muted)],
        stacked: true,
        rows: reasons.into_iter().map(row).collect(),
    });
    let about = "Why candidates were dropped, over all iterations, the most frequent reasons first.";
    figures.push(Figure::new("drops", "Reasons", about, chart));
    figures
}
