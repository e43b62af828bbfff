//! The checkpoints of a run: folders that are there whole or not at all.
//!
//! ```text
//! RUN/checkpoints/001-3-solver-00010/
//!   SHA256SUMS               of every other file, as `sha256sum --check` reads it
//!   generator/, solver/      in the Hugging Face layout; with adapters, adapter/ in each in PEFT's
//!   optimizer.safetensors    both moments of every trained tensor
//!   state.json, tasks.jsonl  position, exams, what the alarms remember; the tasks of the iteration
//!   memory.json, *.minhash   all that was said, as far as it must be known again
//! ```
//!
//! A folder is filled under another name, every file and the folder itself are synced, and then it is renamed. So a
//! process may be killed, or the power fail, at any moment: what has a checkpoint's name is one.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use toolr0_model::Checkpoint;
use toolr0_model::weights::save_text;

use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::ledger::hex;
use crate::state::{Position, State};

/// The manifest of a checkpoint.
pub const MANIFEST: &str = "SHA256SUMS";
/// What the name of an unfinished or discarded folder begins with.
const HIDDEN: &str = ".tmp-";

/// The folder of a run's checkpoints, held by one process.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    keep: usize,
    /// Locked as long as the store lives; the system lets go of it when the process dies.
    _lock: File,
}

impl Store {
    /// Makes or opens the folder `root`, of whose checkpoints the newest `keep` stay, all if it is 0. What a killed
    /// process left unfinished is removed.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] if another process has it open; [`Error::Write`].
    pub fn open(root: &Path, keep: usize) -> Result<Self> {
        let write = |source| Error::Write { path: root.to_owned(), source };
        std::fs::create_dir_all(root).map_err(write)?;
        let lock = File::create(root.join(".lock")).map_err(write)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { path: root.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(write(source)),
        }
        for entry in std::fs::read_dir(root).map_err(write)? {
            let entry = entry.map_err(write)?;
            if entry.file_name().to_string_lossy().starts_with(HIDDEN) {
                std::fs::remove_dir_all(entry.path()).map_err(write)?;
            }
        }
        Ok(Self { root: root.to_owned(), keep, _lock: lock })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Writes a checkpoint of `state` and removes those that are too many.
    ///
    /// # Errors
    ///
    /// If a file cannot be written; the older checkpoints are then untouched, and nothing of the new one is left.
    pub fn save(&self, state: &State) -> Result<()> {
        let (path, temporary) = (self.path(state.position), self.hidden(state.position, "new"));
        let written = write_whole(state, &temporary).and_then(|()| {
            self.discard(state.position)?;
            std::fs::rename(&temporary, &path).map_err(|source| Error::Write { path: path.clone(), source })
        });
        if let Err(error) = written {
            // The first error is the one to report.
            let _ = std::fs::remove_dir_all(&temporary);
            return Err(error);
        }
        sync(&self.root)?;
        let all = list(&self.root)?;
        if 0 < self.keep && self.keep < all.len() {
            all[..all.len() - self.keep].iter().try_for_each(|position| self.discard(*position))?;
        }
        Ok(())
    }

    /// Whether there is a checkpoint of this position.
    pub fn holds(&self, position: Position) -> bool {
        self.path(position).exists()
    }

    /// Removes every checkpoint behind `position`, the newest first.
    ///
    /// # Errors
    ///
    /// [`Error::Write`].
    pub fn discard_after(&self, position: Position) -> Result<()> {
        list(&self.root)?.into_iter().rev().filter(|p| position < *p).try_for_each(|p| self.discard(p))
    }

    /// Where a checkpoint of this position lies.
    pub fn path(&self, position: Position) -> PathBuf {
        self.root.join(position.to_string())
    }

    fn hidden(&self, position: Position, why: &str) -> PathBuf {
        self.root.join(format!("{HIDDEN}{why}-{position}"))
    }

    /// Removes a checkpoint, if there is one, by way of another name: half a folder is no checkpoint.
    fn discard(&self, position: Position) -> Result<()> {
        let (path, hidden) = (self.path(position), self.hidden(position, "old"));
        let write = |source| Error::Write { path: path.clone(), source };
        match std::fs::rename(&path, &hidden) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            renamed => renamed.and_then(|()| std::fs::remove_dir_all(&hidden)).map_err(write),
        }
    }
}

