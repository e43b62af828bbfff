//! How often a task was solved.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Attempts of the solver on one task, of which some were right.
///
/// An attempt whose outcome is unknown (the judge crashed, a rollout timed out) is not a failure: it is not
/// counted at all. A task without any known attempt has no rate, which is not the same as a rate of zero.
///
/// # Examples
///
/// ```
/// use toolr0_curriculum::Attempts;
/// let attempts: Attempts = [Some(true), None, Some(false), Some(true)].into_iter().collect();
/// assert_eq!((attempts.solved(), attempts.tried()), (2, 3));
/// assert_eq!(Attempts::default().rate(), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Counts", into = "Counts")]
pub struct Attempts {
    solved: u32,
    tried: u32,
}

/// The unchecked form on disk.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Attempts", deny_unknown_fields)]
struct Counts {
    solved: u32,
    tried: u32,
}

impl TryFrom<Counts> for Attempts {
    type Error = Error;

    fn try_from(Counts { solved, tried }: Counts) -> Result<Self> {
        Self::new(solved, tried)
    }
}

impl From<Attempts> for Counts {
    fn from(Attempts { solved, tried }: Attempts) -> Self {
        Self { solved, tried }
    }
}

impl Attempts {
    /// `solved` right ones of `tried`.
    ///
    /// # Errors
    ///
    /// [`Error::Attempts`] if `solved > tried`.
    pub fn new(solved: u32, tried: u32) -> Result<Self> {
        if solved > tried { Err(Error::Attempts { solved, tried }) } else { Ok(Self { solved, tried }) }
    }

    /// Counts one attempt; `None` is an unknown outcome and changes nothing.
    pub fn record(&mut self, solved: Option<bool>) {
        if let Some(solved) = solved {
            self.tried += 1;
            self.solved += u32::from(solved);
        }
    }

    /// The right ones.
    pub fn solved(self) -> u32 {
        self.solved
    }

    /// All whose outcome is known, `K`.
    pub fn tried(self) -> u32 {
        self.tried
    }

    /// The success rate p-hat in 0..=1, or `None` where no outcome is known.
    pub fn rate(self) -> Option<f64> {
        (self.tried > 0).then(|| f64::from(self.solved) / f64::from(self.tried))
    }
}

impl FromIterator<Option<bool>> for Attempts {
    fn from_iter<I: IntoIterator<Item = Option<bool>>>(outcomes: I) -> Self {
        let mut attempts = Self::default();
        outcomes.into_iter().for_each(|outcome| attempts.record(outcome));
        attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_is_neither_solved_nor_tried() {
        let all: Attempts = [None, None].into_iter().collect();
        assert_eq!((all, all.rate()), (Attempts::default(), None));
        let none_solved: Attempts = [Some(false), None].into_iter().collect();
        assert_eq!(none_solved.rate(), Some(0.0));
    }

    #[test]
    fn impossible_counts_are_refused_also_when_read() {
        assert_eq!(Attempts::new(3, 2), Err(Error::Attempts { solved: 3, tried: 2 }));
        let text = serde_json::to_string(&Attempts::new(1, 2).unwrap()).unwrap();
        assert_eq!(text, r#"{"solved":1,"tried":2}"#);
        assert_eq!(serde_json::from_str::<Attempts>(&text).unwrap(), Attempts::new(1, 2).unwrap());
        let err = serde_json::from_str::<Attempts>(r#"{"solved":3,"tried":2}"#).unwrap_err();
        assert!(err.to_string().contains("3 solved of 2 attempts"), "{err}");
    }
}
