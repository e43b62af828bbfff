//! Two models on the same questions.

use std::fmt::Write as _;

use serde::Serialize;
use toolr0_reward::stats::{Difference, mcnemar_exact, paired_bootstrap};

use super::sheet::{BOOTSTRAP_SEED, RESAMPLES, Sheet};

/// How much better the second model is on one split.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Comparison {
    pub(super) name: String,
    /// Questions.
    pub(super) items: usize,
    /// Accuracy of the second less that of the first, with the 95 % interval of a paired bootstrap.
    pub(super) difference: Option<Difference>,
    /// Questions that only the first answered rightly; `null` for several answers to a question.
    pub(super) only_first: Option<usize>,
    /// Questions that only the second answered rightly.
    pub(super) only_second: Option<usize>,
    /// McNemar's exact test of these two.
    pub(super) p_value: Option<f64>,
}

/// Compares split by split, then all together. Both models answered the same questions.
pub(super) fn compare(first: &[Sheet], second: &[Sheet]) -> Vec<Comparison> {
    let mut rows: Vec<Comparison> = first.iter().zip(second).map(|(a, b)| one(a, b)).collect();
    if 1 < rows.len() {
        rows.push(one(&Sheet::sum(first), &Sheet::sum(second)));
    }
    rows
}

fn one(first: &Sheet, second: &Sheet) -> Comparison {
    let pairs: Vec<(f64, f64)> = first.shares.iter().copied().zip(second.shares.iter().copied()).collect();
    let single = first.samples == 1 && second.samples == 1;
    let only_first = pairs.iter().filter(|(a, b)| b < a).count();
    let only_second = pairs.iter().filter(|(a, b)| a < b).count();
    Comparison {
        name: first.name(),
        items: pairs.len(),
        difference: paired_bootstrap(&pairs, RESAMPLES, BOOTSTRAP_SEED),
        only_first: single.then_some(only_first),
        only_second: single.then_some(only_second),
        p_value: single.then(|| mcnemar_exact(only_first, only_second)),
    }
}

/// The rows for people.
pub(super) fn comparison_table(rows: &[Comparison]) -> String {
    let mut text = format!(
        "{:28} {:>6} {:>10} {:>20} {:>6} {:>6} {:>12}\n",
        "", "items", "difference", "95 % interval", "lost", "won", "McNemar p"
    );
    for row in rows {
        let (mean, interval) = row.difference.map_or(("-".to_owned(), "-".to_owned()), |found| {
            let Difference { mean, low, high } = found;
            (format!("{:+.1}", 100.0 * mean), format!("{:+.1} to {:+.1}", 100.0 * low, 100.0 * high))
        });
        let count = |n: Option<usize>| n.map_or("-".to_owned(), |n| n.to_string());
        let p = row.p_value.map_or("-".to_owned(), |p| format!("{p:.2e}"));
        let (lost, won) = (count(row.only_first), count(row.only_second));
        let _ = writeln!(
            text,
            "{:28} {:>6} {mean:>10} {interval:>20} {lost:>6} {won:>6} {p:>12}",
            row.name, row.items
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::eval::sheet::{Faulty, Unasked};
    use toolr0_reward::CallErrors;
    use toolr0_reward::question::Mark;

    fn sheet(solved: &[bool]) -> Sheet {
        let mark = |&solved: &bool| {
            vec![Mark { solved, fault: None, calls: None, errors: CallErrors::default(), scores: None }]
        };
        let marks: Vec<_> = solved.iter().map(mark).collect();
        Sheet::new("a", "b", &marks, 1, Unasked::default(), Faulty::default())
    }

    #[test]
    fn differences_are_paired() {
        let (a, b) = (sheet(&[true, false, false, false]), sheet(&[false, true, true, true]));
        let rows = compare(std::slice::from_ref(&a), std::slice::from_ref(&b));
        let [row] = rows.as_slice() else { panic!("one split gives one row") };
        assert_eq!((row.only_first, row.only_second, row.p_value), (Some(1), Some(3), Some(0.625)));
        let found = row.difference.unwrap();
        assert!(found.mean == 0.5 && found.low < 0.5 && 0.5 < found.high);
        assert!(comparison_table(&rows).contains("+50.0"));
        let both = compare(&[a.clone(), a.clone()], &[a.clone(), b]);
        let sum = both.last().unwrap();
        assert_eq!((sum.name.as_str(), sum.items, sum.only_second), ("all", 8, Some(3)));
        assert_eq!(both[0].difference, Some(Difference { mean: 0.0, low: 0.0, high: 0.0 }));
    }
}
