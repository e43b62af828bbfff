//! The crate through its public interface.

mod import;
mod source;
