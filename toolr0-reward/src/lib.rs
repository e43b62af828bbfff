//! What do we ask a model for, what did it write, and how good is it? Text in, values out; no I/O.
//!
//! In the order of a task's life:
//!
//! - [`wire`]: the prompts of both roles, and the one parser of what they write;
//! - [`fault`]: what a model wrote badly, as data;
//! - [`mod@verify`]: is a generated task sound, and the one that was asked for? With [`grounding`]: does a value stand in
//!   the question?
//! - [`executed`]: does the gold work, and does an answer come to the same end?
//! - [`matching`]: are these the same calls? One comparator for every stage;
//! - [`verdict`]: did an answer solve its task? With [`mod@explain`]: if not, why?
//! - [`calibration`]: tasks whose verdicts are known, for whoever judges;
//! - [`reward`]: what is a completion worth, in named terms;
//! - [`score`]: completions of a file, line by line, under the profile [`Strict`](Profile::Strict) (all of the above) or
//!   [`Release`](Profile::Release);
//! - [`schema`]: whether the tools of a file that people give us are tools;
//! - [`release`]: the rules of the public release, kept for comparison;
//! - [`ast`] and [`stats`]: how benchmark answers are scored, and what a difference between two scores means;
//! - [`question`]: the exam's and the benchmarks' questions, asked and marked alike.
//!
//! # Source
//!
//! Tool-R0, arXiv:2602.21320, and its public release, whose faults are corrected here unless a name says `release`.
#![forbid(unsafe_code)]

pub mod ast;
pub mod calibration;
pub mod executed;
pub mod explain;
pub mod fault;
pub mod grounding;
pub mod matching;
pub mod question;
pub mod release;
pub mod reward;
pub mod schema;
pub mod score;
pub mod stats;
mod text;
pub mod verdict;
pub mod verify;
pub mod wire;

pub use executed::{Stage, Trial};
pub use explain::{Cause, Mistake, explain};
pub use fault::{Block, Fault};
pub use matching::{CallErrors, calls_match};
pub use question::Question;
pub use reward::{Reward, RewardConfig, generator_reward, solver_reward};
pub use score::{Profile, score_line};
pub use toolr0_tools as tools;
pub use verdict::{Verdict, judge, judge_on};
pub use verify::verify;
pub use wire::Style;
