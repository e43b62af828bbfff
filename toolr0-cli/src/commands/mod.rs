//! One file a command.

pub(crate) mod bench;
pub(crate) mod bootstrap;
pub(crate) mod chat;
pub(crate) mod configs;
pub(crate) mod eval;
pub(crate) mod export;
pub(crate) mod inspect;
pub(crate) mod replay;
pub(crate) mod score;
pub(crate) mod selfplay;
pub(crate) mod serve;
pub(crate) mod sft;
