//! The directory of a run, and what lies in it.
//!
//! ```text
//! config.yaml              the resolved configuration, which `--config` reads back
//! run.json                 what else was asked for: the exam, the base by its SHA-256, when the run began
//! metrics.jsonl            one record a line: steps, datasets, exams, alarms
//! ledger.jsonl             beside each of these: weights before and after, tasks, seeds, costs (see `ledger`)
//! checkpoints/             all that `--resume` needs, of the last few moments (see `toolr0_rl::checkpoint`)
//! generator/, solver/      both models as of the last finished iteration, or of the end; adapter/ in each with rl.lora
//! iteration-N/tasks.jsonl  what the solver trained on, in that order
//! result.json              the exam before and after; written last
//! tensorboard/             the numbers of metrics.jsonl for TensorBoard
//! report.html              all of it to look at
//! ```
//!
//! Both models are written once before anything is computed: a disk that has no room for them is found out then, and
//! a run that is killed leaves whole checkpoints.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use toolr0_model::config::WeightDtype;
use toolr0_model::weights::{Tensors, save_text};
use toolr0_model::{Checkpoint, LoraConfig};
use toolr0_rl::Error;

use crate::args::HeldOut;

/// What a run was asked for beside its configuration: `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Terms {
    /// Of the program that began it.
    pub(crate) version: String,
    /// When it began, seconds since 1970: the time that chat templates which print a date are told all along.
    pub(crate) began: u64,
    /// SHA-256 of the base's weights.
    pub(crate) base: String,
    /// Which held-out set is the exam.
    pub(crate) questions: HeldOut,
    /// Whether both models of every iteration stay.
    pub(crate) keep_iterations: bool,
    /// `K`, and the share of exam questions that one of `K` samples of the base solves, once that is measured.
    pub(crate) pass_at: Option<(usize, f64)>,
}

/// Name of the file with [`Terms`].
const TERMS: &str = "run.json";

/// A directory that this run made and owns.
#[derive(Debug)]
pub(crate) struct RunDir {
    root: PathBuf,
    /// Whether the directory itself was made here, so that it may be removed.
    made: bool,
    /// Whether it holds something worth keeping.
    kept: bool,
}

impl RunDir {
    /// Refuses a path that holds anything, without touching it.
    pub(crate) fn refuse_taken(path: &Path) -> Result<()> {
        match std::fs::read_dir(path) {
            Ok(mut entries) => match entries.next() {
                Some(_) if path.join("config.yaml").exists() => {
                    bail!("{} already holds a run; choose another with --out", path.display())
                }
                Some(_) => bail!("{} is not empty; choose another directory with --out", path.display()),
                None => Ok(()),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).with_context(|| format!("{} cannot be a run directory", path.display())),
        }
    }

    /// The first `runs/SEED-N` that is free.
    pub(crate) fn next_free(seed: u64) -> PathBuf {
        let name = |n: u64| Path::new("runs").join(format!("{seed}-{n}"));
        (1..).map(name).find(|path| !path.exists()).expect("there are more numbers than directories")
    }

    /// Makes the directory. Dropped before [`RunDir::keep`], it is removed again with all that is in it.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        Self::refuse_taken(path)?;
        let made = !path.exists();
        std::fs::create_dir_all(path).with_context(|| format!("failed to make {}", path.display()))?;
        Ok(Self { root: path.to_owned(), made, kept: false })
    }

    /// Opens the directory of a run that was begun, and what it was asked for.
    pub(crate) fn open(path: &Path) -> Result<(Self, Terms)> {
        for name in ["config.yaml", TERMS] {
            if !path.join(name).exists() {
                bail!("{} holds no run that could go on: there is no {name} in it", path.display());
            }
        }
        let file = path.join(TERMS);
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
        let terms = serde_json::from_str(&text)
            .with_context(|| format!("{} is not what was written", file.display()))?;
        Ok((Self { root: path.to_owned(), made: false, kept: true }, terms))
    }

    /// Writes what the run was asked for.
    pub(crate) fn terms(&self, terms: &Terms) -> Result<()> {
        Ok(self.text(TERMS, &format!("{}\n", serde_json::to_string_pretty(terms)?))?)
    }

    /// From here on the directory stays, whatever happens.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }

    /// Whether the directory stays.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    /// Writes a small file, whole or not at all.
    pub(crate) fn text(&self, name: &str, text: &str) -> Result<(), Error> {
        Ok(save_text(&self.root.join(name), text)?)
    }

    /// Writes a checkpoint, each file whole or not at all. The weights are stored as they were trained, in 32 bits.
    pub(crate) fn checkpoint(&self, name: &str, checkpoint: &Checkpoint) -> Result<(), Error> {
        Ok(checkpoint.save(&self.root.join(name), WeightDtype::F32)?)
    }

    /// Writes adapters in PEFT's layout. `base` is the model that they belong to.
    pub(crate) fn adapters(
        &self,
        name: &str,
        lora: &LoraConfig,
        adapters: &Tensors,
        base: &str,
    ) -> Result<(), Error> {
        Ok(lora.save(&self.root.join(name), adapters, base)?)
    }

    /// Writes one object a line, all or nothing.
    pub(crate) fn lines<T: Serialize>(&self, name: &str, items: &[T]) -> Result<(), Error> {
        let path = self.root.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .map_err(|source| Error::Write { path: parent.to_owned(), source })?;
        }
        let mut text = String::new();
        for item in items {
            text.push_str(&json(item, &path)?);
        }
        Ok(save_text(&path, &text)?)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // The error that led here is the one to report; what cannot be removed stays.
        let _ = match self.made {
            true => std::fs::remove_dir_all(&self.root),
            false => std::fs::read_dir(&self.root).map(|entries| {
                entries.flatten().for_each(|entry| {
                    let path = entry.path();
                    let _ = if path.is_dir() {
                        std::fs::remove_dir_all(path)
                    } else {
                        std::fs::remove_file(path)
                    };
                });
            }),
        };
    }
}

