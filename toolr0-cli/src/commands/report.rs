//! `toolr0 report`: what a run came to, as one HTML file.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::json;
use toolr0_model::weights::save_text;

use crate::args::{Global, Report};
use crate::page::page;
use crate::run_log::RunLog;
use crate::ui::out;

/// Writes the report and says where it is.
pub(crate) fn run(args: &Report, global: Global) -> Result<()> {
    let path = write(&args.run, args.out.as_deref())?;
    match global.json {
        true => out(&format!("{}\n", json!({"report": path}))),
        false => out(&format!("{}\n", path.display())),
    }
}

/// Writes the report of the run in `dir`, into it if no other place is named.
pub(crate) fn write(dir: &Path, to: Option<&Path>) -> Result<PathBuf> {
    let log = RunLog::open(dir)?;
    let path = to.map_or_else(|| dir.join("report.html"), Path::to_owned);
    save_text(&path, &page(&log))?;
    Ok(path)
}
