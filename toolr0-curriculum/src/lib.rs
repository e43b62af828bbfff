//! Which tasks teach most now?
//!
//! A task teaches when the solver gets it right now and then: what it never solves gives no signal, and what
//! it always solves gives none either. This crate draws what the generator is asked for, measures how far each
//! candidate is from that frontier, throws duplicates out, and lays the rest in an order. It does no I/O and
//! knows only the nouns of `toolr0-tools`; random numbers come from a generator that the caller passes in, so
//! the same seed gives the same curriculum.
//!
//! Read in this order:
//!
//! - [`spec_law`]: the distribution that task specs are drawn from, which is data;
//! - [`steering`]: that distribution bent toward what is being learned;
//! - [`attempts`]: how often a task was solved, where an attempt that crashed is unknown, not failed;
//! - [`frontier`]: the reward of a difficulty, and the easy/medium/hard buckets;
//! - [`posterior`]: what is believed of a success rate after a few attempts, and when to stop asking;
//! - [`forecast`]: what a success rate will be, from the log-probability of the gold answer;
//! - [`dedup`](mod@dedup): one task per fingerprint, the best of them;
//! - [`diversity`]: whether the generator still says new things; [`coverage`]: what it was asked for and what came;
//! - [`guard`]: questions of benchmarks that nothing may be trained on;
//! - [`quota`]: how many tasks each domain and each bucket gives;
//! - [`select`](mod@select): the choice and its order, easy to hard;
//! - [`pool`]: candidates on their way through these steps, and a count of every drop by reason;
//! - [`release`]: the rules of the public release that we do not adopt, kept for comparisons with it.
#![forbid(unsafe_code)]

pub mod attempts;
pub mod coverage;
pub mod dedup;
pub mod diversity;
pub mod error;
pub mod forecast;
pub mod frontier;
pub mod guard;
mod minhash;
pub mod pool;
pub mod posterior;
pub mod quota;
pub mod release;
pub mod select;
pub mod spec_law;
pub mod steering;
mod text;

pub use attempts::Attempts;
pub use coverage::{Coverage, CoverageReport};
pub use dedup::{dedup, dedup_by, fingerprint, quality};
pub use error::{Error, Result};
pub use forecast::{Calibration, Forecast, GoldLogprobs};
pub use frontier::{Bands, Difficulty, Frontier, Shape};
pub use guard::Guard;
pub use pool::{Agree, Candidate, Drops, Funnel, Pool, verify};
pub use posterior::{LossPriorConfig, Posterior, PosteriorConfig, Worth};
pub use quota::{Domain, Mix, difficulty_targets, domain_quotas};
pub use select::{Order, Rounding, SelectConfig, Selection, select};
pub use spec_law::{Branch, MenuRange, SpecLaw, SpecTables, draw_specs};
pub use steering::{Steering, SteeringReport};
