//! Tools that are programs: any that reads a call as JSON from stdin and writes its answer as JSON to stdout.
//!
//! One process a call. It gets `{"name": .., "arguments": {..}}` and end of file on stdin, and has to write
//! `{"value": ..}` or `{"error": ".."}` and exit. It has no network, no environment, no file but those of the system's
//! libraries, its own program and what the manifest names (all to read), and a scratch directory that is gone when the
//! call has ended; `confine` says how. It is killed with all that it started at its deadline, when it writes more than it
//! may, or when its scratch directory grows too large.
//!
//! Linux only.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::sandbox::{End, Limits, Outcome, Sandbox};
use crate::state::State;
use crate::toolbox::{Toolbox, read_reply};
use crate::{ToolCall, ToolSpec};
use confine::Confinement;
pub use layers::{Layer, layers};
use watch::{Watched, Why, watch};

mod confine;
mod filter;
mod layers;
mod watch;

/// Tools of one program, and how it is started.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What these tools are about, one word.
    pub name: String,
    /// The program and its arguments. A path is looked up from the manifest's folder, a bare name in `/usr/local/bin`,
    /// `/usr/bin` and `/bin`.
    pub run: Vec<String>,
    /// Files and folders that the program may read, from the manifest's folder; none by default.
    #[serde(default)]
    pub read: Vec<PathBuf>,
    /// The tools.
    pub tools: Vec<ToolSpec>,
}

/// Tools that run as confined processes.
#[derive(Debug)]
pub struct Processes {
    toolbox: Toolbox,
    program: PathBuf,
    args: Vec<String>,
    confinement: Confinement,
    scratch: PathBuf,
}

impl Processes {
    /// The tools of a manifest that lies in `folder`. Scratch directories are made in `scratch`.
    ///
    /// With `strict`, a machine that lacks a [layer](layers) of the confinement is refused; without, such a layer is left
    /// out.
    ///
    /// # Errors
    ///
    /// If the manifest names no program, no tool or a bad schema, or the machine is refused.
    pub fn new(manifest: Manifest, folder: &Path, scratch: &Path, strict: bool) -> Result<Self> {
        let missing: Vec<_> = layers().iter().filter(|layer| !layer.there).map(|layer| layer.name).collect();
        if strict && !missing.is_empty() {
            return Err(Error::Layers { missing: missing.join(", ") });
        }
        let Manifest { run, read, tools, .. } = manifest;
        let mut words = run.into_iter();
        let name = words.next().ok_or_else(|| Error::Manifest { reason: "`run` is empty".into() })?;
        let program = find(&name, folder)?;
        let read: Vec<PathBuf> = read.iter().map(|path| folder.join(path)).collect();
        let confinement = Confinement::new(&program, &read)?;
        let toolbox = Toolbox::new(tools)?;
        Ok(Self { toolbox, program, args: words.collect(), confinement, scratch: scratch.into() })
    }

    fn start(&self, call: &ToolCall, limits: &Limits) -> std::io::Result<Watched> {
        let deadline = Instant::now() + Duration::from_millis(limits.millis);
        let scratch = tempfile::Builder::new().prefix("toolr0-").tempdir_in(&self.scratch)?;
        let command = self.confinement.command(&self.program, &self.args, scratch.path(), call, limits)?;
        let watched = watch(command, scratch.path(), deadline, limits)?;
        // Said aloud, since dropping it would hide that something was left behind.
        scratch.close()?;
        Ok(watched)
    }
}

/// The program of a manifest, as an absolute path.
fn find(name: &str, folder: &Path) -> Result<PathBuf> {
    let tried = match name.contains('/') {
        true => vec![folder.join(name)],
        false => ["/usr/local/bin", "/usr/bin", "/bin"].map(|folder| Path::new(folder).join(name)).to_vec(),
    };
    let found = tried.iter().find(|path| path.is_file()).unwrap_or(&tried[0]);
    // Also follows links: the kernel holds its rules against the file that is really run.
    found.canonicalize().map_err(|source| Error::Read { path: found.clone(), source })
}

impl Sandbox for Processes {
    fn tools(&self) -> &[ToolSpec] {
        self.toolbox.specs()
    }

    fn run(&self, call: &ToolCall, _state: &mut State, limits: &Limits) -> Outcome {
        self.toolbox.run(call, limits, |call| {
            let watched = match self.start(&call, limits) {
                Ok(watched) => watched,
                Err(error) => {
                    return (End::Broken(format!("failed to run {}: {error}", self.program.display())), 0);
                }
            };
            let end = match watched.why {
                Why::Exited(status) if status.success() => read_reply(&watched.stdout),
                Why::Exited(_) if watched.starved => End::OutOfMemory,
                Why::Exited(status) => End::Broken(format!("{status}: {}", watched.last_words)),
                Why::Late => End::TimedOut,
                Why::Flood => End::TooMuchOutput,
                Why::Full => End::OutOfMemory,
            };
            (end, 0)
        })
    }
}
