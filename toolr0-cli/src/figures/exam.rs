//! The held-out exam, sitting by sitting.

use crate::chart::{Bars, Chart, Lines, Point, Row, Series, Tone, Unit};
use crate::report::KINDS;
use crate::run_log::RunLog;

use super::Figure;

pub(super) fn figures(log: &RunLog) -> Vec<Figure> {
    vec![accuracy(log), errors(log)]
}

fn sitting(iteration: usize) -> String {
    if iteration == 0 { "base".to_owned() } else { format!("iteration {iteration}") }
}

fn accuracy(log: &RunLog) -> Figure {
    let point = |y: fn(&toolr0_rl::exam::ExamReport) -> f64, whiskers: bool| {
        log.exams
            .iter()
            .map(|(iteration, report)| Point {
                x: *iteration as f64,
                label: sitting(*iteration),
                y: Some(y(report)),
                interval: whiskers.then_some(report.interval),
            })
            .collect()
    };
    let series =
        |name: &str, tone, dash, points| Series { name: name.into(), tone, dash, dots: true, points };
    let chart = Chart::Lines(Lines {
        x_label: "after",
        unit: Unit::Share,
        x_ticks: log.exams.iter().map(|(i, _)| (*i as f64, sitting(*i))).collect(),
        x_range: None,
        band: None,
        series: vec![
            series("answered exactly, 95 % interval", Tone::Solver, 0, point(|r| r.accuracy, true)),
            series("readable", Tone::Muted, 1, point(|r| r.parse_rate, false)),
        ],
    });
    let about =
        "Greedy answers to questions that neither role has seen, judged on whole calls; Wilson intervals.";
    Figure::new("exam-accuracy", "Exam accuracy by iteration", about, chart)
}

/// Base and last sitting; the ones between are in the table of the exam.
fn errors(log: &RunLog) -> Figure {
    let sittings: Vec<_> = match log.exams.as_slice() {
        [] => Vec::new(),
        [only] => vec![only],
        [first, .., last] => vec![first, last],
    };
    let tones = [Tone::Muted, Tone::Solver];
    let row = |(name, count): &(&str, crate::report::Count)| Row {
        label: (*name).replace("arg.", "argument"),
        values: sittings.iter().map(|(_, report)| count(&report.errors) as f64).collect(),
        ..Row::default()
    };
    let chart = Chart::Bars(Bars {
        label: "wrong in",
        unit: Unit::Count,
        parts: sittings.iter().map(|(i, _)| sitting(*i)).zip(tones).collect(),
        stacked: false,
        rows: if sittings.is_empty() { Vec::new() } else { KINDS.iter().map(row).collect() },
    });
    let about = "Wrong answers by kind, before and after. An answer may be wrong in several ways.";
    Figure::new("exam-errors", "Errors before and after", about, chart)
}