/// A file that grows by whole lines.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    len: u64,
}

impl Log {
    /// A new file; one that exists is refused.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.map_err(|source| Error::Write { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file, len: 0 })
    }

    /// A file that may exist, to be gone on with; half a line at its end, which a killed process may leave, is cut off.
    /// Returns its whole lines as well.
    pub(crate) fn resume(path: &Path) -> Result<(Self, String), Error> {
        let open = || -> std::io::Result<(File, String)> {
            let mut file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
            file.set_len(bytes.len() as u64)?;
            file.seek(SeekFrom::End(0))?;
            let text =
                String::from_utf8(bytes).map_err(|e| std::io::Error::new(ErrorKind::InvalidData, e))?;
            Ok((file, text))
        };
        let (file, text) = open().map_err(|source| Error::Write { path: path.to_owned(), source })?;
        let len = text.len() as u64;
        Ok((Self { path: path.to_owned(), file, len }, text))
    }

    /// A file whose first `lines` lines count: it is made if none do, and what follows them is cut off. Returns them as
    /// well.
    pub(crate) fn cut(path: &Path, lines: usize) -> Result<(Self, String)> {
        let (mut log, mut text) = Self::resume(path)?;
        let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).take(lines).collect();
        if ends.len() < lines {
            bail!("{} has {} lines, expected at least {lines}", path.display(), ends.len());
        }
        text.truncate(ends.last().copied().unwrap_or(0));
        log.len = text.len() as u64;
        let cut = log.file.set_len(log.len).and_then(|()| log.file.seek(SeekFrom::End(0)));
        cut.with_context(|| format!("failed to write {}", path.display()))?;
        Ok((log, text))
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All lines are on disk.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.file.sync_data().map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    /// Adds one line and returns it. If the disk is full, the file ends with the line before.
    pub(crate) fn push(&mut self, item: &impl Serialize) -> Result<String, Error> {
        let line = json(item, &self.path)?;
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.flush());
        if let Err(source) = written {
            // Half a line is no record. The first error is the one to report.
            let _ = self.file.set_len(self.len).and_then(|()| self.file.seek(SeekFrom::Start(self.len)));
            return Err(Error::Write { path: self.path.clone(), source });
        }
        self.len += line.len() as u64;
        Ok(line)
    }
}

fn json(item: &impl Serialize, path: &Path) -> Result<String, Error> {
    let line = serde_json::to_string(item);
    let line = line.map_err(|e| Error::Write { path: path.to_owned(), source: e.into() })?;
    Ok(line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_removed_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let (new, old) = (home.path().join("a/new"), home.path().join("old"));
        std::fs::create_dir(&old).unwrap();
        for path in [&new, &old] {
            let dir = RunDir::create(path).unwrap();
            dir.text("config.yaml", "x").unwrap();
            dir.lines("iteration-1/tasks.jsonl", &[1, 2]).unwrap();
            assert_eq!(std::fs::read_to_string(path.join("iteration-1/tasks.jsonl")).unwrap(), "1\n2\n");
        }
        assert!(!new.exists() && old.read_dir().unwrap().next().is_none());
        let mut dir = RunDir::create(&new).unwrap();
        dir.text("config.yaml", "x").unwrap();
        dir.keep();
        drop(dir);
        let error = RunDir::create(&new).unwrap_err().to_string();
        assert!(error.contains("already holds a run"), "{error}");
        assert!(new.join("config.yaml").exists());
    }

    #[test]
    fn a_log_refuses_a_file_that_exists() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("m.jsonl");
        Log::create(&path).unwrap().push(&7).unwrap();
        assert!(Log::create(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "7\n");
    }

    #[test]
    fn a_log_goes_on_after_half_a_line() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("m.jsonl");
        let (_, text) = Log::resume(&path).unwrap();
        assert_eq!(text, "");
        std::fs::write(&path, "7\n{\"hal").unwrap();
        let (mut log, text) = Log::resume(&path).unwrap();
        assert_eq!(text, "7\n");
        log.push(&8).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "7\n8\n");
    }
}
