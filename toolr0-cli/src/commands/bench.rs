//! `toolr0 bench`: recorded predictions under the published rules, and published files as questions.

use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use toolr0_reward::ast::{BenchItem, Scores};
use toolr0_tools::ToolCall;

use crate::args::{Bench, Global, Suite};
use crate::bench;
use crate::import::{Import, import};
use crate::input::{Lines, sink};
use crate::run_dir::RunDir;
use crate::ui::{Screen, out};

/// A line of the predictions; further fields are ignored.
#[derive(Deserialize)]
struct Prediction {
    id: String,
    prediction: Option<Vec<ToolCall>>,
}

#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    #[serde(flatten)]
    scores: Scores,
}

/// Runs one of the commands on benchmark files.
pub(crate) fn run(command: &Bench, global: Global) -> Result<()> {
    match command {
        Bench::Score { bench, predictions } => score(bench, predictions, &Screen::new(global)),
        Bench::Import { suite, path, out } => import_suite(*suite, path, out, global),
    }
}

/// Everything is read before anything is written.
fn import_suite(suite: Suite, path: &Path, to: &Path, global: Global) -> Result<()> {
    let folder = to.join(suite.to_string());
    RunDir::refuse_taken(&folder)?;
    let Import { splits, drops, .. } = import(suite, path)?;
    let mut dir = RunDir::create(&folder)?;
    for (split, items) in &splits {
        dir.lines(&format!("{split}.jsonl"), items)?;
    }
    dir.keep();
    let kept = |split: &str| splits.get(split).map_or(0, Vec::len);
    let names: BTreeSet<&String> = splits.keys().chain(drops.keys()).collect();
    if global.json {
        let row = |split: &&String| json!({"split": split, "kept": kept(split), "drops": drops.get(*split).cloned().unwrap_or_default()});
        let rows: Vec<_> = names.iter().map(row).collect();
        return out(&format!("{}\n", json!({"suite": suite.to_string(), "out": folder, "splits": rows})));
    }
    let mut text = format!("{:28} {:>6} {:>8}\n", "", "kept", "dropped");
    for split in names {
        let drops = drops.get(split).cloned().unwrap_or_default();
        let reasons: Vec<String> = drops.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        let name = format!("{suite}/{split}");
        let row = format!("{name:28} {:>6} {:>8}  {}", kept(split), drops.total(), reasons.join(", "));
        text.push_str(row.trim_end());
        text.push('\n');
    }
    out(&text)
}

fn score(dir: &Path, predictions: &Path, screen: &Screen) -> Result<()> {
    let mut items: HashMap<String, BenchItem> = HashMap::new();
    for split in bench::read(dir)? {
        split.bad.iter().for_each(|bad| screen.warn(bad));
        items.extend(split.items.into_iter().map(|item| (item.id.clone(), item)));
    }
    let mut lines = Lines::open(predictions)?;
    let mut out = sink();
    let mut score_next = || -> Result<bool> {
        let Some(line) = lines.next()? else { return Ok(false) };
        let Prediction { id, prediction } = serde_json::from_str(&line)
            .with_context(|| format!("{}: expected `id` and `prediction`, calls or null", lines.place()))?;
        let item =
            items.get(&id).with_context(|| format!("{}: no question has the id `{id}`", lines.place()))?;
        let line = Line { id: &id, scores: Scores::new(prediction.as_deref(), item) };
        writeln!(out, "{}", serde_json::to_string(&line)?).context("failed to write to standard output")?;
        Ok(true)
    };
    // What was scored before a bad line is still written.
    let ended = loop {
        match score_next() {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    out.flush().context("failed to write to standard output")?;
    ended
}
