//! `toolr0 configs`, `toolr0 completions`, `toolr0 man`: texts that are part of the program.

use anyhow::{Context, Result, bail};
use clap::CommandFactory;

use crate::args::{Cli, Completions, Configs, Man};
use crate::config::{CONFIGS, DEFAULT};
use crate::ui::out;

/// Lists the embedded configurations, each with its first comment, or prints one.
pub(crate) fn configs(args: &Configs) -> Result<()> {
    if args.reference {
        return out(include_str!("../../../docs/src/configuration.md"));
    }
    let Some(name) = &args.name else {
        let mut text = String::new();
        for (name, yaml) in CONFIGS {
            let about = yaml.lines().next().unwrap_or("").trim_start_matches(['#', ' ']);
            let mark = if name == DEFAULT { " (default)" } else { "" };
            text.push_str(&format!("{:24} {about}\n", format!("{name}{mark}")));
        }
        return out(&text);
    };
    let wanted = name.trim_end_matches(".yaml");
    match CONFIGS.iter().find(|(known, _)| *known == wanted) {
        Some((_, yaml)) => out(yaml),
        None => {
            let known = CONFIGS.map(|(name, _)| name).join(", ");
            bail!("there is no embedded configuration {name}; there are {known}")
        }
    }
}

/// Prints the completions of a shell.
pub(crate) fn completions(args: &Completions) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "toolr0", &mut script);
    out(&String::from_utf8_lossy(&script))
}

/// Writes one manual page for the program and one for each command.
pub(crate) fn man(args: &Man) -> Result<()> {
    let write = || {
        std::fs::create_dir_all(&args.out)?;
        clap_mangen::generate_to(Cli::command(), &args.out)
    };
    write().with_context(|| format!("failed to write manual pages to {}", args.out.display()))
}
