//! Ctrl-C: once to end at the next step boundary, twice to end now.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

/// What shells call a program that was interrupted: 128 and the number of the signal.
pub(crate) const INTERRUPTED: u8 = 130;

/// Whether somebody asked for an end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens for Ctrl-C from here on.
    pub(crate) fn listen() -> Result<Self> {
        let stop = Self::default();
        let flag = stop.clone();
        let heard = move || {
            if flag.0.swap(true, Ordering::SeqCst) {
                std::process::exit(i32::from(INTERRUPTED));
            }
            // If stderr is closed, the first Ctrl-C works all the same.
            let _ = writeln!(
                std::io::stderr(),
                "\nending at the next step boundary; Ctrl-C again to end at once"
            );
        };
        ctrlc::set_handler(heard).context("failed to listen for Ctrl-C")?;
        Ok(stop)
    }

    /// The same for what leaves nothing behind: the first Ctrl-C says nothing.
    pub(crate) fn silent() -> Result<Self> {
        let stop = Self::default();
        let flag = stop.clone();
        ctrlc::set_handler(move || flag.0.store(true, Ordering::SeqCst))
            .context("failed to listen for Ctrl-C")?;
        Ok(stop)
    }

    /// Whether Ctrl-C was pressed.
    pub(crate) fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
