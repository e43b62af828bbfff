//! `toolr0 replay`: one step of a run again, and everything on the way to it, compared to the bit.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::{Value, json};
use toolr0_model::Checkpoint;
use toolr0_rl::checkpoint;
use toolr0_rl::ledger::{Entry, tensors};
use toolr0_rl::selfplay::{Observer, Phase, Record};
use toolr0_rl::state::{State, Turn};
use toolr0_rl::{RunConfig, SelfPlay};

use super::selfplay::{fix_date, given, guard, same_base};
use crate::args::{Global, Replay};
use crate::config::{self, Setup};
use crate::ledger::{self, METRICS};
use crate::model::{self, EMBEDDED};
use crate::run_dir::RunDir;
use crate::source;
use crate::ui::{Screen, out};

/// Replays a step.
pub(crate) fn run(args: &Replay, global: Global) -> Result<()> {
    let (dir, terms) = RunDir::open(&args.run)?;
    let (source, text) = config::read(&dir.path().join("config.yaml").display().to_string())?;
    let Setup { model, run } = config::resolve(&source, &text, &[], None)?;
    let (entries, records) = ledger::read(dir.path())?;
    let records: Vec<Value> = records
        .iter()
        .zip(1..)
        .map(|(line, n)| serde_json::from_str(line).with_context(|| format!("{METRICS}, line {n}")))
        .collect::<Result<_>>()?;
    let steps: Vec<usize> = (0..entries.len()).filter(|i| records[*i]["record"] == "step").collect();
    let Some(&target) = steps.get(args.step as usize - 1) else {
        bail!("there is no step {}: {} has {} of them", args.step, args.run.display(), steps.len());
    };

    let screen = Screen::new(global);
    let model = model.unwrap_or_else(|| EMBEDDED.to_owned());
    let mut base = model::load(&model, &screen)?;
    fix_date(&mut base, &terms);
    same_base(&model, &tensors(base.tensors.iter())?, &terms)?;
    check_tasks(&dir, &entries)?;
    let questions = terms.questions.draw(run.exam.items);
    if run.endpoint.is_some() {
        bail!("{} was played with a server, whose answers nobody can compute again", args.run.display());
    }
    let (guard, _) = guard(&run.dataset.guard, &screen)?;
    let game = SelfPlay::new(&run, &base, &questions)?;
    let game = if run.dataset.guard.is_empty() { game } else { game.guarded(&guard) };
    let tools = run.tools.as_deref().map(|source| source::open(source, run.strict)).transpose()?;
    let game = match &tools {
        Some(tools) => given(game, tools, &run, &screen)?,
        None => game,
    };
    let state = match before(&dir, &run, &base, &entries[target], target)? {
        Some(state) => state,
        None => game.start()?,
    };
    let from = state.records;
    if let Some(i) = (from..target).find(|i| !records[*i]["back_to"].is_null()) {
        bail!(
            "step {} lies behind a rollback ({METRICS}, line {}) and no checkpoint in between was kept",
            args.step,
            i + 1
        );
    }
    let start = state.position;
    screen.say(&format!("from {start}, {} records to step {}", target - from + 1, args.step));
    let mut comparer =
        Comparer { screen, records: &records, entries: &entries, at: from, target, broken: None };
    let ended = game.go_on(state, &mut comparer, &mut |_| Ok(()));
    let Comparer { mut screen, broken, .. } = comparer;
    screen.end();
    match broken {
        Some(broken) => bail!(broken),
        None => ended?,
    };

    let record = &records[target];
    let value = json!({
        "step": args.step, "iteration": record["iteration"], "role": record["role"], "role_step": record["step"],
        "loss": record["update"]["loss"], "loss_bits": entries[target].loss, "weights": entries[target].after,
        "from": start.to_string(), "compared": target - from + 1,
    });
    if global.json {
        return out(&format!("{value}\n"));
    }
    out(&format!(
        "step {} (iteration {}, {} step {}): loss {} and the weights after it, the same to the bit\n\
         {} records compared, from {start}\n",
        args.step,
        value["iteration"],
        record["role"].as_str().unwrap_or_default(),
        value["role_step"],
        value["loss"],
        value["compared"],
    ))
}

