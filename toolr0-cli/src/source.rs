//! Where given tools come from: `world:travel,calendar`, `openapi:FILE`, `mcp:FILE`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use toolr0_tools::Source;

/// Opens a source. A file is JSON or YAML.
pub(crate) fn open(source: &str) -> Result<Source> {
    let opened = match source.split_once(':') {
        Some(("world", names)) => {
            let names: Vec<&str> = names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
            Source::worlds(&names)
        }
        Some(("openapi", file)) => Source::openapi(&read(file)?),
        Some(("mcp", file)) => Source::mcp(&read(file)?),
        _ => bail!("{source}: expected world:NAME,.., openapi:FILE or mcp:FILE"),
    };
    opened.with_context(|| source.to_owned())
}

fn read(file: &str) -> Result<Value> {
    let text = std::fs::read_to_string(Path::new(file)).with_context(|| format!("failed to read {file}"))?;
    // JSON first: its errors are better, and its numbers keep their digits.
    match serde_json::from_str(&text) {
        Ok(value) => Ok(value),
        Err(error) if text.trim_start().starts_with(['{', '[']) => {
            Err(error).with_context(|| format!("{file} is not valid JSON"))
        }
        Err(_) => serde_yaml::from_str(&text).with_context(|| format!("{file} is neither JSON nor YAML")),
    }
}