/// Positions of the checkpoints in `root`, the oldest first; none if there is no such folder.
///
/// # Errors
///
/// [`Error::Read`] if the folder cannot be read, [`Error::Damaged`] naming what is no checkpoint of any position.
pub fn list(root: &Path) -> Result<Vec<Position>> {
    let read = |source| Error::Read { path: root.to_owned(), source };
    let entries = match std::fs::read_dir(root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(read)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(read)?.file_name().to_string_lossy().into_owned();
        match parse(&name) {
            Some(position) => found.push(position),
            None if name.starts_with('.') => {}
            None => {
                return Err(Error::Damaged { path: root.join(name), reason: "is no checkpoint".into() });
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The position that a folder is named after.
fn parse(name: &str) -> Option<Position> {
    use crate::state::Turn::{Dataset, Exam, Generator, Solver};
    let mut parts = name.split('-');
    let iteration = parts.next()?.parse().ok()?;
    let turn =
        *[Generator, Dataset, Solver, Exam].get(parts.next()?.parse::<usize>().ok()?.checked_sub(1)?)?;
    let step = parts.nth(1)?.parse().ok()?;
    let position = Position { iteration, turn, step };
    (position.to_string() == name).then_some(position)
}

/// Checks the checkpoint `dir` against its manifest, and reads it.
///
/// # Errors
///
/// [`Error::Damaged`] naming the file that is missing, too much, truncated or altered.
pub fn load(dir: &Path, config: &RunConfig, base: &Checkpoint) -> Result<State> {
    check(dir)?;
    State::load(dir, config, base)
}

/// Checks every file of `dir` against the manifest.
///
/// # Errors
///
/// [`Error::Damaged`] naming the first file that is missing, too much, truncated or altered.
pub fn check(dir: &Path) -> Result<()> {
    let manifest = dir.join(MANIFEST);
    let text = std::fs::read_to_string(&manifest).map_err(|source| Error::Damaged {
        path: manifest.clone(),
        reason: format!("cannot be read: {source}"),
    })?;
    let mut files = files(dir)?;
    files.remove(MANIFEST);
    for line in text.lines() {
        let Some((sum, name)) = line.split_once("  ") else {
            return Err(Error::Damaged { path: manifest, reason: format!("holds the line `{line}`") });
        };
        let path = dir.join(name);
        if !files.remove(name) {
            return Err(Error::Damaged { path, reason: "is in the manifest and not in the folder".into() });
        }
        if sha256(&path)? != sum {
            return Err(Error::Damaged { path, reason: "does not have the SHA-256 of its manifest".into() });
        }
    }
    match files.pop_first() {
        Some(name) => Err(Error::Damaged {
            path: dir.join(name),
            reason: "is not in the manifest of its checkpoint".into(),
        }),
        None => Ok(()),
    }
}

/// Fills `dir` with a whole checkpoint, synced.
fn write_whole(state: &State, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(|source| Error::Write { path: dir.to_owned(), source })?;
    state.save(dir)?;
    let mut manifest = String::new();
    for name in files(dir)? {
        manifest.push_str(&format!("{}  {name}\n", sha256(&dir.join(&name))?));
    }
    save_text(&dir.join(MANIFEST), &manifest)?;
    folders(dir)?.iter().try_for_each(|folder| sync(folder))
}

/// The names of all files below `dir`, with `/` between folders.
fn files(dir: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for folder in folders(dir)? {
        for entry in entries(&folder)? {
            if !entry.is_dir() {
                let name = entry.strip_prefix(dir).unwrap_or(&entry);
                let parts: Vec<_> = name.iter().map(|part| part.to_string_lossy()).collect();
                found.insert(parts.join("/"));
            }
        }
    }
    Ok(found)
}

/// `dir` and every folder below it.
fn folders(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![dir.to_owned()];
    let mut at = 0;
    while at < found.len() {
        found.extend(entries(&found[at])?.into_iter().filter(|path| path.is_dir()));
        at += 1;
    }
    Ok(found)
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = |source| Error::Read { path: dir.to_owned(), source };
    std::fs::read_dir(dir).map_err(read)?.map(|entry| Ok(entry.map_err(read)?.path())).collect()
}

/// SHA-256 of a file, hexadecimal.
///
/// # Errors
///
/// [`Error::Read`].
pub fn sha256(path: &Path) -> Result<String> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(read)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
    loop {
        match file.read(&mut buffer).map_err(read)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// Makes renames in `dir` last. Only Unix opens folders as files; elsewhere the system has to do.
fn sync(dir: &Path) -> Result<()> {
    if cfg!(unix) {
        let synced = File::open(dir).and_then(|folder| folder.sync_all());
        synced.map_err(|source| Error::Write { path: dir.to_owned(), source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Turn;

    #[test]
    fn names_are_read_back_and_others_are_not() {
        let position = Position { iteration: 12, turn: Turn::Solver, step: 40 };
        assert_eq!(parse(&position.to_string()), Some(position));
        for name in
            ["012-3-solver-40", "012-5-solver-00040", "012-3-exam-00040", "", "x", "012-3-solver-00040-1"]
        {
            assert_eq!(parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_manifest_tells_what_is_altered_missing_or_too_much() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        std::fs::create_dir(dir.join("a")).unwrap();
        std::fs::write(dir.join("a/x"), "one").unwrap();
        std::fs::write(dir.join("y"), "two").unwrap();
        let sums = |name: &str| format!("{}  {name}\n", sha256(&dir.join(name)).unwrap());
        let manifest = sums("a/x") + &sums("y");
        std::fs::write(dir.join(MANIFEST), &manifest).unwrap();
        check(dir).unwrap();
        let refused = |name: &str, words: &str| {
            let error = check(dir).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(words), "{error}");
        };
        std::fs::write(dir.join("a/x"), "onf").unwrap();
        refused("a/x", "SHA-256");
        std::fs::write(dir.join("a/x"), "on").unwrap();
        refused("a/x", "SHA-256");
        std::fs::write(dir.join("a/x"), "one").unwrap();
        std::fs::write(dir.join("z"), "").unwrap();
        refused("z", "not in the manifest");
        std::fs::remove_file(dir.join("z")).unwrap();
        std::fs::remove_file(dir.join("y")).unwrap();
        refused("y", "not in the folder");
        // Whatever byte of the manifest itself is altered.
        std::fs::write(dir.join("y"), "two").unwrap();
        for at in 0..manifest.len() {
            let mut bytes = manifest.clone().into_bytes();
            bytes[at] ^= 1;
            std::fs::write(dir.join(MANIFEST), bytes).unwrap();
            check(dir).unwrap_err();
        }
        std::fs::remove_file(dir.join(MANIFEST)).unwrap();
        refused(MANIFEST, "cannot be read");
    }
}
