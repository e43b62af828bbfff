//! Which tasks a run has made, by domain, number of calls, size of the menu and kind of argument, against the mix that the
//! law asks for.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use toolr0_tools::Task;

use crate::spec_law::SpecLaw;

/// Sizes of one range of menus that have a cell each.
const MOST_SIZES: usize = 255;

/// A kind of task: domain, gold calls, tools on the menu.
pub type Cell = (String, usize, usize);

/// The book of all tasks of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Row>", into = "Vec<Row>")]
pub struct Coverage {
    cells: BTreeMap<Cell, Counts>,
}

/// What is counted of one cell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    tasks: usize,
    /// Arguments of gold calls by the type that their tool declares.
    kinds: BTreeMap<String, usize>,
}

/// A cell as it is saved.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    domain: String,
    n_calls: usize,
    n_tools: usize,
    tasks: usize,
    kinds: BTreeMap<String, usize>,
}

impl From<Vec<Row>> for Coverage {
    fn from(rows: Vec<Row>) -> Self {
        let cell = |row: Row| {
            ((row.domain, row.n_calls, row.n_tools), Counts { tasks: row.tasks, kinds: row.kinds })
        };
        Self { cells: rows.into_iter().map(cell).collect() }
    }
}

impl From<Coverage> for Vec<Row> {
    fn from(coverage: Coverage) -> Self {
        let row = |((domain, n_calls, n_tools), Counts { tasks, kinds }): (Cell, Counts)| Row {
            domain,
            n_calls,
            n_tools,
            tasks,
            kinds,
        };
        coverage.cells.into_iter().map(row).collect()
    }
}

/// How a book compares with the mix that is asked for; 0 to 1 all of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CoverageReport {
    /// How far the shares of domain, calls and menu together are from the law's: half the sum of all differences.
    pub gap: f64,
    /// The same of domains alone.
    pub domain_gap: f64,
    /// The same of numbers of calls alone.
    pub call_gap: f64,
    /// The same of sizes of menus alone.
    pub menu_gap: f64,
    /// Share of what the law asks for whose cell has at least one task.
    pub covered: f64,
    /// Arguments of gold calls by kind, in shares. The law asks for none of them.
    pub kinds: BTreeMap<String, f64>,
}

impl Coverage {
    /// Books a task that was asked for in `domain`.
    pub fn add(&mut self, domain: &str, task: &Task) {
        let counts = self.cells.entry((domain.to_owned(), task.gold.len(), task.tools.len())).or_default();
        counts.tasks += 1;
        for call in &task.gold {
            for key in call.arguments.keys() {
                let kind = task.tool(&call.name).and_then(|tool| tool.param(key)?.kind());
                *counts.kinds.entry(kind.unwrap_or("any").to_owned()).or_default() += 1;
            }
        }
    }

    /// Tasks in it.
    pub fn tasks(&self) -> usize {
        self.cells.values().map(|counts| counts.tasks).sum()
    }

    /// Tasks of one cell.
    pub fn tasks_of(&self, cell: &Cell) -> usize {
        self.cells.get(cell).map_or(0, |counts| counts.tasks)
    }

    /// Against `target`, shares by cell as [`SpecLaw::mix`] gives them. An empty book is as far from it as can be.
    pub fn report(&self, target: &BTreeMap<Cell, f64>) -> CoverageReport {
        let all = self.tasks().max(1) as f64;
        let got: BTreeMap<Cell, f64> =
            self.cells.iter().map(|(cell, counts)| (cell.clone(), counts.tasks as f64 / all)).collect();
        let mut kinds = BTreeMap::<String, f64>::new();
        for (kind, n) in self.cells.values().flat_map(|counts| &counts.kinds) {
            *kinds.entry(kind.clone()).or_default() += *n as f64;
        }
        let arguments: f64 = kinds.values().sum();
        kinds.values_mut().for_each(|n| *n /= arguments);
        let covered = target.iter().filter(|(cell, _)| 0 < self.tasks_of(cell)).map(|(_, share)| share).sum();
        CoverageReport {
            gap: gap(&got, target),
            domain_gap: gap(&by(&got, |cell| cell.0.clone()), &by(target, |cell| cell.0.clone())),
            call_gap: gap(&by(&got, |cell| cell.1), &by(target, |cell| cell.1)),
            menu_gap: gap(&by(&got, |cell| cell.2), &by(target, |cell| cell.2)),
            covered,
            kinds,
        }
    }
}

