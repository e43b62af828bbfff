//! `ledger.jsonl`: one line beside each line of `metrics.jsonl`, and each bound to all before it.
//!
//! A line ends with `"metrics"`, the SHA-256 of its line of `metrics.jsonl`, and `"chain"`, the SHA-256 of the chain
//! before and of its own text up to there. Whoever alters a byte of either file breaks the chain.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use toolr0_rl::Error;
use toolr0_rl::ledger::{Cost, Entry, hex};
use toolr0_rl::state::Turn;

use crate::run_dir::Log;

/// Name of the file.
pub(crate) const FILE: &str = "ledger.jsonl";
/// Name of the file whose lines it vouches for.
pub(crate) const METRICS: &str = "metrics.jsonl";

/// Both files of a run, which grow line by line together.
#[derive(Debug)]
pub(crate) struct Book {
    metrics: Log,
    ledger: Log,
    chain: String,
    /// SHA-256 of the last line of the metrics.
    last: String,
    costs: BTreeMap<Turn, Cost>,
    kept: usize,
}

impl Book {
    /// Both files with their first `records` lines, checked; what follows these is cut off.
    pub(crate) fn open(dir: &Path, records: usize) -> Result<Self> {
        let (metrics, lines) = Log::cut(&dir.join(METRICS), records)?;
        let (ledger, own) = Log::cut(&dir.join(FILE), records)?;
        let read = check(&dir.join(FILE), &own, &dir.join(METRICS), &lines)?;
        let (costs, kept) = toolr0_rl::ledger::costs(read.entries.iter());
        Ok(Self { metrics, ledger, chain: read.chain, last: String::new(), costs, kept })
    }

    /// A line of the metrics.
    pub(crate) fn record(&mut self, record: &impl Serialize) -> Result<(), Error> {
        self.last = sha256(&[&self.metrics.push(record)?]);
        Ok(())
    }

    /// Its line of the ledger.
    pub(crate) fn enter(&mut self, entry: &Entry) -> Result<(), Error> {
        let mut line = serde_json::to_value(entry)
            .map_err(|error| Error::Write { path: self.ledger.path().to_owned(), source: error.into() })?;
        line["metrics"] = self.last.clone().into();
        self.chain = sha256(&[&self.chain, open(&line.to_string())]);
        line["chain"] = self.chain.clone().into();
        self.ledger.push(&line)?;
        self.costs.entry(entry.position.turn).or_default().add(entry.cost);
        self.kept += if entry.position.turn == Turn::Dataset { entry.tasks.len() } else { 0 };
        Ok(())
    }

    /// Both files are on disk.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.metrics.sync()?;
        self.ledger.sync()
    }

    /// What all lines cost.
    pub(crate) fn costs(&self) -> RunCost {
        RunCost::new(&self.costs, self.kept)
    }
}

/// The text of an object without its end: that of the same object with one key more begins with it.
fn open(text: &str) -> &str {
    text.strip_suffix('}').unwrap_or(text)
}

fn sha256(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hex(&hash.finalize())
}

/// A checked ledger.
pub(crate) struct Read {
    /// Its entries.
    pub(crate) entries: Vec<Entry>,
    chain: String,
}

/// Reads both files of a run and checks them. Returns the lines of the metrics as well.
pub(crate) fn read(dir: &Path) -> Result<(Vec<Entry>, Vec<String>)> {
    let lines = |name: &str| -> Result<(PathBuf, String)> {
        let path = dir.join(name);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        Ok((path, text))
    };
    let ((metrics, records), (ledger, own)) = (lines(METRICS)?, lines(FILE)?);
    let read = check(&ledger, &own, &metrics, &records)?;
    Ok((read.entries, records.lines().map(str::to_owned).collect()))
}

/// Checks every line against the chain, and every line of the metrics against its line here.
fn check(path: &Path, text: &str, metrics: &Path, records: &str) -> Result<Read> {
    let (mut chain, mut entries) = (String::new(), Vec::new());
    let mut records = records.split_inclusive('\n');
    for (number, line) in (1..).zip(text.lines()) {
        let place = || format!("{}, line {number}", path.display());
        let (body, end) =
            line.split_once(",\"chain\":").with_context(|| format!("{} has no chain", place()))?;
        chain = sha256(&[&chain, body]);
        if end != format!("\"{chain}\"}}") {
            bail!("{} is not what was written: the chain breaks there", place());
        }
        let value: Value = serde_json::from_str(line).with_context(place)?;
        if let Some(record) = records.next() {
            if value["metrics"] != sha256(&[record]).as_str() {
                bail!(
                    "{}, line {number} is not what was written: {FILE} has another SHA-256",
                    metrics.display()
                );
            }
        } else {
            bail!("{} ends before line {number} of {FILE}", metrics.display());
        }
        entries.push(serde_json::from_value(value).with_context(place)?);
    }
    match records.next() {
        // A process may be killed between the two lines of a record.
        Some(_) if records.next().is_some() => bail!("{} ends before {}", path.display(), metrics.display()),
        _ => Ok(Read { entries, chain }),
    }
}

