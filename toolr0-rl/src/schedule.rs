//! How the learning rate moves over a run.

use serde::{Deserialize, Serialize};

/// What happens after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// A straight line down to the floor: the Hugging Face Trainer's default, hence the release's.
    #[default]
    Linear,
    /// Half a cosine down to the floor.
    Cosine,
    /// None.
    Constant,
}

/// A linear warm-up from 0, then a decay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// Steps of the warm-up. Default 0.
    pub warmup: u64,
    /// What follows. Default linear.
    pub decay: Decay,
    /// The floor, as a share of the peak. Default 0.
    pub floor: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { warmup: 0, decay: Decay::Linear, floor: 0.0 }
    }
}

impl Schedule {
    /// The factor on the peak rate at `step` (from 0) of `total`.
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        if step < self.warmup {
            return (step + 1) as f64 / self.warmup as f64;
        }
        let span = total.saturating_sub(self.warmup).max(1) as f64;
        let done = ((step - self.warmup) as f64 / span).min(1.0);
        let shape = match self.decay {
            Decay::Linear => 1.0 - done,
            Decay::Cosine => 0.5 + 0.5 * (std::f64::consts::PI * done).cos(),
            Decay::Constant => 1.0,
        };
        self.floor + (1.0 - self.floor) * shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_then_falls_to_the_floor() {
        let s = Schedule { warmup: 4, decay: Decay::Linear, floor: 0.1 };
        assert_eq!(s.factor(0, 14), 0.25);
        assert_eq!(s.factor(3, 14), 1.0);
        assert_eq!(s.factor(4, 14), 1.0);
        assert!((s.factor(9, 14) - 0.55).abs() < 1e-12);
        assert!((s.factor(99, 14) - 0.1).abs() < 1e-12);
        let flat = Schedule { decay: Decay::Constant, ..Schedule::default() };
        assert_eq!((flat.factor(0, 3), flat.factor(2, 3)), (1.0, 1.0));
    }
}
