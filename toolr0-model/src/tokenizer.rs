//! Text to token ids and back.
//!
//! A thin layer over the `tokenizers` crate that fixes the choices this project makes everywhere: no
//! special tokens are added (the chat template writes them out), but those that stand in the text are
//! recognised; nothing is truncated or padded; and a tokenizer is checked against its model before use.

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A tokenizer as it lies in a checkpoint's `tokenizer.json`.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    json: String,
    path: PathBuf,
    largest: (u32, String),
}

impl Tokenizer {
    /// Reads `tokenizer.json` in `dir`.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if there is none, [`Error::Tokenizer`] if it is not a tokenizer.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("tokenizer.json");
        let json = std::fs::read_to_string(&path).map_err(Error::read(&path))?;
        Self::from_json(json, &path)
    }

    /// Takes the text of a `tokenizer.json`. `path` is only named in errors.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if it is not a tokenizer, or has no tokens.
    pub fn from_json(json: impl Into<String>, path: &Path) -> Result<Self> {
        let json = json.into();
        let bad = |reason: String| Error::Tokenizer { path: path.into(), reason };
        let mut inner = tokenizers::Tokenizer::from_bytes(&json).map_err(|error| bad(error.to_string()))?;
        // A file may carry the limits of somebody's last call; they are no part of the vocabulary.
        inner.with_truncation(None).map_err(|error| bad(error.to_string()))?.with_padding(None);
        let largest = inner.get_vocab(true).into_iter().map(|(token, id)| (id, token)).max();
        let largest = largest.ok_or_else(|| bad("has no tokens".into()))?;
        Ok(Self { inner, json, path: path.into(), largest })
    }

    /// The text of the `tokenizer.json` this came from, unchanged, to be saved with a checkpoint.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// One more than the largest id.
    pub fn n_ids(&self) -> usize {
        self.largest.0 as usize + 1
    }

    /// The id of a token, special or not, by its spelling in the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The spelling of a token in the vocabulary (byte-level spelling, where the model uses it).
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Checks that every id has a row in the model's embedding. A model may have rows to spare.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] naming the token that does not fit.
    pub fn check_fits(&self, config: &ModelConfig) -> Result<()> {
        let (id, token) = &self.largest;
        if (*id as usize) < config.vocab_size {
            return Ok(());
        }
        let rows = config.vocab_size;
        Err(self.bad(format!("has token `{token}` with id {id}, but the model's vocab_size is {rows}")))
    }

    /// The ids of a text: no special tokens added, those in the text recognised.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if the model has no token for a piece and no unknown token either.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| self.bad(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of `ids`. `skip_special` leaves special tokens out. Bytes that are no UTF-8 become
    /// U+FFFD; an id without a token, as a model with spare rows may draw, becomes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if the file's decoder fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.inner.decode(ids, skip_special).map_err(|error| self.bad(error.to_string()))
    }

    /// Ids that end a completion: those of the config, and the tokenizer's own `eos_token`.
    pub fn eos_ids(&self, config: &ModelConfig, special: &SpecialTokens) -> Vec<u32> {
        let mut ids = config.eos_token_ids.clone();
        let own = special.get("eos_token").and_then(|token| self.id(token));
        ids.extend(own.filter(|id| !config.eos_token_ids.contains(id)));
        ids
    }

    fn bad(&self, reason: String) -> Error {
        Error::Tokenizer { path: self.path.clone(), reason }
    }
}

/// The special tokens that `tokenizer_config.json` names, by their key: `bos_token`, `eos_token`, ...
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens(std::collections::BTreeMap<String, String>);

impl SpecialTokens {
    /// The keys that transformers knows.
    const KEYS: [&str; 7] =
        ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

    /// Takes them out of a parsed `tokenizer_config.json`: each a string, or an object with `content`.
    pub fn from_config(config: &Map<String, Value>) -> Self {
        let text =
            |value: &Value| value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned);
        let found = Self::KEYS.iter().filter_map(|key| Some((key.to_string(), text(config.get(*key)?)?)));
        Self(found.collect())
    }

    /// The token under `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Keys and tokens, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, token)| (key.as_str(), token.as_str()))
    }
}

/// Decodes one completion token by token, in time linear in its length, and looks for stop strings.
///
/// A token may end within a character, and may read differently at the start of a text than after
/// another. So the last few tokens are decoded together, and a replacement character at their end is
/// held back: the next token may complete it.
#[derive(Clone, Debug, Default)]
pub struct Incremental {
    /// The last tokens.
    window: Vec<u32>,
    /// Bytes of the window's own text that were given out.
    given: usize,
    text: String,
    /// Bytes of `text` in which no stop string starts.
    searched: usize,
    skip_special: bool,
}

/// Tokens decoded together at most.
const WINDOW: usize = 16;
/// Tokens that stay in the window when it is full: more than the bytes of a character.
const CONTEXT: usize = 6;

impl Incremental {
    /// Starts an empty text. `skip_special` as in [`Tokenizer::decode`].
    pub fn new(skip_special: bool) -> Self {
        Self { skip_special, ..Self::default() }
    }

    /// Adds a token and returns the text that became certain, often none.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<&str> {
        self.window.push(id);
        let start = self.text.len();
        let both = tokenizer.decode(&self.window, self.skip_special)?;
        // A decoder that changes its mind about what was given out already adds no text.
        self.given = self.given.min(both.len());
        let settled = settled(&both).max(self.given);
        self.text.push_str(both.get(self.given..settled).unwrap_or_default());
        self.given = settled;
        if WINDOW <= self.window.len() {
            // The same bytes stay pending, however the rest of the window now reads.
            let pending = both.len() - self.given;
            self.window.drain(..self.window.len() - CONTEXT);
            let rest = tokenizer.decode(&self.window, self.skip_special)?;
            self.given = rest.len().saturating_sub(pending);
        }
        Ok(&self.text[start..])
    }

    /// Ends the text: returns what was still pending, broken characters included.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::decode`].
    pub fn finish(&mut self, tokenizer: &Tokenizer) -> Result<&str> {
        let start = self.text.len();
        let both = tokenizer.decode(&self.window, self.skip_special)?;
        self.text.push_str(both.get(self.given..).unwrap_or_default());
        self.given = both.len();
        Ok(&self.text[start..])
    }

    /// All the text so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where the first of `stops` to occur in the text starts, in bytes. Call it after every
    /// [`push`](Self::push), with the same strings: it looks at no part of the text twice.
    pub fn find_stop(&mut self, stops: &[String]) -> Option<usize> {
        let fresh = self.text.get(self.searched..)?;
        let found = stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| fresh.find(stop.as_str()));
        if let Some(offset) = found.min() {
            return Some(self.searched + offset);
        }
        let longest = stops.iter().map(String::len).max().unwrap_or(0);
        let safe = self.text.len().saturating_sub(longest.saturating_sub(1));
        self.searched = self.searched.max(self.text.floor_char_boundary(safe));
        None
    }
}

/// Bytes of `text` that the next token cannot change: all but up to three replacement characters at its
/// end, which may be the first bytes of a longer character.
fn settled(text: &str) -> usize {
    let held = text.chars().rev().take(3).take_while(|&c| c == char::REPLACEMENT_CHARACTER).count();
    text.len() - held * char::REPLACEMENT_CHARACTER.len_utf8()
}