/// The distance in total variation of two distributions.
fn gap<K: Ord>(a: &BTreeMap<K, f64>, b: &BTreeMap<K, f64>) -> f64 {
    let keys: BTreeSet<&K> = a.keys().chain(b.keys()).collect();
    let share = |of: &BTreeMap<K, f64>, key: &K| of.get(key).copied().unwrap_or(0.0);
    keys.into_iter().map(|key| (share(a, key) - share(b, key)).abs()).sum::<f64>() / 2.0
}

fn by<K: Ord>(shares: &BTreeMap<Cell, f64>, key: impl Fn(&Cell) -> K) -> BTreeMap<K, f64> {
    let mut out = BTreeMap::new();
    shares.iter().for_each(|(cell, share)| *out.entry(key(cell)).or_insert(0.0) += share);
    out
}

impl SpecLaw {
    /// How likely each cell is.
    pub fn mix(&self) -> BTreeMap<Cell, f64> {
        let mut mix = BTreeMap::new();
        for (branch, share) in self.branches() {
            let menus = &self.tables().menus[&branch.n_calls];
            let all: f64 = menus.iter().map(|menu| menu.weight).sum();
            for menu in menus.iter().filter(|menu| 0.0 < menu.weight) {
                // Nobody reads menus of more tools than that; a range without end must not become a table without end.
                let sizes = menu.min..=menu.max.min(menu.min.saturating_add(MOST_SIZES));
                let each = share * menu.weight / all / sizes.clone().count() as f64;
                for n_tools in sizes {
                    *mix.entry((branch.domain.clone(), branch.n_calls, n_tools)).or_insert(0.0) += each;
                }
            }
        }
        mix
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    use serde_json::json;

    use super::*;
    use crate::draw_specs;

    #[test]
    fn the_mix_is_what_the_law_draws() {
        let law = SpecLaw::paper();
        let mix = law.mix();
        assert!((mix.values().sum::<f64>() - 1.0).abs() < 1e-12);
        let mut drawn = BTreeMap::<Cell, f64>::new();
        let n = 200_000;
        for spec in draw_specs(&law, n, &mut ChaCha8Rng::seed_from_u64(1)) {
            *drawn.entry((spec.domain, spec.n_calls, spec.n_tools)).or_default() += 1.0 / n as f64;
        }
        assert!(gap(&mix, &drawn) < 0.02, "{}", gap(&mix, &drawn));
        assert_eq!(mix.len(), drawn.len());
    }

    #[test]
    fn a_book_is_held_against_the_mix_and_survives_json() {
        let task: Task = serde_json::from_value(json!({
            "question": "q",
            "tools": [{ "name": "f", "description": "", "parameters": { "type": "object", "required": [],
                "properties": { "a": { "type": "string" }, "b": { "type": "integer" }, "c": {} } } }],
            "gold": [{ "name": "f", "arguments": { "a": "x", "b": 1, "c": null } }, { "name": "f", "arguments": { "a": "y" } }],
        }))
        .unwrap();
        let target = BTreeMap::from([(("travel".to_owned(), 2, 1), 0.75), (("math".to_owned(), 1, 1), 0.25)]);
        let mut book = Coverage::default();
        assert_eq!(book.report(&target).covered, 0.0);
        book.add("travel", &task);
        book.add("sports", &task);
        let report = book.report(&target);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} for {b}");
        close(report.covered, 0.75);
        close(report.gap, 0.5);
        close(report.domain_gap, 0.5);
        close(report.call_gap, 0.25);
        close(report.menu_gap, 0.0);
        let kinds = [("any", 0.25), ("integer", 0.25), ("string", 0.5)];
        assert_eq!(report.kinds, kinds.map(|(kind, share)| (kind.to_owned(), share)).into());
        let text = serde_json::to_string(&book).unwrap();
        assert_eq!(serde_json::from_str::<Coverage>(&text).unwrap(), book);
        assert_eq!((book.tasks(), book.tasks_of(&("sports".into(), 2, 1))), (2, 1));
    }
}
