//! Benchmark questions on disk: `SUITE/SPLIT.jsonl`, one [`BenchItem`] a line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use toolr0_reward::ast::BenchItem;
use toolr0_reward::schema::check_schemas;

use crate::input::Lines;

/// The questions of one file.
#[derive(Debug)]
pub(crate) struct Split {
    /// The folder's name.
    pub(crate) suite: String,
    /// The file's name, without ending.
    pub(crate) name: String,
    /// In their order.
    pub(crate) items: Vec<BenchItem>,
    /// Lines that are no question: where, and why.
    pub(crate) bad: Vec<String>,
}

/// Reads every `SUITE/SPLIT.jsonl` under `dir`, in the order of their names.
///
/// # Errors
///
/// If the folder cannot be read or holds no such file. A bad line is counted, not an error.
pub(crate) fn read(dir: &Path) -> Result<Vec<Split>> {
    let mut splits = Vec::new();
    for suite in entries(dir)?.into_iter().filter(|path| path.is_dir()) {
        for file in entries(&suite)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        {
            splits.push(read_split(&suite, &file)?);
        }
    }
    if splits.is_empty() {
        bail!("{} holds no SUITE/SPLIT.jsonl", dir.display());
    }
    Ok(splits)
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let read =
        || -> std::io::Result<Vec<PathBuf>> { std::fs::read_dir(dir)?.map(|e| Ok(e?.path())).collect() };
    let mut paths = read().with_context(|| format!("failed to read {}", dir.display()))?;
    paths.sort();
    Ok(paths)
}

fn read_split(suite: &Path, file: &Path) -> Result<Split> {
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut split = Split { suite: name(suite), name: name(file), items: Vec::new(), bad: Vec::new() };
    let mut lines = Lines::open(file)?;
    while let Some(line) = lines.next()? {
        match serde_json::from_str::<BenchItem>(&line) {
            Ok(item) => match (item.fault(), check_schemas(&item.tools)) {
                (Some(reason), _) => split.bad.push(format!("{}: {reason}", lines.place())),
                (None, Err(error)) => split.bad.push(format!("{}: {error}", lines.place())),
                (None, Ok(())) => split.items.push(item),
            },
            Err(error) => split.bad.push(format!("{}: {error}", lines.place())),
        }
    }
    Ok(split)
}
