//! The file of `eval --out`: one answer a line, and what is read back of it by `--resume`.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toolr0_model::Checkpoint;
use toolr0_reward::ast::Scores;
use toolr0_reward::{CallErrors, Fault};
use toolr0_tools::{Prompt, ToolCall};

use crate::endpoint::Endpoint;
use crate::run_dir::Log;

/// One line.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    /// What the answer depends on: model, settings, prompt.
    pub(super) key: &'a str,
    pub(super) model: &'a str,
    pub(super) suite: &'a str,
    pub(super) split: &'a str,
    pub(super) id: String,
    pub(super) sample: usize,
    pub(super) solved: bool,
    /// What was written; `null` where the question could not be asked.
    pub(super) completion: Option<&'a str>,
    pub(super) prediction: Option<&'a [ToolCall]>,
    pub(super) fault: Option<&'a Fault>,
    pub(super) errors: CallErrors,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(super) scores: Option<&'a Scores>,
}

/// What is read back: marks are made again from the text.
#[derive(Deserialize)]
struct Known {
    key: String,
    sample: usize,
    completion: Option<String>,
}

/// Answers on disk.
pub(super) struct Answers {
    log: Option<Log>,
    known: HashMap<(String, usize), Option<String>>,
    used: HashSet<(String, usize)>,
    path: String,
}

impl Answers {
    /// A new file, or with `resume` one that may hold answers already; half a line at its end is cut off.
    pub(super) fn open(path: Option<&Path>, resume: bool) -> Result<Self> {
        let mut answers = Self {
            log: None,
            known: HashMap::new(),
            used: HashSet::new(),
            path: path.map_or_else(String::new, |path| path.display().to_string()),
        };
        let Some(path) = path else { return Ok(answers) };
        if !resume {
            if path.exists() {
                bail!(
                    "{0} exists already; choose another file with --out, or go on with --resume",
                    answers.path
                );
            }
            answers.log = Some(Log::create(path)?);
            return Ok(answers);
        }
        let (log, text) = Log::resume(path)?;
        for (line, number) in text.lines().zip(1..) {
            let known: Known = serde_json::from_str(line).with_context(|| {
                format!("{}, line {number}: this is no answer of `toolr0 eval`", answers.path)
            })?;
            answers.known.insert((known.key, known.sample), known.completion);
        }
        answers.log = Some(log);
        Ok(answers)
    }

    /// The answer of an earlier sitting, if there is one.
    pub(super) fn take(&mut self, key: &str, sample: usize) -> Option<String> {
        let place = (key.to_owned(), sample);
        let text = self.known.get(&place)?.clone()?;
        self.used.insert(place);
        Some(text)
    }

    /// Writes a line, unless it is there from an earlier sitting.
    pub(super) fn push(&mut self, line: &Line<'_>) -> Result<()> {
        let place = (line.key.to_owned(), line.sample);
        if self.known.contains_key(&place) {
            self.used.insert(place);
            return Ok(());
        }
        Ok(self.log.as_mut().map_or(Ok(()), |log| log.push(line).map(drop))?)
    }

    /// A warning about lines that nothing asked for.
    pub(super) fn unused(&self) -> Option<String> {
        let n = self.known.len() - self.used.len();
        let path = &self.path;
        (0 < n).then(|| {
            format!("{n} lines of {path} are of other models, questions or settings, and were left out")
        })
    }
}

/// A name for what a served model answers under these settings: where it is and what it is called stand for its weights.
pub(super) fn outside_fingerprint(endpoint: &Endpoint, settings: &serde_json::Value) -> String {
    let name = format!("{} {} {settings}", endpoint.url(), endpoint.model());
    hex(&Sha256::digest(name))
}

/// A name for what a model answers under these settings. Of each tensor the first values count: training moves all.
pub(super) fn fingerprint(model: &Checkpoint, settings: &serde_json::Value) -> Result<String> {
    const VALUES: usize = 64;
    let mut hash = Sha256::new();
    hash.update(settings.to_string());
    hash.update(model.tokenizer.json());
    for (name, tensor) in &model.tensors {
        hash.update(format!("{name} {:?}", tensor.dims()));
        let flat: Tensor = tensor.flatten_all()?;
        let head: Vec<f32> = flat.narrow(0, 0, flat.elem_count().min(VALUES))?.to_vec1()?;
        head.iter().for_each(|x| hash.update(x.to_le_bytes()));
    }
    Ok(hex(&hash.finalize()))
}

/// The key of one question. Two suites may ask the same, and draw their answers apart, so the name is part of it.
pub(super) fn key(fingerprint: &str, id: &str, prompt: &Prompt) -> String {
    hex(&Sha256::digest(format!("{fingerprint} {} {id}", prompt.fingerprint())))
}

fn hex(hash: &[u8]) -> String {
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
