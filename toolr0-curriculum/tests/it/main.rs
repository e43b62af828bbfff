//! The crate through its public API: golden numbers of the public release, and the walk from specs to a
//! curriculum.

mod corrections;
mod draw;
mod hostile;
mod posterior;
mod release_golden;
mod walk;
