//! `toolr0 serve`: a model behind OpenAI's interface.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;

use crate::args::{Global, Serve};
use crate::model;
use crate::serve::{Limits, Setup, serve};
use crate::ui::{Screen, out};

/// Where the API key is read from.
const KEY: &str = "TOOLR0_API_KEY";

/// Serves until Ctrl-C.
pub(crate) fn run(args: &Serve, global: Global) -> Result<()> {
    let screen = Screen::new(global);
    let key = match std::env::var(KEY) {
        Ok(key) if key.trim().is_empty() => bail!("{KEY} is set and empty"),
        Ok(key) => Some(key),
        Err(std::env::VarError::NotPresent) => None,
        Err(error) => bail!("{KEY}: {error}"),
    };
    if !args.host.is_loopback() && key.is_none() {
        screen.warn(&format!("{} can be reached from elsewhere, and there is no {KEY}", args.host));
    }
    let checkpoint = model::load(&args.model, &screen)?;
    let style = model::style(&checkpoint, args.style);
    let limits = Limits {
        max_rows: args.max_rows as usize,
        max_requests: args.max_requests as usize,
        max_body: args.max_body_kib as usize * 1024,
        timeout: Duration::from_secs(args.timeout.into()),
    };
    let name = args.name.clone().unwrap_or_else(|| args.model.clone());
    let address = SocketAddr::new(args.host, args.port);
    let setup = Setup { name: name.clone(), style, address, limits, key, seed: args.seed };
    serve(&checkpoint, setup, |address| {
        let url = format!("http://{address}");
        out(&match global.json {
            true => format!("{}\n", json!({"url": url, "model": name})),
            false => format!("serving {name} at {url}\n"),
        })
    })
}
