//! Where given tools come from: `world:travel,calendar`, `openapi:FILE`, `mcp:FILE`, `mcp:COMMAND`, `mcp:URL`, `wasm:MANIFEST`,
//! `process:MANIFEST`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use toolr0_tools::Source;
use toolr0_tools::mcp::Server;

/// What a source may be.
const FORMS: &str =
    "world:NAME,.., openapi:FILE, mcp:FILE, mcp:COMMAND, mcp:URL, wasm:MANIFEST or process:MANIFEST";
/// What a folder of tools has to hold.
const MANIFEST: &str = "manifest.json";

/// Opens a source; `mcp:COMMAND` starts a server. A file is JSON or YAML; a folder stands for the manifest in it. With `strict`, programs run only where every
/// layer of their confinement is there.
pub(crate) fn open(source: &str, strict: bool) -> Result<Source> {
    let opened = match source.split_once(':') {
        Some(("world", names)) => {
            let names: Vec<&str> = names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
            Source::worlds(&names)
        }
        Some(("openapi", file)) => Source::openapi(&read(file)?),
        Some(("mcp", file)) if is_file(file) => Source::mcp(&read(file)?),
        Some(("mcp", url)) if is_url(url) => server(Server::connect(url)),
        Some(("mcp", command)) => server(Server::start(&words(command)?)),
        Some(("wasm", path)) => module(&manifest_file(path))?,
        Some(("process", path)) => program(&manifest_file(path), strict)?,
        _ => bail!("{source}: expected {FORMS}"),
    };
    opened.with_context(|| source.to_owned())
}

/// A reply to `tools/list` that was kept, and not the command of a server.
fn is_file(text: &str) -> bool {
    [".json", ".yaml", ".yml"].iter().any(|end| text.ends_with(end)) && !text.contains(' ')
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

fn server(server: toolr0_tools::Result<Server>) -> Opened {
    let server = server?;
    let (title, skipped) = (server.title().to_owned(), server.skipped().to_vec());
    Source::sandboxed(&title, skipped, Box::new(server))
}

fn module(file: &str) -> Result<Opened> {
    let manifest: toolr0_tools::wasm::Manifest = manifest(file)?;
    let title = manifest.name.clone();
    let modules = toolr0_tools::wasm::Modules::new(manifest, folder(file));
    Ok(modules.and_then(|modules| Source::sandboxed(&title, Vec::new(), Box::new(modules))))
}

#[cfg(target_os = "linux")]
fn program(file: &str, strict: bool) -> Result<Opened> {
    let manifest: toolr0_tools::process::Manifest = manifest(file)?;
    let title = manifest.name.clone();
    let folder = std::path::absolute(folder(file)).context("the current directory is gone")?;
    let programs = toolr0_tools::process::Processes::new(manifest, &folder, &std::env::temp_dir(), strict);
    Ok(programs.and_then(|programs| Source::sandboxed(&title, Vec::new(), Box::new(programs))))
}

#[cfg(not(target_os = "linux"))]
fn program(file: &str, _strict: bool) -> Result<Opened> {
    bail!("process:{file}: programs are confined by Linux, and run on Linux only")
}

type Opened = toolr0_tools::Result<Source>;

/// The manifest itself, or the one in a folder.
fn manifest_file(path: &str) -> String {
    match Path::new(path).is_dir() {
        true => Path::new(path).join(MANIFEST).display().to_string(),
        false => path.to_owned(),
    }
}

fn folder(file: &str) -> &Path {
    match Path::new(file).parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn manifest<T: serde::de::DeserializeOwned>(file: &str) -> Result<T> {
    serde_json::from_value(read(file)?).with_context(|| format!("{file} is no manifest of tools"))
}

/// The words of a command, as a shell would split them; quotes keep spaces.
fn words(command: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in command.chars() {
        match (quote, letter) {
            (Some(open), close) if open == close => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, space) if space.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if let Some(quote) = quote {
        bail!("{command}: the quote {quote} is not closed");
    }
    words.extend(word);
    Ok(words)
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

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn a_command_is_split_as_a_shell_would() {
        let split = |text| words(text).unwrap();
        assert_eq!(split("uvx  server --zone 'New York' \"\""), ["uvx", "server", "--zone", "New York", ""]);
        assert_eq!(split("a\"b c\"d"), ["ab cd"]);
        assert!(split("  ").is_empty() && words("a 'b").is_err());
    }
}
