//! `toolr0 ablate`: a grid of runs, one table, one figure.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::json;
use toolr0_model::weights::save_text;

use crate::args::{Ablate, Global};
use crate::commands;
use crate::stop::{INTERRUPTED, Stop};
use crate::sweep::{self, CellPlan, Outcome};
use crate::ui::{Screen, out};

/// Runs what is not finished yet, each run in a process of its own: one that fails takes no other with it.
pub(crate) fn run(args: &Ablate, global: Global) -> Result<ExitCode> {
    let cells = sweep::read(&args.sweep)?;
    let seeds: Vec<u64> = (1..=u64::from(args.seeds)).collect();
    let dir = args.out.clone().unwrap_or_else(|| default_dir(&args.sweep));
    std::fs::create_dir_all(&dir).with_context(|| format!("failed to make {}", dir.display()))?;
    for cell in &cells {
        same_cell(&dir, cell)?;
    }
    let mut screen = Screen::new(global);
    let stop = Stop::listen()?;
    let mut failed = Vec::new();
    // Seed by seed, so that an early end leaves whole comparisons.
    let grid = seeds.iter().flat_map(|seed| cells.iter().map(move |cell| (cell, *seed)));
    let n = cells.len() * seeds.len();
    for (i, (cell, seed)) in grid.enumerate() {
        let path = sweep::run_dir(&dir, cell, seed);
        if stop.asked() {
            break;
        }
        if sweep::is_finished(&path) {
            continue;
        }
        screen.begin(&format!("{}/{n}  {}, seed {seed}", i + 1, cell.name), 1);
        if !one(args, &dir, cell, seed, &path, global)? && !stop.asked() {
            screen.warn(&format!("{}, seed {seed} failed; see {}", cell.name, log_of(&path).display()));
            failed.push(format!("{} (seed {seed})", cell.name));
        }
        screen.advance(1, "");
    }
    screen.end();
    let outcomes = sweep::outcomes(&dir, &cells, &seeds);
    write(&dir, &outcomes)?;
    match global.json {
        true => out(&format!("{}\n", json!({"out": dir, "cells": outcomes, "failed": failed})))?,
        false => {
            out(&format!("{}table, numbers and figure are in {}\n", sweep::table(&outcomes), dir.display()))?
        }
    }
    if stop.asked() {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    if !failed.is_empty() {
        bail!("{} of {n} runs failed: {}", failed.len(), failed.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

/// `sweeps/NAME` for `NAME.yaml`.
fn default_dir(sweep: &Path) -> PathBuf {
    Path::new("sweeps").join(sweep.file_stem().unwrap_or_default())
}

/// Refuses a directory whose cell of this name is another one.
fn same_cell(dir: &Path, cell: &CellPlan) -> Result<()> {
    let path = dir.join(&cell.folder).join("config.yaml");
    match std::fs::read_to_string(&path) {
        Ok(text) if text == cell.yaml => Ok(()),
        Ok(_) => bail!("{} is of another sweep or version; choose another --out", path.display()),
        Err(_) => {
            std::fs::create_dir_all(dir.join(&cell.folder))
                .with_context(|| format!("failed to make {}", path.display()))?;
            Ok(save_text(&path, &cell.yaml)?)
        }
    }
}

fn log_of(path: &Path) -> PathBuf {
    path.with_extension("log")
}

/// One run in a process of its own. What an earlier attempt left unfinished is begun anew.
fn one(args: &Ablate, dir: &Path, cell: &CellPlan, seed: u64, path: &Path, global: Global) -> Result<bool> {
    if path.is_dir() {
        std::fs::remove_dir_all(path).with_context(|| format!("failed to remove {}", path.display()))?;
    }
    let log = log_of(path);
    let errors = File::create(&log).with_context(|| format!("failed to write {}", log.display()))?;
    let program = std::env::current_exe().context("this program's own file is gone")?;
    let mut command = Command::new(program);
    command.args(["selfplay", "--quiet", "--config"]).arg(dir.join(&cell.folder).join("config.yaml"));
    command
        .args(["--seed", &seed.to_string(), "--questions", &args.questions.to_string(), "--out"])
        .arg(path);
    if let Some(device) = global.device.to_possible_value() {
        command.args(["--device", device.get_name()]);
    }
    if let Some(threads) = global.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    let status = command.status().context("failed to start a run")?;
    Ok(status.success())
}

/// `table.md`, `results.json` and the figure.
fn write(dir: &Path, outcomes: &[Outcome]) -> Result<()> {
    save_text(&dir.join("table.md"), &sweep::table(outcomes))?;
    save_text(&dir.join("results.json"), &format!("{}\n", serde_json::to_string_pretty(outcomes)?))?;
    let figure = sweep::figure(outcomes);
    if !figure.chart.is_empty() {
        commands::figures::write(&figure, dir, f32::from(commands::figures::SCALE))?;
    }
    Ok(())
}
