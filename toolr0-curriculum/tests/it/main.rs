//! The crate through its public API: golden numbers of the public release, and the walk from specs to a
//! curriculum.

mod draw;
mod release_golden;
mod walk;