/// The newest checkpoint before the step, checked.
fn before(
    dir: &RunDir,
    run: &RunConfig,
    base: &Checkpoint,
    entry: &Entry,
    target: usize,
) -> Result<Option<State>> {
    let root = dir.path().join("checkpoints");
    for position in checkpoint::list(&root)?.into_iter().rev().filter(|position| *position <= entry.position)
    {
        let state = checkpoint::load(&root.join(position.to_string()), run, base)?;
        if state.records <= target {
            return Ok(Some(state));
        }
    }
    Ok(None)
}

/// The tasks of finished iterations are those that the ledger names.
fn check_tasks(dir: &RunDir, entries: &[Entry]) -> Result<()> {
    let of_tasks = |entry: &&Entry| entry.position.turn == Turn::Dataset && entry.data.is_some();
    let datasets = entries.iter().filter(of_tasks);
    // Behind a rollback an iteration has several, of which the last one counts.
    let last: BTreeMap<usize, &Entry> = datasets.map(|entry| (entry.position.iteration, entry)).collect();
    for entry in last.values() {
        let path = dir.path().join(format!("iteration-{}/tasks.jsonl", entry.position.iteration));
        if path.exists() && entry.data != Some(checkpoint::sha256(&path)?) {
            bail!("{} is not what was written: the ledger has another SHA-256", path.display());
        }
    }
    Ok(())
}

/// Holds each record and entry against what was recorded.
struct Comparer<'a> {
    screen: Screen,
    records: &'a [Value],
    entries: &'a [Entry],
    at: usize,
    target: usize,
    broken: Option<String>,
}

impl Comparer<'_> {
    /// Notes the first difference, the clock aside.
    fn compare(&mut self, now: &impl Serialize, then: &Value, file: &str) {
        let now = serde_json::to_value(now).unwrap_or(Value::Null);
        if let (None, Some((path, now, then))) = (&self.broken, difference("", &now, then)) {
            self.broken = Some(format!(
                "the run does not come out as recorded: `{path}` is {now}, and {then} in {file}, line {}",
                self.at + 1
            ));
        }
    }
}

/// Names of what the clock says.
const CLOCK: [&str; 2] = ["seconds", "tokens_per_second"];

/// The first key whose values differ.
fn difference(path: &str, a: &Value, b: &Value) -> Option<(String, Value, Value)> {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let keys = x.keys().chain(y.keys().filter(|key| !x.contains_key(*key)));
            keys.filter(|key| !CLOCK.contains(&key.as_str())).find_map(|key| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                difference(&path, &a[key], &b[key])
            })
        }
        _ if a == b => None,
        _ => Some((path.to_owned(), a.clone(), b.clone())),
    }
}

impl Observer for Comparer<'_> {
    fn begin(&mut self, phase: Phase, iteration: usize, n: usize) {
        self.screen.begin(&format!("{iteration}  {phase:?}"), n);
    }

    fn advance(&mut self, done: usize, note: &str) {
        self.screen.advance(done, note);
    }

    fn record(&mut self, record: &Record) -> toolr0_rl::Result<()> {
        if let Some(then) = self.records.get(self.at) {
            self.compare(record, then, METRICS);
        }
        Ok(())
    }

    fn enter(&mut self, entry: &Entry) -> toolr0_rl::Result<()> {
        if let Some(then) = self.entries.get(self.at) {
            let then = serde_json::to_value(then).unwrap_or(Value::Null);
            self.compare(entry, &then, ledger::FILE);
        }
        self.at += 1;
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.target < self.at || self.broken.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_alone_may_differ() {
        let a = json!({"x": {"y": [1, 0.5]}, "seconds": 1.0});
        assert_eq!(
            difference("", &a, &json!({"x": {"y": [1, 0.5]}, "seconds": 2.0, "tokens_per_second": 3})),
            None
        );
        let (path, now, then) = difference("", &a, &json!({"x": {"y": [1, 0.25]}})).unwrap();
        assert_eq!((path.as_str(), now, then), ("x.y", json!([1, 0.5]), json!([1, 0.25])));
        assert!(difference("", &json!({}), &json!({"new": 1})).is_some());
    }
}
