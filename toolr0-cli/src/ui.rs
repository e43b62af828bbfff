//! What is seen while something long goes on: bars on a terminal, one line a phase elsewhere, nothing with `--quiet`.
//!
//! All of it goes to stderr; stdout is for results.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::Global;

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Bars,
    Lines,
    Silent,
}

/// Progress of one phase after the other.
#[derive(Debug)]
pub(crate) struct Screen {
    mode: Mode,
    /// Whether warnings are told.
    warns: bool,
    phase: Option<Running>,
}

#[derive(Debug)]
struct Running {
    title: String,
    bar: Option<ProgressBar>,
    n: usize,
    done: usize,
    note: String,
    clock: Instant,
}

impl Screen {
    /// As the flags and the terminal say.
    pub(crate) fn new(global: Global) -> Self {
        let mode = match (global.quiet || global.json, std::io::stderr().is_terminal()) {
            (true, _) => Mode::Silent,
            (false, true) => Mode::Bars,
            (false, false) => Mode::Lines,
        };
        Self { mode, warns: !global.quiet, phase: None }
    }

    /// Begins a phase of `n` items and ends the one before.
    pub(crate) fn begin(&mut self, title: &str, n: usize) {
        self.end();
        let bar = (self.mode == Mode::Bars).then(|| {
            // No more often than 10 times a second: a terminal costs more than a step of a tiny model.
            let bar = ProgressBar::with_draw_target(Some(n as u64), ProgressDrawTarget::stderr_with_hz(10));
            let template = "{prefix:28} {bar:24} {pos:>6}/{len:<6} {per_sec:>10} eta {eta:>4}  {wide_msg}";
            let style =
                ProgressStyle::with_template(template).expect("the template is a constant that a test draws");
            bar.set_style(style.progress_chars("=> "));
            bar.set_prefix(title.to_owned());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        self.phase = Some(Running {
            title: title.to_owned(),
            bar,
            n,
            done: 0,
            note: String::new(),
            clock: Instant::now(),
        });
    }

    /// `done` items of the phase are done. An empty note leaves the last one.
    pub(crate) fn advance(&mut self, done: usize, note: &str) {
        let Some(phase) = &mut self.phase else { return };
        phase.done = done;
        if !note.is_empty() {
            note.clone_into(&mut phase.note);
        }
        if let Some(bar) = &phase.bar {
            bar.set_position(done as u64);
            if !note.is_empty() {
                bar.set_message(note.to_owned());
            }
        }
    }

    /// Ends the phase and leaves one line of it.
    pub(crate) fn end(&mut self) {
        let Some(phase) = self.phase.take() else { return };
        if let Some(bar) = phase.bar {
            bar.finish_and_clear();
        }
        if self.mode != Mode::Silent {
            let seconds = phase.clock.elapsed().as_secs_f64();
            let rate = phase.done as f64 / seconds.max(1e-9);
            let Running { title, n, done, note, .. } = phase;
            self.say(&format!("{title:28} {done:>6}/{n:<6} {seconds:>7.1} s {rate:>8.1}/s  {note}"));
        }
    }

    /// A line for people, unless they asked for silence.
    pub(crate) fn say(&self, line: &str) {
        if self.mode != Mode::Silent {
            self.line(line);
        }
    }

    /// A warning, which `--json` does not silence.
    pub(crate) fn warn(&self, line: &str) {
        if self.warns {
            self.line(&format!("warning: {line}"));
        }
    }

    fn line(&self, line: &str) {
        let write = || {
            // Nobody is left to be told that stderr is closed.
            let _ = writeln!(std::io::stderr(), "{}", line.trim_end());
        };
        match self.phase.as_ref().and_then(|phase| phase.bar.as_ref()) {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

impl Drop for Screen {
    /// An error must not be printed into a half-drawn bar.
    fn drop(&mut self) {
        if let Some(bar) = self.phase.take().and_then(|phase| phase.bar) {
            bar.finish_and_clear();
        }
    }
}

/// Writes to stdout and flushes, so that a full disk behind a redirection is noticed here and not at exit.
pub(crate) fn out(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .context("failed to write to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_of_a_bar_is_one() {
        let mut screen = Screen { mode: Mode::Bars, warns: true, phase: None };
        screen.begin("iteration 1  solver", 3);
        screen.advance(2, "reward 0.50");
        let phase = screen.phase.as_ref().unwrap();
        assert_eq!((phase.done, phase.note.as_str()), (2, "reward 0.50"));
        assert_eq!(phase.bar.as_ref().unwrap().position(), 2);
        screen.advance(3, "");
        assert_eq!(screen.phase.as_ref().unwrap().note, "reward 0.50");
    }
}
