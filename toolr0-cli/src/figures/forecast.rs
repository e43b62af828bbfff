//! How well the success of tasks was forecast from the loss of their gold answers, and which probes that saved.

use serde_json::Value;

use crate::chart::{Chart, Lines, Point, Series, Tone, Unit};
use crate::run_log::{RunLog, number};

use super::Figure;

/// A tenth of the forecasts, over all steps.
#[derive(Clone, Copy, Default)]
struct Bin {
    attempts: f64,
    forecast: f64,
    solved: f64,
}

/// The mean over the steps that tell, each by its weight.
fn mean(told: &[(f64, f64)]) -> Option<f64> {
    let weight: f64 = told.iter().map(|(weight, _)| weight).sum();
    (0.0 < weight).then(|| told.iter().map(|(weight, x)| weight * x).sum::<f64>() / weight)
}

/// The reliability plot; empty where a run does not forecast.
pub(super) fn reliability(log: &RunLog) -> Figure {
    let mut bins: Vec<Bin> = Vec::new();
    let (mut brier, mut auc, mut saved) = (Vec::new(), Vec::new(), Vec::new());
    for step in log.steps_of("generator") {
        let Some(table) = step.pointer("/probing/forecast/reliability").and_then(Value::as_array) else {
            continue;
        };
        bins.resize(bins.len().max(table.len()), Bin::default());
        let mut attempts = 0.0;
        for (bin, row) in bins.iter_mut().zip(table) {
            let of = |i: usize| row[i].as_f64().unwrap_or(0.0);
            bin.attempts += of(0);
            bin.forecast += of(0) * of(1);
            bin.solved += of(0) * of(2);
            attempts += of(0);
        }
        let keep = |all: &mut Vec<(f64, f64)>, pointer: &str, weight: f64| {
            all.extend(number(step, pointer).map(|x| (weight, x)));
        };
        keep(&mut brier, "/probing/forecast/brier", attempts);
        keep(&mut auc, "/probing/forecast/auc", attempts);
        keep(&mut saved, "/probing/saved", number(step, "/probing/tasks").unwrap_or(0.0));
    }
    bins.retain(|bin| 0.0 < bin.attempts);
    let point = |bin: &Bin| Point {
        x: bin.forecast / bin.attempts,
        label: format!("{:.0} attempts", bin.attempts),
        y: Some(bin.solved / bin.attempts),
        interval: None,
    };
    let corner = |x: f64| Point { x, label: "as forecast".to_owned(), y: Some(x), interval: None };
    let series =
        |name: &str, tone, dash, dots, points| Series { name: name.into(), tone, dash, dots, points };
    let all = match bins.is_empty() {
        true => Vec::new(),
        false => vec![
            series("share solved", Tone::Solver, 0, true, bins.iter().map(point).collect()),
            series("a forecast that holds", Tone::Muted, 1, false, vec![corner(0.0), corner(1.0)]),
        ],
    };
    let chart = Chart::Lines(Lines {
        x_label: "forecast",
        unit: Unit::Share,
        x_ticks: [0, 25, 50, 75, 100].map(|x| (f64::from(x) / 100.0, format!("{x} %"))).to_vec(),
        x_range: Some((0.0, 1.0)),
        band: None,
        series: all,
    });
    let told = [("Brier", mean(&brier)), ("AUC", mean(&auc)), ("saved", mean(&saved))];
    let told: Vec<String> =
        told.iter().filter_map(|(name, x)| Some(format!("{name} {:.2}", (*x)?))).collect();
    let about = "Attempts by the success rate that was forecast for their task before any of them was drawn, in tenths, against the \
                 share that was solved; and the share of the probes that were not drawn.";
    Figure::new("forecast", format!("Forecasts: {}", told.join(", ")), about, chart)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn log_of(forecasts: &[Value]) -> RunLog {
        let dir = tempfile::tempdir().unwrap();
        let line = |forecast: &Value| {
            let probing =
                json!({"tasks": 2, "probes": 12, "saved": 0.25, "deviation": 0.1, "forecast": forecast});
            json!({"record": "step", "role": "generator", "iteration": 1, "step": 1, "probing": probing})
                .to_string()
                + "\n"
        };
        std::fs::write(dir.path().join("metrics.jsonl"), forecasts.iter().map(line).collect::<String>())
            .unwrap();
        RunLog::open(dir.path()).unwrap()
    }

    #[test]
    fn forecasts_of_all_steps_are_one_plot() {
        let step = |n: f64, solved: f64| json!({"brier": 0.2, "auc": 0.75, "reliability": [[0, 0.0, 0.0], [n, 0.15, solved]]});
        let figure = reliability(&log_of(&[step(10.0, 0.1), step(30.0, 0.3)]));
        assert_eq!(figure.title, "Forecasts: Brier 0.20, AUC 0.75, saved 0.25");
        let Chart::Lines(lines) = &figure.chart else { panic!("{figure:?}") };
        let [point] = &lines.series[0].points[..] else { panic!("{lines:?}") };
        assert!((point.x - 0.15).abs() < 1e-12 && (point.y.unwrap() - 0.25).abs() < 1e-12, "{point:?}");
        assert_eq!(point.label, "40 attempts");
    }

    #[test]
    fn a_run_that_forecasts_nothing_has_no_plot() {
        assert!(reliability(&log_of(&[Value::Null])).chart.is_empty());
    }
}
