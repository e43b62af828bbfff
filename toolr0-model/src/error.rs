//! What can go wrong between a folder on disk and a token out of the model.
//!
//! Every variant names the file, and the key or tensor in it, so that the message alone is enough to
//! mend the input. Text that a *model* wrote badly never becomes an [`Error`]: that is data.

use std::path::{Path, PathBuf};

/// Result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure, with the file and the key or tensor it is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A file could not be written; nothing half-written is left under its name.
    #[error("failed to write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A file is not the JSON it should be.
    #[error("{} is not valid JSON", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why parsing stopped.
        #[source]
        source: serde_json::Error,
    },
    /// A key of a configuration file is missing, of another type, out of range or not supported here.
    #[error("{}: `{key}` {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The key, dotted when nested.
        key: String,
        /// What was expected and what was got, fit to follow the key.
        reason: String,
    },
    /// A weight file is not a safetensors file, or is truncated.
    #[error("{} is not a whole safetensors file", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What the safetensors crate found wrong.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// A checkpoint lacks a tensor that its config asks for.
    #[error("{} lacks tensor `{name}`", path.display())]
    MissingTensor {
        /// The weight file, or the index of a sharded checkpoint.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A checkpoint holds a tensor that its config does not explain.
    #[error("{} holds tensor `{name}`, which its config does not call for", path.display())]
    UnexpectedTensor {
        /// The weight file, or the index of a sharded checkpoint.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A checkpoint has a tensor of another shape than the model's.
    #[error("{} holds `{name}` as {got:?}, expected {expected:?}", path.display())]
    Shape {
        /// The weight file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape that the config implies.
        expected: Vec<usize>,
        /// The shape in the file.
        got: Vec<usize>,
    },
    /// A tensor is stored in a type that is not a plain float.
    #[error("{} holds `{name}` as {got}, expected F32, F16 or BF16", path.display())]
    Dtype {
        /// The weight file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The type in the file.
        got: String,
    },
    /// A weight is NaN or infinite.
    #[error("{} holds `{name}` with a value that is not finite, at flat index {index}", path.display())]
    NotFinite {
        /// The weight file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Where the first such value lies in the flattened tensor.
        index: usize,
    },
    /// The config ties the output head to the embedding, but the file holds a different head.
    #[error("{} holds `{name}`, which differs from the embedding the config ties it to", path.display())]
    TiedHead {
        /// The weight file.
        path: PathBuf,
        /// The head's tensor name.
        name: String,
    },
    /// A tokenizer could not be loaded, does not fit its model, or refused a text.
    #[error("tokenizer {}: {reason}", path.display())]
    Tokenizer {
        /// The tokenizer file.
        path: PathBuf,
        /// What the tokenizers crate said, or what does not fit.
        reason: String,
    },
    /// A chat template could not be found, parsed or rendered.
    #[error("chat template {}: {reason}", path.display())]
    Template {
        /// Where the template came from.
        path: PathBuf,
        /// The message, with the template's line where known.
        reason: String,
    },
    /// A chat template called `raise_exception`: it refuses these messages.
    #[error("chat template {} refuses the messages: {message}", path.display())]
    TemplateRaised {
        /// Where the template came from.
        path: PathBuf,
        /// The template's own words.
        message: String,
    },
    /// A sampling setting is out of range.
    #[error("sampling: `{key}` {reason}")]
    Sampling {
        /// The setting.
        key: &'static str,
        /// What was expected and what was got.
        reason: String,
    },
    /// A setting of the adapters is out of range.
    #[error("lora: `{key}` {reason}")]
    Lora {
        /// The setting.
        key: &'static str,
        /// What was expected and what was got.
        reason: String,
    },
    /// A model is neither a folder nor obtainable from the hub.
    #[error("model `{model}`: {reason}")]
    Hub {
        /// The folder or hub id that was asked for.
        model: String,
        /// Why it cannot be had, and what to do.
        reason: String,
    },
    /// The tensor library failed.
    #[error("tensor operation failed")]
    Candle(#[from] candle_core::Error),
}

impl Error {
    /// Returns a closure that turns an I/O error into [`Error::Read`] of `path`, for `map_err`.
    pub(crate) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Read { path: path.into(), source }
    }

    /// Returns a closure that turns an I/O error into [`Error::Write`] of `path`, for `map_err`.
    pub(crate) fn write(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Write { path: path.into(), source }
    }

    /// Returns a closure that turns a JSON error into [`Error::Json`] of `path`, for `map_err`.
    pub(crate) fn json(path: &Path) -> impl FnOnce(serde_json::Error) -> Self + '_ {
        move |source| Self::Json { path: path.into(), source }
    }
}
