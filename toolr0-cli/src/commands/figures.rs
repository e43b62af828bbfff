//! `toolr0 figures`: the charts of a run as files.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::json;
use toolr0_model::weights::save_text;

use crate::args::{Figures, Global};
use crate::chart::{picture, standalone};
use crate::figures::{Figure, sections};
use crate::run_log::RunLog;
use crate::ui::out;

/// Writes every chart that was asked for and names its file.
pub(crate) fn run(args: &Figures, global: Global) -> Result<()> {
    let log = RunLog::open(&args.run)?;
    let all: Vec<Figure> = sections(&log).into_iter().flat_map(|section| section.figures).collect();
    if let Some(none) = args.only.iter().find(|name| all.iter().all(|figure| figure.name != **name)) {
        let known: Vec<&str> = all.iter().map(|figure| figure.name.as_str()).collect();
        bail!("{} has no chart {none}; it has {}", args.run.display(), known.join(", "));
    }
    let wanted = |figure: &&Figure| args.only.is_empty() || args.only.contains(&figure.name);
    std::fs::create_dir_all(&args.out).with_context(|| format!("failed to make {}", args.out.display()))?;
    let mut files = Vec::new();
    for figure in all.iter().filter(wanted) {
        files.extend(write(figure, &args.out, f32::from(args.scale))?);
    }
    match global.json {
        true => out(&format!("{}\n", json!({"files": files}))),
        false => out(&files.iter().map(|name| format!("{name}\n")).collect::<String>()),
    }
}

/// Pixels to a unit of a picture, where nobody says it.
pub(crate) const SCALE: u8 = 2;

/// Both files of one chart.
pub(crate) fn write(figure: &Figure, dir: &Path, scale: f32) -> Result<[String; 2]> {
    let svg = standalone(&figure.chart, &figure.title);
    let paths = ["svg", "png"].map(|end| dir.join(format!("{}.{end}", figure.name)));
    save_text(&paths[0], &svg)?;
    let pixels = picture(&svg, scale).with_context(|| figure.name.clone())?;
    std::fs::write(&paths[1], pixels).with_context(|| format!("failed to write {}", paths[1].display()))?;
    Ok(paths.map(|path| path.display().to_string()))
}
