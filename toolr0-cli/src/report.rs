//! What a run says at its end, for people and for scripts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use toolr0_curriculum::Drops;
use toolr0_reward::stats::mcnemar_exact;
use toolr0_rl::exam::{ErrorCounts, ExamReport};

use crate::args::HeldOut;
use crate::ledger::RunCost;

/// The last line of `selfplay --json`, and `result.json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RunResult {
    /// Of this program.
    pub(crate) version: &'static str,
    /// The model that the run began with.
    pub(crate) model: String,
    /// Of the run.
    pub(crate) seed: u64,
    /// Wall time, s.
    pub(crate) seconds: f64,
    /// The run directory.
    pub(crate) out: String,
    /// Whether the run was ended before its end.
    pub(crate) stopped: bool,
    /// Which held-out set was the exam.
    pub(crate) questions: HeldOut,
    /// Benchmark items that tasks were kept apart from.
    pub(crate) guarded: usize,
    /// Lines of those benchmarks that are no question; each was named.
    pub(crate) guard_bad_lines: usize,
    /// Answers that did not come from an endpoint, by reason; they count for nothing.
    #[serde(skip_serializing_if = "Drops::is_empty")]
    pub(crate) unknown: Drops,
    /// The measurement; `null` where no exam was sat.
    pub(crate) exam: Option<ExamResult>,
    /// What it cost, by turn and by task that was kept.
    pub(crate) cost: RunCost,
}

/// The exam before and after.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ExamResult {
    /// Questions.
    pub(crate) items: usize,
    /// The base.
    pub(crate) base: Sitting,
    /// The solver after each iteration.
    pub(crate) iterations: Vec<Sitting>,
    /// Last accuracy less that of the base, a share; 0 without iterations.
    pub(crate) gain: f64,
    /// `gain` over the accuracy of the base; `null` where the base solved nothing.
    pub(crate) relative_gain: Option<f64>,
    /// How likely so uneven a split of the questions is that only one of base and last solver got right, if both were
    /// equally good (McNemar's exact test).
    pub(crate) p_value: f64,
}

/// One sitting of the exam.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sitting {
    /// 0 is the base.
    pub(crate) iteration: usize,
    /// Share of questions answered exactly.
    pub(crate) accuracy: f64,
    /// 95 % Wilson interval of it.
    pub(crate) interval: (f64, f64),
    /// Questions answered exactly.
    pub(crate) solved: usize,
    /// Share of answers that could be read.
    pub(crate) parse_rate: f64,
    /// What went wrong, by kind.
    pub(crate) errors: ErrorCounts,
    /// `pass_at_K`, where it was measured.
    #[serde(flatten)]
    pub(crate) pass_at: BTreeMap<String, f64>,
}

impl Sitting {
    /// A sitting of the exam after `iteration`.
    pub(crate) fn new(iteration: usize, report: &ExamReport) -> Self {
        Self {
            iteration,
            accuracy: report.accuracy,
            interval: report.interval,
            solved: report.solved,
            parse_rate: report.parse_rate,
            errors: report.errors,
            pass_at: BTreeMap::new(),
        }
    }
}

impl ExamResult {
    /// From the sittings of a run, the base's first; `None` without any. `pass_at`: `K` and the base's share.
    pub(crate) fn new(exams: &[ExamReport], pass_at: Option<(usize, f64)>) -> Option<Self> {
        let (first, rest) = exams.split_first()?;
        let last = rest.last().unwrap_or(first);
        let pairs = || first.correct.iter().zip(&last.correct);
        let (lost, won) =
            (pairs().filter(|(a, b)| **a && !**b).count(), pairs().filter(|(a, b)| !**a && **b).count());
        let mut base = Sitting::new(0, first);
        base.pass_at.extend(pass_at.map(|(k, share)| (format!("pass_at_{k}"), share)));
        let gain = last.accuracy - first.accuracy;
        Some(Self {
            items: first.items,
            base,
            iterations: rest.iter().zip(1..).map(|(report, i)| Sitting::new(i, report)).collect(),
            gain,
            relative_gain: (0.0 < first.accuracy).then(|| gain / first.accuracy),
            p_value: mcnemar_exact(lost, won),
        })
    }
}

