//! What the runs of a sweep came to: accuracies with intervals, and each cell against the first.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use toolr0_reward::stats::{Difference, bootstrap_mean, mcnemar_exact, paired_bootstrap};

use crate::chart::{Bars, Chart, Row, Tone, Unit};
use crate::figures::Figure;
use crate::run_log::RunLog;

use super::{CellPlan, run_dir};

/// How often the questions are drawn again for an interval.
const RESAMPLES: usize = 2000;

/// One cell.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) cell: String,
    /// Seeds whose runs are finished.
    pub(crate) seeds: Vec<u64>,
    /// Seeds whose runs are not.
    pub(crate) missing: Vec<u64>,
    /// Mean accuracy of the last solvers on the exam.
    pub(crate) accuracy: Option<f64>,
    /// Its 95 % interval, questions drawn again.
    pub(crate) interval: Option<(f64, f64)>,
    /// Mean accuracy of the base.
    pub(crate) base: Option<f64>,
    /// Mean accuracy less that of the first cell, same questions, same seeds.
    pub(crate) difference: Option<Difference>,
    /// McNemar's exact test of the same pairs, pooled over seeds.
    pub(crate) p_value: Option<f64>,
    /// Mean number of tokens that a run generated, of both roles, exams aside.
    pub(crate) tokens: Option<f64>,
    /// Accuracy less that of the base, per million of these tokens.
    pub(crate) gain_per_million: Option<f64>,
    /// Its 95 % interval, questions drawn again.
    pub(crate) gain_interval: Option<(f64, f64)>,
}

/// What a finished run came to.
#[derive(Clone, Debug)]
struct Finished {
    /// Which questions its base got right.
    base: Vec<bool>,
    /// Which ones its last solver did.
    last: Vec<bool>,
    /// Tokens generated on the way; `None` where the run does not tell.
    tokens: Option<f64>,
}

fn finished(dir: &Path) -> Option<Finished> {
    let log = RunLog::open(dir).ok()?;
    if log.result["stopped"].as_bool() != Some(false) {
        return None;
    }
    let (_, base) = log.exams.first()?;
    let (_, last) = log.exams.last()?;
    let turns = log.result["cost"]["turns"].as_object();
    let spent = |turn: &Value| {
        Some(turn["generator_tokens"].as_f64()? + turn["solver_tokens"].as_f64()?).filter(|n| 0.0 < *n)
    };
    let tokens = turns.map(|turns| turns.values().filter_map(spent).sum()).filter(|n| 0.0 < *n);
    Some(Finished { base: base.correct.clone(), last: last.correct.clone(), tokens })
}

/// Whether a run is finished.
pub(crate) fn is_finished(dir: &Path) -> bool {
    RunLog::open(dir).is_ok_and(|log| log.result["stopped"].as_bool() == Some(false))
}

/// Everything that is finished of the sweep in `out`.
pub(crate) fn outcomes(out: &Path, cells: &[CellPlan], seeds: &[u64]) -> Vec<Outcome> {
    let runs: Vec<BTreeMap<u64, Finished>> = cells
        .iter()
        .map(|cell| seeds.iter().filter_map(|&s| Some((s, finished(&run_dir(out, cell, s))?))).collect())
        .collect();
    let one = |(cell, runs_here): (&CellPlan, &BTreeMap<u64, Finished>)| {
        let last = shares(&runs_here.values().map(|run| &run.last).collect::<Vec<_>>());
        let base = shares(&runs_here.values().map(|run| &run.base).collect::<Vec<_>>());
        let tokens: Option<Vec<f64>> = runs_here.values().map(|run| run.tokens).collect();
        let tokens = tokens.as_deref().and_then(mean);
        let per_million = |tokens: f64| -> Vec<f64> {
            last.iter().zip(&base).map(|(last, base)| (last - base) / (tokens / 1e6)).collect()
        };
        let gains = tokens.map(per_million).unwrap_or_default();
        let (difference, p_value) = match cell == &cells[0] {
            true => (None, None),
            false => compare(&runs[0], runs_here),
        };
        Outcome {
            cell: cell.name.clone(),
            seeds: runs_here.keys().copied().collect(),
            missing: seeds.iter().copied().filter(|seed| !runs_here.contains_key(seed)).collect(),
            accuracy: mean(&last),
            interval: bootstrap_mean(&last, RESAMPLES, 0),
            base: mean(&base),
            difference,
            p_value,
            tokens,
            gain_per_million: mean(&gains),
            gain_interval: bootstrap_mean(&gains, RESAMPLES, 0),
        }
    };
    cells.iter().zip(&runs).map(one).collect()
}

