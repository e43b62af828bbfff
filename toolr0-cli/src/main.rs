//! Flags, config files, exit codes, printing: the only crate that speaks to people.
//!
//! - [`args`], [`config`]: what was asked for, checked once;
//! - [`commands`]: one file a command;
//! - [`device`]: where the network runs;
//! - [`base`], [`bootstrap`](mod@bootstrap): the embedded base model, and how it is made;
//! - [`model`], [`bench`](mod@bench), [`input`], [`source`](mod@source), [`endpoint`]: what is read, and who is asked;
//! - [`ui`], [`report`], [`plan`], [`run_dir`], [`ledger`]: what is shown and written;
//! - [`metrics`], [`events`]: the numbers of a run by name, and TensorBoard's files of them;
//! - [`run_log`], [`figures`](mod@figures), [`chart`], [`page`], [`dashboard`]: what a run has told, read back and drawn;
//! - [`sweep`]: grids of runs;
//! - [`mod@stop`] is Ctrl-C.

mod args;
mod base;
mod bench;
#[cfg(test)]
mod book;
#[cfg_attr(not(test), expect(dead_code, reason = "some of it is there for its own tests"))]
#[expect(
    unreachable_pub,
    reason = "its modules are written as a library is: `pub` is what they offer one another"
)]
mod bootstrap;
mod chart;
mod commands;
mod config;
mod dashboard;
mod device;
mod endpoint;
mod events;
mod figures;
mod import;
mod input;
mod ledger;
mod lessons;
mod metrics;
mod model;
mod openai;
mod page;
mod plan;
#[cfg(test)]
mod reference;
mod report;
mod run_dir;
mod run_log;
mod serve;
mod source;
mod stop;
mod sweep;
mod ui;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::args::{Cli, Command};

/// Sampling allocates many small buffers on many threads at once.
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Lets the allocator keep what is freed: every update asks again for what the last one gave back, and fresh pages from
/// the system cost training a tenth of its time.
fn keep_freed_memory() {
    /// `mi_option_purge_delay`, which the bindings have no name for; ms, -1 for never.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    #[expect(unsafe_code, reason = "the allocator's settings are C functions")]
    // SAFETY: an option that exists, and may be set at any time.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, -1);
    }
}

fn main() -> ExitCode {
    // candle's own worker threads wait for work by spinning, which on a laptop takes half of each core from those that
    // have some; all that is large enough for several threads has them from rayon.
    #[expect(unsafe_code, reason = "candle takes this setting from the environment alone")]
    // SAFETY: no other thread exists yet that could read the environment.
    unsafe {
        std::env::set_var("CANDLE_NUM_THREADS", "1");
    }
    match run(&Cli::parse()) {
        Ok(code) => code,
        // A reader such as `head` has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr is closed, the exit code has to say it all.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let global = cli.global;
    if let Some(n) = global.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(usize::from(n));
        pool.build_global().context("failed to start the worker threads")?;
    }
    if cli.command.computes() {
        device::settle(global)?;
    }
    if cli.command.trains() {
        keep_freed_memory();
    }
    match &cli.command {
        Command::Selfplay(args) => return commands::selfplay::run(args, global),
        Command::Ablate(args) => return commands::ablate::run(args, global),
        Command::Eval(args) => return commands::eval::run(args, global),
        Command::Tools(args) => return commands::tools::run(args, global),
        Command::Doctor => return commands::doctor::run(global),
        Command::Bench(args) => commands::bench::run(args, global)?,
        Command::Sft(args) => commands::sft::run(args, global)?,
        Command::Export(args) => commands::export::run(args, global)?,
        Command::Chat(args) => commands::chat::run(args, global)?,
        Command::Inspect(args) => commands::inspect::run(args, global)?,
        Command::Replay(args) => commands::replay::run(args, global)?,
        Command::Report(args) => commands::report::run(args, global)?,
        Command::Watch(args) => commands::watch::run(args)?,
        Command::Crossplay(args) => commands::crossplay::run(args, global)?,
        Command::Figures(args) => commands::figures::run(args, global)?,
        Command::Serve(args) => commands::serve::run(args, global)?,
        Command::Score(args) => commands::score::run(args)?,
        Command::Bootstrap(args) => commands::bootstrap::run(args, global)?,
        Command::Configs(args) => commands::configs::configs(args)?,
        Command::Completions(args) => commands::configs::completions(args)?,
        Command::Man(args) => commands::configs::man(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)
    };
    error.chain().any(broken)
}