/// Reads one kind of errors.
pub(crate) type Count = fn(&ErrorCounts) -> usize;

/// The columns of error counts: heading, and how to read it.
pub(crate) const KINDS: [(&str, Count); 5] = [
    ("format", |e| e.format),
    ("tool name", |e| e.tool_name),
    ("arg. names", |e| e.argument_names),
    ("arg. values", |e| e.argument_values),
    ("n calls", |e| e.n_calls),
];

/// One row a sitting: accuracy, interval, share of readable answers, and errors by kind: counts of the base, then
/// what changed.
pub(crate) fn exam_table(exam: &ExamResult) -> String {
    let mut text = format!(
        "exam of {} questions, greedy answers; wrong answers by kind, later ones as change\n",
        exam.items
    );
    let _ = write!(text, "{:12} {:>9} {:>19} {:>9}", "", "accuracy", "95 % interval", "parsed");
    for (heading, _) in KINDS {
        let _ = write!(text, " {heading:>11}");
    }
    text.push('\n');
    for sitting in std::iter::once(&exam.base).chain(&exam.iterations) {
        let name = if sitting.iteration == 0 {
            "base".to_owned()
        } else {
            format!("iteration {}", sitting.iteration)
        };
        let (low, high) = sitting.interval;
        let interval = format!("{:.1} to {:.1} %", 100.0 * low, 100.0 * high);
        let _ = write!(
            text,
            "{name:12} {:>7.1} % {interval:>19} {:>7.1} %",
            100.0 * sitting.accuracy,
            100.0 * sitting.parse_rate
        );
        for (_, count) in KINDS {
            let (now, before) = (count(&sitting.errors) as i64, count(&exam.base.errors) as i64);
            let _ = match sitting.iteration {
                0 => write!(text, " {now:>11}"),
                _ => write!(text, " {:>+11}", now - before),
            };
        }
        text.push('\n');
    }
    for (name, share) in &exam.base.pass_at {
        let _ = writeln!(text, "{} of the base: {:.1} %", name.replace("pass_at_", "pass@"), 100.0 * share);
    }
    if !exam.iterations.is_empty() {
        let relative =
            exam.relative_gain.map_or("undefined".to_owned(), |gain| format!("{:+.1} %", 100.0 * gain));
        let _ = writeln!(
            text,
            "relative gain {relative}, {:+.1} points, McNemar p = {:.2e}",
            100.0 * exam.gain,
            exam.p_value
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(correct: &[bool], format: usize) -> ExamReport {
        let solved = correct.iter().filter(|c| **c).count();
        let errors = ErrorCounts { format, ..ErrorCounts::default() };
        let (items, accuracy) = (correct.len(), solved as f64 / correct.len() as f64);
        let interval = toolr0_reward::stats::wilson(solved, items);
        ExamReport { items, solved, accuracy, interval, parse_rate: 1.0, errors, correct: correct.to_vec() }
    }

    #[test]
    fn a_gain_is_measured_from_the_base_to_the_last_sitting() {
        let exams = [
            report(&[true, false, false, false], 3),
            report(&[false; 4], 4),
            report(&[true, true, false, true], 1),
        ];
        let result = ExamResult::new(&exams, Some((8, 0.75))).unwrap();
        assert_eq!((result.gain, result.relative_gain, result.p_value), (0.5, Some(2.0), 0.5));
        let json = serde_json::to_value(&result).unwrap();
        assert_eq!(json["base"]["pass_at_8"], 0.75);
        assert_eq!(json["iterations"][1]["accuracy"], 0.75);
        let table = exam_table(&result);
        let last = table.lines().find(|line| line.starts_with("iteration 2")).unwrap();
        assert!(last.contains("75.0 %") && last.contains(" -2 "), "{table}");
        assert!(
            table.contains("pass@8 of the base: 75.0 %") && table.contains("relative gain +200.0 %"),
            "{table}"
        );
    }

    #[test]
    fn a_base_that_solves_nothing_has_no_relative_gain() {
        let result = ExamResult::new(&[report(&[false], 0), report(&[true], 0)], None).unwrap();
        assert_eq!(result.relative_gain, None);
        assert!(exam_table(&result).contains("relative gain undefined, +100.0 points"));
        assert!(ExamResult::new(&[], None).is_none());
    }
}
