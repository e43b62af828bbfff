//! The result of one suite and split, and the table of all.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use toolr0_reward::ast::HammerCounts;
use toolr0_reward::question::{ErrorCounts, Mark, Tally};
use toolr0_reward::stats::{bootstrap_mean, pass_at_k};

/// Resamples of every bootstrap: the interval's ends move by less than a tenth of its width.
pub(super) const RESAMPLES: usize = 10_000;
/// The interval is part of the measure, so its seed is no option.
pub(super) const BOOTSTRAP_SEED: u64 = 1;

/// The result of one split.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Sheet {
    pub(super) suite: String,
    pub(super) split: String,
    /// Questions.
    pub(super) items: usize,
    /// Answers to each.
    pub(super) samples: usize,
    /// Right answers.
    pub(super) solved: usize,
    /// Share of right answers.
    pub(super) accuracy: f64,
    /// 95 %: Wilson's for one answer to each question, a bootstrap over questions for several.
    pub(super) interval: (f64, f64),
    /// Share of answers that could be read.
    pub(super) parse_rate: f64,
    /// Share right by BFCL's own rule; of BFCL's questions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bfcl_accuracy: Option<f64>,
    /// Hammer's micro F1 of names and of arguments; of benchmark questions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name_f1: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parameter_f1: Option<f64>,
    /// The chance that one of `k` answers is right, for 1, 2, 4, .. and all of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) pass_at: BTreeMap<usize, f64>,
    pub(super) errors: ErrorCounts,
    pub(super) unasked: Unasked,
    #[serde(flatten)]
    pub(super) faulty: Faulty,
    /// Share of right answers to each question, in their order.
    #[serde(skip)]
    pub(super) shares: Vec<f64>,
    #[serde(skip)]
    tally: Tally,
}

/// What is wrong with the file of questions.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Faulty {
    /// Lines that are no question.
    pub(super) bad_lines: usize,
    /// Questions whose answer is of other types than its tool says; asked all the same.
    pub(super) mistyped_answers: usize,
}

/// Questions without an answer.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Unasked {
    /// The prompt is longer than the model's positions: not asked, and not solved.
    pub(super) prompt_too_long: usize,
    /// The chat template refuses the conversation: not asked, and not solved.
    pub(super) template_refused: usize,
    /// Asked, and an answer did not come: left out of every share and of `items`.
    pub(super) unanswered: usize,
}

/// Why a question was not asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reason {
    TooLong,
    Template,
}

impl Unasked {
    pub(super) fn add(&mut self, reason: Reason) {
        match reason {
            Reason::TooLong => self.prompt_too_long += 1,
            Reason::Template => self.template_refused += 1,
        }
    }
}

impl Sheet {
    /// `marks`: the answers to each question; one with fewer than `samples` is left out.
    pub(super) fn new(
        suite: &str,
        split: &str,
        marks: &[Vec<Mark>],
        samples: usize,
        mut unasked: Unasked,
        faulty: Faulty,
    ) -> Self {
        let mut tally = Tally::default();
        let whole: Vec<&Vec<Mark>> = marks.iter().filter(|of_one| of_one.len() == samples).collect();
        unasked.unanswered = marks.len() - whole.len();
        whole.iter().copied().flatten().for_each(|mark| tally.add(mark));
        let share = |of_one: &Vec<Mark>| {
            of_one.iter().filter(|mark| mark.solved).count() as f64 / samples.max(1) as f64
        };
        let shares = whole.into_iter().map(share).collect();
        Self::of(suite, split, tally, shares, samples, unasked, faulty)
    }

    fn of(
        suite: &str,
        split: &str,
        tally: Tally,
        shares: Vec<f64>,
        samples: usize,
        unasked: Unasked,
        faulty: Faulty,
    ) -> Self {
        let (interval, pass_at) = match samples {
            0 | 1 => (tally.interval(), BTreeMap::new()),
            _ => {
                let interval = bootstrap_mean(&shares, RESAMPLES, BOOTSTRAP_SEED).unwrap_or((0.0, 1.0));
                (interval, pass_at(&shares, samples))
            }
        };
        Self {
            suite: suite.to_owned(),
            split: split.to_owned(),
            items: shares.len(),
            samples,
            solved: tally.solved,
            accuracy: tally.accuracy(),
            interval,
            parse_rate: tally.share(tally.parsed),
            bfcl_accuracy: tally.bfcl.map(|n| tally.share(n)),
            name_f1: tally.hammer.as_ref().map(HammerCounts::name_f1),
            parameter_f1: tally.hammer.as_ref().map(HammerCounts::parameter_f1),
            pass_at,
            errors: tally.errors,
            unasked,
            faulty,
            shares,
            tally,
        }
    }

    /// All splits as one. BFCL's rule and Hammer's F1 stand for their own suites alone, so the sum has none.
    pub(super) fn sum(sheets: &[Self]) -> Self {
        let (mut tally, mut unasked, mut faulty) = (Tally::default(), Unasked::default(), Faulty::default());
        for sheet in sheets {
            tally.answers += sheet.tally.answers;
            tally.solved += sheet.tally.solved;
            tally.parsed += sheet.tally.parsed;
            tally.errors += sheet.errors;
            unasked.prompt_too_long += sheet.unasked.prompt_too_long;
            unasked.template_refused += sheet.unasked.template_refused;
            unasked.unanswered += sheet.unasked.unanswered;
            faulty.bad_lines += sheet.faulty.bad_lines;
            faulty.mistyped_answers += sheet.faulty.mistyped_answers;
        }
        let shares = sheets.iter().flat_map(|sheet| sheet.shares.iter().copied()).collect();
        let samples = sheets.first().map_or(1, |sheet| sheet.samples);
        Self::of("all", "", tally, shares, samples, unasked, faulty)
    }

