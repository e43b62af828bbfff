//! How does credit become an update, and how do the two roles alternate?
//!
//! Read in this order:
//!
//! - [`selfplay`]: the turns, and the one walk that both roles take;
//! - `dataset`: how candidates become the tasks that the solver trains on;
//! - `assignment`: what one prompt of the generator asks for, with tools that are invented or given;
//! - [`record`]: what a run tells while it goes on; [`ledger`]: who taught what to whom, at what cost;
//! - [`state`], [`checkpoint`]: where a run stands, and how that is kept whole on disk;
//! - [`alarm`]: what a run watches itself by; [`memory`]: what it remembers of all that was said; [`insight`]: what the solver
//!   gets wrong; [`trust`]: judge and teacher on trial;
//! - [`policy`]: a role's language model, frozen to sample or trained;
//! - [`conversation`]: a solver that reads what its calls return, and calls again;
//! - [`answers`]: who answers where text is enough, in this process or outside of it;
//! - [`advantage`], [`loss`], [`shaping`]: from rewards to slopes, in plain `f64`;
//! - [`update`](mod@update): from slopes to new weights; with [`optim`] and [`schedule`];
//! - [`kernels`]: the hot paths, each beside its definition;
//! - [`sft`]: next-token training;
//! - [`exam`]: the held-out measurement;
//! - [`config`]: everything a run can be told.
// Launching a kernel is a promise about its arguments: `kernels::cuda` alone makes it, where there is a device.
#![cfg_attr(not(feature = "cuda"), forbid(unsafe_code))]

pub mod advantage;
pub mod alarm;
pub mod answers;
mod assignment;
mod boundary;
pub mod checkpoint;
pub mod config;
pub mod conversation;
mod dataset;
pub mod error;
pub mod exam;
pub mod gold;
pub mod insight;
pub mod kernels;
mod learn;
pub mod ledger;
pub mod loss;
pub mod memory;
pub mod optim;
pub mod policy;
mod probing;
pub mod record;
mod round;
mod said;
pub mod schedule;
pub mod selfplay;
pub mod sft;
pub mod shaping;
pub mod state;
pub mod trust;
pub mod update;

pub use answers::{Answerer, Answers, Heard};
pub use config::RunConfig;
pub use error::{Error, Result};
pub use policy::{Agent, Group, Role, Rollout, Sampler};
pub use selfplay::{Observer, SelfPlay};
