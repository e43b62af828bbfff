//! One file a command.

pub(crate) mod bench;
pub(crate) mod bootstrap;
pub(crate) mod configs;
pub(crate) mod eval;
pub(crate) mod score;
pub(crate) mod selfplay;