/// Of each question the share of sittings that got it right.
fn shares(sittings: &[&Vec<bool>]) -> Vec<f64> {
    let items = sittings.iter().map(|correct| correct.len()).min().unwrap_or(0);
    let share =
        |i: usize| sittings.iter().filter(|correct| correct[i]).count() as f64 / sittings.len() as f64;
    (0..items).map(share).collect()
}

/// The second cell against the first, over the seeds that both have.
fn compare(
    first: &BTreeMap<u64, Finished>,
    second: &BTreeMap<u64, Finished>,
) -> (Option<Difference>, Option<f64>) {
    let both: Vec<(&Vec<bool>, &Vec<bool>)> =
        first.iter().filter_map(|(seed, a)| Some((&a.last, &second.get(seed)?.last))).collect();
    if both.is_empty() {
        return (None, None);
    }
    let before = shares(&both.iter().map(|(a, _)| *a).collect::<Vec<_>>());
    let after = shares(&both.iter().map(|(_, b)| *b).collect::<Vec<_>>());
    let pairs: Vec<(f64, f64)> = before.into_iter().zip(after).collect();
    let answers = || both.iter().flat_map(|(a, b)| a.iter().zip(b.iter()));
    let lost = answers().filter(|(a, b)| **a && !**b).count();
    let won = answers().filter(|(a, b)| !**a && **b).count();
    (paired_bootstrap(&pairs, RESAMPLES, 0), Some(mcnemar_exact(lost, won)))
}

fn mean(x: &[f64]) -> Option<f64> {
    (!x.is_empty()).then(|| x.iter().sum::<f64>() / x.len() as f64)
}

/// A table in Markdown, which is also one for a terminal.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let head = [
        "cell",
        "seeds",
        "base",
        "accuracy",
        "95 % interval",
        "difference",
        "95 % interval",
        "McNemar p",
        "tokens, M",
        "points per M",
        "95 % interval",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    let share = |x: f64| format!("{:.1} %", 100.0 * x);
    for outcome in outcomes {
        let n = outcome.seeds.len();
        let seeds = match outcome.missing.len() {
            0 => n.to_string(),
            missing => format!("{n} of {}", n + missing),
        };
        let range = |(low, high): (f64, f64)| format!("{:.1} to {:.1}", 100.0 * low, 100.0 * high);
        let signed = |x: f64| format!("{:+.1}", 100.0 * x);
        let difference = outcome.difference;
        rows.push([
            outcome.cell.replace('|', "/"),
            seeds,
            outcome.base.map_or_else(String::new, share),
            outcome.accuracy.map_or_else(String::new, share),
            outcome.interval.map_or_else(String::new, range),
            difference.map_or_else(String::new, |d| signed(d.mean)),
            difference.map_or_else(String::new, |d| format!("{} to {}", signed(d.low), signed(d.high))),
            outcome.p_value.map_or_else(String::new, |p| format!("{p:.1e}")),
            outcome.tokens.map_or_else(String::new, |n| format!("{:.3}", n / 1e6)),
            outcome.gain_per_million.map_or_else(String::new, |gain| format!("{:.1}", 100.0 * gain)),
            outcome.gain_interval.map_or_else(String::new, range),
        ]);
    }
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for (i, row) in rows.iter().enumerate() {
        row.iter().zip(&widths).for_each(|(cell, width)| _ = write!(text, "| {cell:width$} "));
        text.push_str("|\n");
        if i == 0 {
            widths.iter().for_each(|width| _ = write!(text, "|{}", "-".repeat(width + 2)));
            text.push_str("|\n");
        }
    }
    text
}

