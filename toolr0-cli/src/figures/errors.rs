//! What the solver gets wrong, and whether the generator repeats itself.

use std::collections::BTreeSet;

use serde_json::Value;
use toolr0_reward::Cause;

use crate::chart::{Cell, Chart, Heat, Lines, Tone, Unit};
use crate::run_log::{RunLog, number, whole};

use super::{Figure, iteration_ticks, training, whole_run, words};

pub(super) fn figures(log: &RunLog) -> Vec<Figure> {
    let columns = log
        .datasets
        .iter()
        .map(|data| (format!("iteration {}", whole(data, "/iteration")), &data["errors"]["causes"]));
    let about = "Of the answers at cross-verification that failed, the share with each cause; one answer may have several.";
    let mut all =
        vec![Figure::new("errors", "Why answers fail", about, heat("iteration", columns.collect()))];
    if let Some(data) = log.datasets.last() {
        let by = |key: &str| -> Vec<(String, &Value)> {
            let table = data["errors"][key].as_object();
            table.into_iter().flatten().map(|(name, causes)| (words(name), causes)).collect()
        };
        let i = whole(data, "/iteration");
        let about = "The same of the last iteration, domain by domain.";
        let chart = heat("domain", by("domains"));
        all.push(Figure::new(
            "errors-domains",
            format!("Why answers fail in iteration {i}, by domain"),
            about,
            chart,
        ));
        let about = "Of the mistakes in arguments of each type, the share of each cause.";
        let chart = heat("type", by("kinds"));
        all.push(Figure::new(
            "errors-kinds",
            format!("Wrong arguments in iteration {i}, by type"),
            about,
            chart,
        ));
    }
    all.push(repetition(log));
    all
}

/// Causes, the worst at the top, against anything.
fn heat(column_label: &'static str, columns: Vec<(String, &Value)>) -> Chart {
    let seen: BTreeSet<&str> = columns
        .iter()
        .filter_map(|(_, causes)| causes.as_object())
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect();
    let rows: Vec<&str> =
        Cause::ALL.map(Cause::name).into_iter().filter(|name| seen.contains(name)).collect();
    let cell = |row: &str, causes: &Value| {
        let share = causes.get(row).map_or(Some(0.0), Value::as_f64).filter(|_| causes.is_object())?;
        Some(Cell { shade: share.clamp(0.0, 1.0), text: Unit::Share.show(share), note: String::new() })
    };
    Chart::Heat(Heat {
        row_label: "cause",
        column_label,
        tone: Tone::Solver,
        rows: rows.iter().map(|row| words(row)).collect(),
        cells: rows.iter().map(|row| columns.iter().map(|(_, causes)| cell(row, causes)).collect()).collect(),
        columns: if rows.is_empty() {
            Vec::new()
        } else {
            columns.into_iter().map(|(name, _)| name).collect()
        },
        band: None,
    })
}

fn repetition(log: &RunLog) -> Figure {
    let names = ["/novelty/asked_before", "/novelty/self_overlap"];
    let labels = ["asked before in the run", "overlap within the step"];
    let line = |(i, (pointer, label)): (usize, (&'static str, &str))| {
        training::series(log, "generator", label.to_owned(), i, move |step| number(step, pointer))
    };
    let chart = Chart::Lines(Lines {
        x_label: "step",
        unit: Unit::Share,
        x_ticks: iteration_ticks(log),
        x_range: whole_run(log),
        band: None,
        series: names.into_iter().zip(labels).enumerate().map(line).collect(),
    });
    let about = "How many of the generator's questions are like an earlier one of the run, and how like they are to one another.";
    Figure::new("repetition", "Does the generator repeat itself?", about, chart)
}
