//! `toolr0 score`: the rewards of one role, offline.

use std::io::Write;

use anyhow::{Context, Result};
use toolr0_reward::score::{self, Profile, score_line};

use crate::args::{Rules, Score, Side};
use crate::input::{Lines, sink};

/// One object out for each line in, in the same order. Ends at the first line that is no line of the format.
pub(crate) fn run(args: &Score) -> Result<()> {
    let side = match args.role {
        Side::Solver => score::Side::Solver,
        Side::Generator => score::Side::Generator,
    };
    let profile = match args.profile {
        Rules::Strict => Profile::Strict,
        Rules::Release => Profile::Release,
    };
    let mut lines = Lines::open(&args.input)?;
    let mut out = sink();
    let written = |result: std::io::Result<()>| result.context("failed to write to standard output");
    // What was scored before a bad line is still written.
    let ended = loop {
        let line = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        match score_line(side, profile, &line).with_context(|| lines.place()) {
            Ok(score) => written(writeln!(out, "{score}"))?,
            Err(error) => break Err(error),
        }
    };
    written(out.flush())?;
    ended
}