/// The accuracies as bars with their intervals.
pub(crate) fn figure(outcomes: &[Outcome]) -> Figure {
    let row = |outcome: &Outcome| {
        Some(Row {
            label: outcome.cell.clone(),
            values: vec![outcome.accuracy?],
            interval: outcome.interval,
            note: format!("{} seeds", outcome.seeds.len()),
        })
    };
    let chart = Chart::Bars(Bars {
        label: "cell",
        unit: Unit::Share,
        parts: vec![("accuracy after the last iteration".into(), Tone::Solver)],
        stacked: false,
        rows: outcomes.iter().filter_map(row).collect(),
    });
    let about = "Mean over seeds on the same questions, with 95 % intervals.";
    Figure::new("ablation", "Exam accuracy by cell", about, chart)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn write_run(dir: &Path, correct: &[bool]) {
        std::fs::create_dir_all(dir).unwrap();
        let line = |iteration: usize, correct: &[bool]| {
            let solved = correct.iter().filter(|c| **c).count();
            let report = json!({"items": correct.len(), "solved": solved, "accuracy": solved as f64 / correct.len() as f64,
                "interval": [0.0, 1.0], "parse_rate": 1.0, "errors": {}, "correct": correct});
            json!({"record": "exam", "iteration": iteration, "report": report}).to_string()
        };
        let base = vec![false; correct.len()];
        let lines = format!("{}\n{}\n", line(0, &base), line(1, correct));
        std::fs::write(dir.join("metrics.jsonl"), lines).unwrap();
        let turn = json!({"generator_tokens": 150_000, "solver_tokens": 100_000});
        let result = json!({"stopped": false, "cost": {"turns": {"dataset": turn, "solver": turn}}});
        std::fs::write(dir.join("result.json"), result.to_string()).unwrap();
    }

    #[test]
    fn cells_are_compared_on_the_seeds_that_both_have() {
        let home = tempfile::tempdir().unwrap();
        let cell = |name: &str| CellPlan { name: name.into(), folder: name.into(), yaml: String::new() };
        let cells = [cell("full"), cell("less"), cell("failed")];
        write_run(&run_dir(home.path(), &cells[0], 1), &[true, true, true, false]);
        write_run(&run_dir(home.path(), &cells[0], 2), &[true, true, false, false]);
        write_run(&run_dir(home.path(), &cells[1], 2), &[true, false, false, false]);
        std::fs::create_dir_all(run_dir(home.path(), &cells[2], 1)).unwrap();
        let all = outcomes(home.path(), &cells, &[1, 2]);
        let [full, less, failed]: [Outcome; 3] = all.try_into().unwrap();
        assert_eq!((full.accuracy, full.base, full.seeds.len()), (Some(0.625), Some(0.0), 2));
        assert!(full.difference.is_none() && full.missing.is_empty());
        assert_eq!((less.seeds.clone(), less.missing.clone(), less.accuracy), (vec![2], vec![1], Some(0.25)));
        assert_eq!(less.difference.unwrap().mean, -0.25);
        assert_eq!((full.tokens, full.gain_per_million), (Some(5e5), Some(0.625 / 0.5)));
        assert_eq!((failed.tokens, failed.gain_per_million), (None, None));
        assert!(0.99 < less.p_value.unwrap(), "one question says nothing");
        assert_eq!((failed.accuracy, failed.missing.len()), (None, 2));
        let text = table(&[full.clone(), less, failed.clone()]);
        assert!(
            text.contains("| less   | 1 of 2 |")
                && text.contains("62.5 %")
                && text.contains("-25.0")
                && text.contains("| 0.500     | 125.0        |"),
            "{text}"
        );
        let lengths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert!(lengths.iter().all(|n| *n == lengths[0]), "{text}");
        assert_eq!(figure(&[full, failed]).chart.table().rows.len(), 1);
    }
}