/// What a run cost.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RunCost {
    /// Tasks that the datasets of all iterations kept.
    pub(crate) kept_tasks: usize,
    /// By turn.
    pub(crate) turns: BTreeMap<Turn, TurnCost>,
}

/// What all turns of a kind cost.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TurnCost {
    /// In all.
    #[serde(flatten)]
    pub(crate) cost: Cost,
    /// Divided by the tasks that were kept; `null` where none was.
    pub(crate) per_kept_task: Option<PerTask>,
}

/// A cost by task.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct PerTask {
    /// Tokens that were sampled by either role.
    pub(crate) tokens: f64,
    /// Those of the generator.
    pub(crate) generator_tokens: f64,
    /// Those of the solver: answers, probes, replies as a judge.
    pub(crate) solver_tokens: f64,
    /// Positions that were computed with a gradient.
    pub(crate) trained_positions: f64,
    /// Wall time, s.
    pub(crate) seconds: f64,
    /// Times the judge was asked.
    pub(crate) judge_calls: f64,
}

impl RunCost {
    /// Of these turns.
    pub(crate) fn new(costs: &BTreeMap<Turn, Cost>, kept: usize) -> Self {
        let per = |cost: &Cost| {
            let of = |count: usize| count as f64 / kept as f64;
            PerTask {
                tokens: of(cost.generator_tokens + cost.solver_tokens),
                generator_tokens: of(cost.generator_tokens),
                solver_tokens: of(cost.solver_tokens),
                trained_positions: of(cost.trained_positions),
                seconds: cost.seconds / kept as f64,
                judge_calls: of(cost.judge_calls),
            }
        };
        let turn = |cost: &Cost| TurnCost { cost: *cost, per_kept_task: (0 < kept).then(|| per(cost)) };
        Self { kept_tasks: kept, turns: costs.iter().map(|(name, cost)| (*name, turn(cost))).collect() }
    }

    /// Wall time of all of it, s.
    pub(crate) fn seconds(&self) -> f64 {
        self.turns.values().map(|turn| turn.cost.seconds).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use toolr0_rl::state::Position;

    fn entry(step: usize) -> Entry {
        let position = Position { iteration: 1, turn: Turn::Solver, step };
        let text = |letter: &str| letter.repeat(64);
        let cost = Cost { solver_tokens: 4, seconds: 0.1 + step as f64, ..Cost::default() };
        let (stream, generator, solver) = ("0".repeat(16), text("a"), text("b"));
        let after = Some(text("c"));
        Entry { position, stream, generator, solver, after, tasks: Vec::new(), data: None, loss: None, cost }
    }

    #[test]
    fn every_altered_byte_of_either_file_is_found() {
        let home = tempfile::tempdir().unwrap();
        let mut book = Book::open(home.path(), 0).unwrap();
        for step in 0..3 {
            book.record(&serde_json::json!({"record": "step", "loss": 0.5, "step": step})).unwrap();
            book.enter(&entry(step)).unwrap();
        }
        book.sync().unwrap();
        assert_eq!(book.costs().turns[&Turn::Solver].cost.solver_tokens, 12);
        drop(book);
        let (entries, lines) = read(home.path()).unwrap();
        assert_eq!((entries, lines.len()), (vec![entry(0), entry(1), entry(2)], 3));
        for name in [FILE, METRICS] {
            let path = home.path().join(name);
            let whole = std::fs::read(&path).unwrap();
            for at in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[at] ^= 4;
                std::fs::write(&path, bytes).unwrap();
                let error = read(home.path()).map(|_| ()).expect_err(&format!("byte {at} of {name}"));
                assert!(format!("{error:#}").contains(".jsonl"), "{error:#}");
            }
            std::fs::write(&path, whole).unwrap();
        }
        // What follows the lines that count is cut off, and the chain goes on.
        let mut book = Book::open(home.path(), 2).unwrap();
        book.record(&serde_json::json!({"record": "step", "loss": 0.5, "step": 2})).unwrap();
        book.enter(&entry(2)).unwrap();
        assert_eq!(read(home.path()).unwrap().0.len(), 3);
        let short = Book::open(home.path(), 4).unwrap_err();
        assert!(format!("{short:#}").contains("3 lines, expected at least 4"), "{short:#}");
    }
}
