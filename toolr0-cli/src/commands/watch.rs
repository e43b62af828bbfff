//! `toolr0 watch`: a run in the terminal, while it goes on.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use console::Term;

use crate::args::Watch;
use crate::dashboard::picture;
use crate::run_log::RunLog;
use crate::stop::Stop;
use crate::ui::out;

/// How often the run's files and the size of the terminal are looked at.
const TICK: Duration = Duration::from_millis(250);

/// The second screen of a terminal, which leaves the first as it was.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";
const HOME: &str = "\u{1b}[H";

/// Draws until Ctrl-C, or once.
pub(crate) fn run(args: &Watch) -> Result<()> {
    let log = RunLog::open(&args.run)?;
    let term = Term::stdout();
    if args.once || !term.is_term() {
        return out(&picture(&log, 110, 40, false));
    }
    let stop = Stop::silent()?;
    out(ENTER)?;
    let ended = watch(&term, &stop, log, &args.run);
    out(LEAVE)?;
    ended
}

fn watch(term: &Term, stop: &Stop, mut log: RunLog, dir: &Path) -> Result<()> {
    let mut seen = None;
    while !stop.asked() {
        let now = (changed(dir), term.size());
        if seen != Some(now) {
            log = RunLog::open(dir).unwrap_or(log); // A moment at which it cannot be read is not its end.
            let (height, width) = now.1;
            // The last line would scroll the screen.
            let picture = picture(&log, width.clamp(20, 400), height.clamp(10, 200) - 1, true);
            out(&format!("{HOME}{picture}"))?;
            seen = Some(now);
        }
        std::thread::sleep(TICK);
    }
    Ok(())
}

/// When the run last wrote something, as far as the files say.
fn changed(dir: &Path) -> [Option<(SystemTime, u64)>; 2] {
    ["metrics.jsonl", "result.json"].map(|name| {
        let data = std::fs::metadata(dir.join(name)).ok()?;
        Some((data.modified().ok()?, data.len()))
    })
}
