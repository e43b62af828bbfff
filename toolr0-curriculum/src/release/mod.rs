//! The rules of the public release of Tool-R0 that we do not adopt, kept so that our numbers can be compared
//! with its.
//!
//! Where the release and we agree there is one function for both: [`crate::Frontier::score_rate`],
//! [`crate::domain_quotas`], [`crate::difficulty_targets`], [`crate::quality`]. Here are the rest:
//!
//! - [`fingerprint`](mod@fingerprint): its duplicate keys, which join names with characters that names may hold;
//! - [`consistency`](mod@consistency): its success estimate, which sees the first call of an answer only (fault 3), and types
//!   that differ as other calls (fault 7);
//! - [`answer`]: how its cross-verification reads an answer, and the names-only key that it compares (fault 8);
//! - [`labels`]: the judge's digit (fault 6) and the one-word difficulty (fault 9);
//! - [`repetition`]: the penalty on near-equal questions of a batch, which it defines and does not use.

pub mod answer;
pub mod consistency;
pub mod fingerprint;
pub mod labels;
pub mod repetition;

pub use answer::{calls_key, names_key, parse_answer};
pub use consistency::{consistency, success_rate};
pub use fingerprint::{Fingerprints, fingerprints};
pub use labels::{difficulty_word, judge_score};
pub use repetition::repetition_penalties;

use crate::quota::Mix;

/// The release's reading of a mix: weights that sum to nothing are the default instead of an error.
pub fn mix(easy: f64, medium: f64, hard: f64) -> Mix {
    Mix::new(easy, medium, hard).unwrap_or_default()
}
