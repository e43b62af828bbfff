//! The hot paths of training, each beside its definition.

pub mod adamw;
pub mod cuda;
pub mod grpo_loss;
pub mod token_logprobs;
