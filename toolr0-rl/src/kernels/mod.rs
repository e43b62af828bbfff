//! The hot paths of training, each beside its definition.

pub mod adamw;
pub mod token_logprobs;
