//! A sweep: cells that change a configuration, each run with several seeds, and what came of them.

mod outcome;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_yaml::{Mapping, Value};

use crate::config::{self, Setup};
use crate::model::EMBEDDED;

pub(crate) use outcome::{Outcome, figure, is_finished, outcomes, table};

/// What a sweep file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SweepFile {
    /// What every cell begins with: a YAML file or an embedded configuration.
    #[serde(default = "default_config")]
    config: String,
    /// The model; else what the configuration says.
    model: Option<String>,
    /// Keys that all cells have in common.
    #[serde(default)]
    set: Mapping,
    /// By name, the keys that a cell changes. The others are compared with the first.
    #[serde(default)]
    cells: Mapping,
    /// Keys with the values that they take, in all combinations.
    #[serde(default)]
    grid: Mapping,
}

fn default_config() -> String {
    config::DEFAULT.to_owned()
}

/// One configuration of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CellPlan {
    /// As the file calls it, or what it sets.
    pub(crate) name: String,
    /// The name as a folder.
    pub(crate) folder: String,
    /// Its whole configuration, checked.
    pub(crate) yaml: String,
}

/// The cells of a sweep file, each checked before any of them runs.
pub(crate) fn read(path: &Path) -> Result<Vec<CellPlan>> {
    let source = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {source}"))?;
    let file: SweepFile = serde_yaml::from_str(&text).with_context(|| format!("{source} is not a sweep"))?;
    let changes = cells(&file).with_context(|| source.clone())?;
    if changes.is_empty() {
        bail!("{source} has no cells: give `cells` or `grid`");
    }
    let (base, text) = config::read(&file.config).with_context(|| source.clone())?;
    let common = sets(&file.set).with_context(|| format!("{source}: `set`"))?;
    let mut plans = Vec::new();
    let (mut folders, mut configs) = (BTreeSet::new(), BTreeSet::new());
    for (name, own) in changes {
        let here = || format!("{source}: cell `{name}`");
        let all: Vec<String> = common.iter().chain(&own).cloned().collect();
        let Setup { model, run } = config::resolve(&base, &text, &all, None).with_context(here)?;
        let model = file.model.clone().or(model).unwrap_or_else(|| EMBEDDED.to_owned());
        let yaml = config::to_yaml(&model, &run).with_context(here)?;
        let folder = folder(&name);
        if folder.is_empty() || !folders.insert(folder.clone()) {
            bail!("{}: the name is empty, or another cell's but for its punctuation", here());
        }
        // A change without an effect would be measured as one.
        if !configs.insert(yaml.clone()) {
            bail!("{}: it changes nothing, or the same as another cell", here());
        }
        plans.push(CellPlan { name, folder, yaml });
    }
    Ok(plans)
}

/// Name and `KEY=VALUE`s of each cell.
fn cells(file: &SweepFile) -> Result<Vec<(String, Vec<String>)>> {
    let mut all = Vec::new();
    for (name, change) in &file.cells {
        let name = text(name)?;
        let own = match change {
            Value::Null => Vec::new(),
            Value::Mapping(change) => sets(change).with_context(|| format!("cell `{name}`"))?,
            _ => bail!("cell `{name}` is no section with keys"),
        };
        all.push((name, own));
    }
    if file.grid.is_empty() {
        return Ok(all);
    }
    let mut grid: Vec<Vec<String>> = vec![Vec::new()];
    for (key, values) in &file.grid {
        let Some(values) = values.as_sequence().filter(|values| !values.is_empty()) else {
            bail!("`grid`: {} is no list of values", text(key)?);
        };
        let sets = values.iter().map(|value| one_set(key, value)).collect::<Result<Vec<_>>>()?;
        grid = grid
            .iter()
            .flat_map(|row| sets.iter().map(move |set| [&row[..], std::slice::from_ref(set)].concat()))
            .collect();
    }
    all.extend(grid.into_iter().map(|sets| (sets.join(" "), sets)));
    Ok(all)
}

fn sets(change: &Mapping) -> Result<Vec<String>> {
    change.iter().map(|(key, value)| one_set(key, value)).collect()
}

/// `KEY=VALUE`, the value as YAML on one line.
fn one_set(key: &Value, value: &Value) -> Result<String> {
    let json = serde_json::to_string(value).context("a value that is not plain")?;
    Ok(format!("{}={}", text(key)?, json.trim_matches('"')))
}

fn text(key: &Value) -> Result<String> {
    match key {
        Value::String(text) => Ok(text.clone()),
        other => Ok(serde_yaml::to_string(other)?.trim_end().to_owned()),
    }
}

/// A name in letters that every file system takes.
fn folder(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '=' => out.push(letter),
            _ if out.ends_with('-') => {}
            _ => out.push('-'),
        }
    }
    out.trim_matches(['-', '.']).to_owned()
}

/// The directory of one run of a cell.
pub(crate) fn run_dir(out: &Path, cell: &CellPlan, seed: u64) -> PathBuf {
    out.join(&cell.folder).join(format!("seed-{seed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parsed(text: &str) -> Result<Vec<CellPlan>> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("sweep.yaml");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn cells_and_a_grid_become_checked_configurations() {
        let text = "cells:\n  full:\n  hard cliff: {frontier.shape: hard_cliff}\n\
                    grid:\n  probe.samples: [4, 8]\n  solver.group_size: [2, 4]\nset: {selfplay.iterations: 1}\n";
        let plans = parsed(text).unwrap();
        let names: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
        let grid =
            [(4, 2), (4, 4), (8, 2), (8, 4)].map(|(k, n)| format!("probe.samples={k} solver.group_size={n}"));
        assert_eq!(names[..2], ["full", "hard cliff"]);
        assert_eq!(names[2..], grid);
        assert_eq!(plans[1].folder, "hard-cliff");
        assert!(plans[1].yaml.contains("shape: hard_cliff") && plans[1].yaml.contains("iterations: 1"));
    }

    #[test]
    fn a_bad_cell_is_named_before_anything_runs() {
        for (text, part) in [
            ("cells: {a: {frontier.shpe: x}}", "cell `a`"),
            ("cells: {a: {frontier.sigma: 0.2, frontier.shape: hard_cliff}}", "frontier.sigma"),
            ("cells: {a: {}, b: {probe.samples: 8}}", "changes nothing"),
            ("cells: {a b: {}, a-b: {probe.samples: 4}}", "cell `a-b`"),
            ("set: {}", "no cells"),
            ("grid: {probe.samples: 4}", "no list"),
            ("cels: {}", "not a sweep"),
        ] {
            let error = format!("{:#}", parsed(text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
