//! What happens when a call runs: a [`Sandbox`] takes a call, a [`State`] and [`Limits`], and gives an [`Outcome`].
//!
//! A call that cannot run is no error of ours: it is an [`End`] among others, to be counted and paid like any other.

use serde::Serialize;
use serde_json::Value;

use crate::schema::{Coercion, Refusal};
use crate::state::{Row, RowChange, State};
use crate::{ToolCall, ToolSpec};

/// Something that runs calls.
pub trait Sandbox: std::fmt::Debug + Send + Sync {
    /// What can be called.
    fn tools(&self) -> &[ToolSpec];

    /// The state that `seed` gives: the same one every time, on every machine. Empty for tools that keep none, or do not
    /// show what they keep.
    fn state(&self, _seed: u64) -> State {
        State::default()
    }

    /// What a question of this domain can speak of in that state: rows with their table.
    fn facts(&self, _domain: &str, _seed: u64) -> Vec<(&'static str, Row)> {
        Vec::new()
    }

    /// Runs one call. `state` changes only where the call ends with a [`End::Value`].
    fn run(&self, call: &ToolCall, state: &mut State, limits: &Limits) -> Outcome;
}

/// What one call may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Rows that it may look at; a worlds' deadline, which does not depend on the machine. Default 10,000.
    pub steps: u64,
    /// How large it may leave the state, bytes of JSON. Default 1 MiB.
    pub state_bytes: usize,
    /// How large its value may be, bytes of JSON. Default 64 KiB.
    pub output_bytes: usize,
    /// How long a tool outside of this program's own code may take, milliseconds by the clock. Default 2,000.
    pub millis: u64,
    /// How much memory such a tool may have, bytes. Default 256 MiB.
    pub memory_bytes: usize,
    /// Instructions of a WebAssembly tool, about one each; like `steps` the same on every machine. Default 1,000,000,000.
    pub fuel: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: 10_000,
            state_bytes: 1 << 20,
            output_bytes: 64 << 10,
            millis: 2_000,
            memory_bytes: 256 << 20,
            fuel: 1_000_000_000,
        }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It ran, and this is what it returned.
    Value(Value),
    /// It ran, and the tool says that it cannot be done: no seat is left, there is no such booking.
    ToolError(String),
    /// It was not run, because the call does not fit its tool.
    Refused(Refusal),
    /// It used up its time ([`Limits::steps`], [`Limits::millis`] or [`Limits::fuel`]).
    TimedOut,
    /// The state would have become too large, or the tool wanted more memory than it may have.
    OutOfMemory,
    /// Its value is too large.
    TooMuchOutput,
    /// The tool itself is at fault, whatever the call: it crashed, or answered in another form than it should.
    Broken(String),
}

impl End {
    /// A short label that never changes with the details, for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Value(_) => "value",
            Self::ToolError(_) => "tool_error",
            Self::Refused(_) => "refused",
            Self::TimedOut => "timed_out",
            Self::OutOfMemory => "out_of_memory",
            Self::TooMuchOutput => "too_much_output",
            Self::Broken(_) => "broken",
        }
    }

    /// What it returned, if it ended well.
    pub fn value(&self) -> Option<&Value> {
        match self {
            Self::Value(value) => Some(value),
            _ => None,
        }
    }
}

/// What a call used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Rows that it looked at.
    pub steps: u64,
    /// Size of its value, bytes of JSON.
    pub output_bytes: usize,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// What it changed; empty unless it ended with a value.
    pub changes: Vec<RowChange>,
    /// Arguments that were read as another type than they were written in, such as `"5"` for 5.
    pub coerced: Vec<Coercion>,
    /// What it used up.
    pub cost: Cost,
    /// Whether the tool is there to change something.
    pub writes: bool,
}

impl Outcome {
    /// A call that was not run.
    pub(crate) fn refused(refusal: Refusal) -> Self {
        let end = End::Refused(refusal);
        Self { end, changes: Vec::new(), coerced: Vec::new(), cost: Cost::default(), writes: false }
    }

    /// Whether the call did nothing for anybody: a tool that should change something left all as it was, or one that
    /// should tell something returned `null` or an empty list, text or object.
    pub fn is_idle(&self) -> bool {
        let empty = match self.end.value() {
            None | Some(Value::Null) => true,
            Some(Value::Array(items)) => items.is_empty(),
            Some(Value::Object(fields)) => fields.is_empty(),
            Some(Value::String(text)) => text.trim().is_empty(),
            Some(Value::Bool(_) | Value::Number(_)) => false,
        };
        if self.writes { self.changes.is_empty() } else { empty }
    }
}

/// The length of a value as JSON text, without writing it anywhere.
pub(crate) fn json_len(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}
