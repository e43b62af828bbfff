//! One file a command.

pub(crate) mod ablate;
pub(crate) mod bench;
pub(crate) mod bootstrap;
pub(crate) mod chat;
pub(crate) mod configs;
pub(crate) mod crossplay;
pub(crate) mod doctor;
pub(crate) mod eval;
pub(crate) mod export;
pub(crate) mod figures;
pub(crate) mod inspect;
pub(crate) mod replay;
pub(crate) mod report;
pub(crate) mod score;
pub(crate) mod selfplay;
pub(crate) mod serve;
pub(crate) mod sft;
pub(crate) mod tools;
pub(crate) mod watch;
