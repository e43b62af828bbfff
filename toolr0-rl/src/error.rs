//! What can go wrong between credit and update. What a model wrote badly is not here: that is data.

/// The error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value of the configuration is out of its range, or two values contradict each other.
    #[error("`{option}` is {got}, expected {expected}")]
    Config {
        /// The key of the configuration.
        option: &'static str,
        /// What would be accepted.
        expected: String,
        /// What was given.
        got: String,
    },
    /// An option is set that the chosen loss or estimator would silently ignore.
    #[error("`{option}` is set, but {user} does not use it")]
    UnusedOption {
        /// The key of the configuration.
        option: &'static str,
        /// What was chosen instead, e.g. "loss `sapo`".
        user: String,
    },
    /// The chosen configuration needs numbers that the caller did not give.
    #[error("{user} needs `{name}`, which was not given")]
    Missing {
        /// The missing input.
        name: &'static str,
        /// What needs it.
        user: String,
    },
    /// Slices that describe the same tokens, rows or rollouts differ in length.
    #[error("`{name}` holds {got} values, expected {expected}")]
    Length {
        /// The slice.
        name: &'static str,
        /// Its length by the other inputs.
        expected: usize,
        /// Its length.
        got: usize,
    },
    /// Rewards do not divide into groups of the stated size, or groups are too small for a baseline.
    #[error("{got} rewards do not form whole groups of {n} (a group baseline needs at least {least})")]
    GroupSize {
        /// Rollouts per group.
        n: usize,
        /// The smallest group that the estimator accepts.
        least: usize,
        /// Number of rewards.
        got: usize,
    },
    /// A number that takes part in the loss is infinite or not a number.
    #[error("`{name}[{idx}]` is {value}, expected a finite number")]
    NonFinite {
        /// The slice.
        name: &'static str,
        /// Index into it.
        idx: usize,
        /// The value found.
        value: f64,
    },
    /// A trainable tensor got no gradient: an operation on its path has no backward pass and dropped it.
    #[error("{n} trainable tensors got no gradient, the first is `{name}`")]
    NoGradient {
        /// How many.
        n: usize,
        /// The first of them by name.
        name: String,
    },
    /// The model's side failed.
    #[error(transparent)]
    Model(#[from] toolr0_model::Error),
    /// A curriculum setting is out of its range.
    #[error(transparent)]
    Curriculum(#[from] toolr0_curriculum::Error),
    /// Somebody outside failed too often, or refuses to answer.
    #[error("the endpoint {url} {reason}")]
    Endpoint {
        /// Where it is.
        url: String,
        /// What it does.
        reason: String,
    },
    /// Something cannot be written as JSON.
    #[error("failed to write {what} as JSON")]
    Json {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A file of the run could not be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file of a checkpoint or of the ledger is not what was written.
    #[error("{} {reason}", path.display())]
    Damaged {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it, fit to follow its name.
        reason: String,
    },
    /// Another process writes to the same run.
    #[error("another process is writing to {}", path.display())]
    InUse {
        /// The folder.
        path: std::path::PathBuf,
    },
    /// An alarm whose action is to stop, or after which there was nothing left to go back to.
    #[error("{0}")]
    Alarm(Box<crate::alarm::AlarmReport>),
    /// A file of the run could not be written.
    #[error("failed to write {}", path.display())]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