    /// How it is called in tables.
    pub(super) fn name(&self) -> String {
        if self.split.is_empty() { self.suite.clone() } else { format!("{}/{}", self.suite, self.split) }
    }
}

fn pass_at(shares: &[f64], n: usize) -> BTreeMap<usize, f64> {
    let powers = std::iter::successors(Some(1usize), |k| Some(2 * k)).take_while(|k| *k < n);
    let mean = |k: usize| {
        let of = |share: &f64| pass_at_k(n, (share * n as f64).round() as usize, k);
        shares.iter().map(of).sum::<f64>() / shares.len().max(1) as f64
    };
    powers.chain([n]).map(|k| (k, mean(k))).collect()
}

/// Every split, the sum, and what went wrong.
pub(super) fn table(sheets: &[Sheet]) -> String {
    let all = Sheet::sum(sheets);
    let several = 1 < all.samples;
    let mut text = format!(
        "{:28} {:>6} {:>9} {:>18} {:>8} {:>8} {:>8} {:>8}",
        "", "items", "accuracy", "95 % interval", "parsed", "BFCL", "name F1", "arg. F1"
    );
    let heading = format!("pass@{}", all.samples);
    text.push_str(&if several { format!(" {heading:>8}\n") } else { "\n".to_owned() });
    let percent =
        |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
    let mut row = |sheet: &Sheet| {
        let (low, high) = sheet.interval;
        let interval = format!("{:.1} to {:.1} %", 100.0 * low, 100.0 * high);
        let accuracy = percent(Some(sheet.accuracy));
        let _ = write!(text, "{:28} {:>6} {accuracy:>9} {interval:>18}", sheet.name(), sheet.items);
        let shares = [Some(sheet.parse_rate), sheet.bfcl_accuracy, sheet.name_f1, sheet.parameter_f1];
        let last = several.then(|| sheet.pass_at.last_key_value().map(|(_, share)| *share));
        shares.into_iter().chain(last).for_each(|share| _ = write!(text, " {:>8}", percent(share)));
        text.push('\n');
    };
    sheets.iter().for_each(&mut row);
    if 1 < sheets.len() {
        row(&all);
    }
    let (e, unasked) = (&all.errors, &all.unasked);
    let kinds = [
        ("unreadable", e.format),
        ("no call", e.no_call),
        ("should have abstained", e.should_abstain),
        ("number of calls", e.n_calls),
        ("wrong tool", e.tool_name),
        ("missing argument", e.missing_argument),
        ("extra argument", e.extra_argument),
        ("mistyped value", e.mistyped_value),
        ("wrong value", e.wrong_value),
        ("prompt too long", unasked.prompt_too_long),
        ("refused by the template", unasked.template_refused),
    ];
    let kinds: Vec<String> =
        kinds.iter().filter(|(_, n)| 0 < *n).map(|(kind, n)| format!("{kind} {n}")).collect();
    let wrong = if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") };
    let _ = writeln!(text, "wrong answers by kind: {wrong}");
    if 0 < unasked.unanswered {
        let _ = writeln!(text, "questions without an answer, left out: {}", unasked.unanswered);
    }
    if 0 < all.faulty.mistyped_answers {
        let n = all.faulty.mistyped_answers;
        let _ =
            writeln!(text, "questions whose answer has other types than its tool, asked all the same: {n}");
    }
    if 0 < all.faulty.bad_lines {
        let _ = writeln!(text, "lines that are no question: {}", all.faulty.bad_lines);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use toolr0_reward::CallErrors;

    fn mark(solved: bool) -> Mark {
        let errors = CallErrors { format: !solved, ..CallErrors::default() };
        Mark { solved, fault: None, calls: solved.then(Vec::new), errors, scores: None }
    }

    #[test]
    fn a_table_says_what_went_wrong() {
        let marks = [true, false, false, false].map(|solved| vec![mark(solved)]);
        let text = table(&[Sheet::new(
            "a",
            "b",
            &marks,
            1,
            Unasked::default(),
            Faulty { bad_lines: 2, mistyped_answers: 1 },
        )]);
        assert!(
            text.contains("25.0 %")
                && text.contains("unreadable 3\n")
                && text.contains("question: 2")
                && text.contains("all the same: 1"),
            "{text}"
        );
        assert!(!text.contains("pass@"));
    }

    #[test]
    fn a_question_without_an_answer_is_neither_right_nor_wrong() {
        let marks = [vec![mark(true)], vec![], vec![mark(false)]];
        let sheet = Sheet::new("a", "b", &marks, 1, Unasked::default(), Faulty::default());
        assert_eq!((sheet.items, sheet.solved, sheet.accuracy, sheet.unasked.unanswered), (2, 1, 0.5, 1));
        let text = table(&[sheet.clone(), sheet]);
        assert!(text.contains("left out: 2") && text.contains("50.0 %"), "{text}");
    }

    #[test]
    fn several_answers_give_pass_at_k() {
        let marks = [[true, true, false, false], [false; 4]].map(|of_one| of_one.map(mark).to_vec());
        let sheet = Sheet::new("a", "b", &marks, 4, Unasked::default(), Faulty::default());
        assert_eq!((sheet.items, sheet.solved, sheet.accuracy), (2, 2, 0.25));
        let want = [(1, 0.25), (2, (1.0 - 1.0 / 6.0) / 2.0), (4, 0.5)];
        assert!(
            sheet
                .pass_at
                .iter()
                .zip(want)
                .all(|(got, want)| *got.0 == want.0 && (got.1 - want.1).abs() < 1e-12)
        );
        let text = table(&[sheet.clone(), sheet]);
        assert!(text.contains("pass@4") && text.contains("50.0 %") && text.contains("all  "), "{text}");
    }
}
