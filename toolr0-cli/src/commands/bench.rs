//! `toolr0 bench score`: recorded predictions under the published rules.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use toolr0_reward::ast::{BenchItem, Scores};
use toolr0_tools::ToolCall;

use crate::args::{Bench, Global};
use crate::bench;
use crate::input::{Lines, sink};
use crate::ui::Screen;

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
    let Bench::Score { bench, predictions } = command;
    score(bench, predictions, &Screen::new(global))
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
