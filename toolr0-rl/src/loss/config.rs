//! Which loss, with which options. Every option that the chosen loss would ignore is an error.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::terms::{Kl, Surrogate};
use crate::error::{Error, Result};

/// The policy loss: a surrogate per token and the way it is reduced to a scalar.
///
/// `l` is the per-token loss, `m` the mask, `|o|` the masked length of a row, `B` rows, `GA` accumulation steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossType {
    /// Clipped, mean over rows of the mean over tokens: `mean_i(sum_t m l / max(|o|, 1)) / GA`
    /// (DeepSeekMath, arXiv:2402.03300). The loss of the paper's scripts, hence the default.
    #[default]
    Grpo,
    /// Clipped, mean over the tokens of this micro-batch: `sum m l / max(n, 1) / GA` (TRL's `bnpo`).
    Bnpo,
    /// Clipped, divided by a constant: `sum m l / (B * max_completion_length) / GA` (Dr. GRPO, arXiv:2503.20783).
    DrGrpo,
    /// Clipped, mean over the tokens of the whole accumulation window (DAPO, arXiv:2503.14476).
    Dapo,
    /// `-sg[clamp(r)] * A * log p`, reduced as [`LossType::Dapo`] (MiniMax-M1, arXiv:2506.13585).
    Cispo,
    /// `-(4 / tau) * sigmoid(tau * (r - 1)) * A`, reduced as [`LossType::Grpo`] (SAPO, arXiv:2511.20347).
    Sapo,
    /// Clipped sequence ratio, mean over rows of the *sum* over tokens: `mean_i(sum_t m l) / GA` (LUSPO).
    Luspo,
    /// `-phi(w) * A * log p` with a detached gamma weight of the sequence ratio, reduced as [`LossType::Dapo`].
    Vespo,
    /// Clipped sequence ratio, reduced as [`LossType::Grpo`] (GSPO, arXiv:2507.18071).
    Gspo,
}

impl LossType {
    /// True for the losses that clip a ratio on both sides: `-min(r A, clamp(r) A)`.
    pub fn is_clipped(self) -> bool {
        !matches!(self, Self::Cispo | Self::Sapo | Self::Vespo)
    }
}

impl fmt::Display for LossType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grpo => "grpo",
            Self::Bnpo => "bnpo",
            Self::DrGrpo => "dr_grpo",
            Self::Dapo => "dapo",
            Self::Cispo => "cispo",
            Self::Sapo => "sapo",
            Self::Luspo => "luspo",
            Self::Vespo => "vespo",
            Self::Gspo => "gspo",
        })
    }
}

/// What one importance ratio `r` belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RatioLevel {
    /// `r_t = exp(lp_t - old_t)`.
    Token,
    /// `s_i = exp(mean_t(lp - old))`, one for the row; its gradient reaches every token of the row.
    Sequence,
    /// The value of [`RatioLevel::Sequence`], the gradient of [`RatioLevel::Token`]:
    /// `log s_it = sg[log s_i] + lp_t - sg[lp_t]` (GSPO-token, arXiv:2507.18071, section 4.3).
    SequenceToken,
}

/// The bounds of CISPO's detached weight. TRL and verl differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CispoClamp {
    /// `min(r, epsilon_high)`: the bound is the value itself, not `1 + epsilon_high` (TRL, ScaleRL).
    #[default]
    Upper,
    /// `clamp(r, 1 - epsilon_low, 1 + epsilon_high)` (verl).
    Both,
}

/// Estimator of the KL divergence from the reference, per token, with `x = lp - lp_ref`
/// (Schulman, *Approximating KL divergence*).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// `x`. As a loss its gradient is a plain log-prob gradient, of mean zero: it regularises nothing.
    K1,
    /// `x^2 / 2`, whose gradient is that of the KL on-policy.
    K2,
    /// `exp(-x) + x - 1`: positive and of low variance. TRL's only one.
    #[default]
    K3,
    /// The value of [`KlEstimator::K3`] with the gradient of [`KlEstimator::K2`] (verl's straight-through `k3+`).
    K3Plus,
}

/// One importance weight per token, or one per row (the product over its tokens).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CorrectionLevel {
    /// `rho_t = exp(old_t - sampler_t)`.
    Token,
    /// `rho_i = exp(sum_t(old - sampler))`.
    Sequence,
}

/// What happens to an importance weight out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutOfBounds {
    /// It is set to the bound (TIS).
    Truncate,
    /// It is set to zero, so its tokens leave the policy loss (MIS; ICEPOP when both bounds are given).
    Mask,
}

/// Correction for a sampler whose log-probs differ from the trainer's: the policy loss of a token is
/// multiplied by `rho = exp(old - sampler)`, bounded. The KL term is not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportanceCorrection {
    /// Per token or per row. TRL's default is `sequence`.
    pub level: CorrectionLevel,
    /// Truncate or mask. TRL's default is `mask`.
    pub out_of_bounds: OutOfBounds,
    /// Lower bound of `rho`; none by default, as in TRL.
    #[serde(default)]
    pub min: Option<f64>,
    /// Upper bound of `rho`; 3.0 by default, as in TRL.
    #[serde(default = "ImportanceCorrection::default_max")]
    pub max: Option<f64>,
}

impl ImportanceCorrection {
    fn default_max() -> Option<f64> {
        Some(3.0)
    }
}

/// Configuration of [`grpo_loss`](super::grpo_loss). An `Option` left at `None` takes the loss' own default.
///
/// Defaults are those of the Tool-R0 paper where it states one (loss, `epsilon`, `beta`), else TRL's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrpoConfig {
    /// The loss; default `grpo`, as in the paper's scripts.
    pub loss_type: LossType,
    /// Default: `sequence` for gspo and luspo, else `token`. Vespo has its own sequence weight and uses this
    /// only in the bias correction of the KL.
    pub importance_sampling_level: Option<RatioLevel>,
    /// A ratio below `1 - epsilon_low` is clipped; default .2 (the paper), 3e-4 for gspo (its paper).
    pub epsilon_low: Option<f64>,
    /// A ratio above `1 + epsilon_high` is clipped; default `epsilon_low`, 4e-4 for gspo; .28 is DAPO's
    /// clip-higher. For cispo with [`CispoClamp::Upper`] the bound itself, default 5.0 (ScaleRL).
    pub epsilon_high: Option<f64>,
    /// Upper bound of the *unclipped* ratio, so that a negative advantage cannot push without limit
    /// (INTELLECT-2, arXiv:2505.07291); above 1. Default none.
    pub delta: Option<f64>,
    /// CISPO only; default [`CispoClamp::Upper`].
    pub cispo_clamp: Option<CispoClamp>,
    /// SAPO's temperature for `A > 0`; default 1.0.
    pub sapo_temperature_pos: Option<f64>,
    /// SAPO's temperature for `A <= 0`; default 1.05.
    pub sapo_temperature_neg: Option<f64>,
    /// VESPO's power of `w` for `A >= 0`; default 2.0.
    pub vespo_k_pos: Option<f64>,
    /// VESPO's decay in `w` for `A >= 0`; default 3.0.
    pub vespo_lambda_pos: Option<f64>,
    /// VESPO's power of `w` for `A < 0`; default 3.0.
    pub vespo_k_neg: Option<f64>,
    /// VESPO's decay in `w` for `A < 0`; default 2.0.
    pub vespo_lambda_neg: Option<f64>,
    /// Weight of the KL to the reference, added per token; default .01 (the paper; its scripts use 0).
    pub beta: f64,
    /// Default k3.
    pub kl: Option<KlEstimator>,
    /// Multiplies the KL by the importance ratio, with gradient (DeepSeek-V3.2, arXiv:2512.02556); default off.
    pub use_bias_correction_kl: bool,
    /// Log-probs and entropies are those of `logits / temperature`; default 1.0 (the paper). Used where
    /// log-probs are computed, and by [`logits_gradient`](super::logits_gradient).
    pub temperature: f64,
    /// Weight of the mean token entropy, subtracted from the loss; default 0.
    pub entropy_coef: f64,
    /// Share of tokens, those of highest entropy, that stay in the policy loss and the entropy bonus, in (0, 1];
    /// default 1. The paper of the "80/20 rule" (arXiv:2506.01939) uses .2.
    pub top_entropy_quantile: f64,
    /// Default none: the sampler and the trainer share one implementation.
    pub importance_correction: Option<ImportanceCorrection>,
    /// Drops rows of negative advantage whose mean `sampler - lp` exceeds this (DeepSeek-V3.2, eq. 9); default none.
    pub off_policy_mask_threshold: Option<f64>,
    /// Micro-batches per optimiser step; default 1.
    pub accumulation_steps: usize,
    /// Dr. GRPO's constant divisor in tokens; that loss needs it and no other uses it.
    pub max_completion_length: Option<usize>,
}

impl Default for GrpoConfig {
    fn default() -> Self {
        Self {
            loss_type: LossType::Grpo,
            importance_sampling_level: None,
            epsilon_low: None,
            epsilon_high: None,
            delta: None,
            cispo_clamp: None,
            sapo_temperature_pos: None,
            sapo_temperature_neg: None,
            vespo_k_pos: None,
            vespo_lambda_pos: None,
            vespo_k_neg: None,
            vespo_lambda_neg: None,
            beta: 0.01,
            kl: None,
            use_bias_correction_kl: false,
            temperature: 1.0,
            entropy_coef: 0.0,
            top_entropy_quantile: 1.0,
            importance_correction: None,
            off_policy_mask_threshold: None,
            accumulation_steps: 1,
            max_completion_length: None,
        }
    }
}

/// A checked configuration with every default filled in.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) surrogate: Surrogate,
    pub(super) level: RatioLevel,
    pub(super) kl: Option<Kl>,
}

impl GrpoConfig {
    /// Checks ranges, and that no option is set that the chosen loss would ignore.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a value out of range; [`Error::UnusedOption`] for an option without effect;
    /// [`Error::Missing`] for Dr. GRPO without `max_completion_length`.
    pub fn check(&self) -> Result<()> {
        self.plan().map(drop)
    }

    /// True if the loss adds a KL term, so that log-probs under the reference are needed.
    pub fn needs_reference(&self) -> bool {
        self.beta != 0.0
    }

    /// True if entropies are needed: for the bonus, or to find the tokens of high entropy.
    pub fn needs_entropies(&self) -> bool {
        self.entropy_coef != 0.0 || self.top_entropy_quantile < 1.0
    }

    /// What a ratio belongs to, default filled in.
    pub fn level(&self) -> RatioLevel {
        self.importance_sampling_level.unwrap_or(match self.loss_type {
            LossType::Gspo | LossType::Luspo => RatioLevel::Sequence,
            _ => RatioLevel::Token,
        })
    }

    pub(super) fn plan(&self) -> Result<Plan> {
        self.check_unused()?;
        self.check_ranges()?;
        let kl = (self.beta != 0.0).then(|| Kl {
            beta: self.beta,
            estimator: self.kl.unwrap_or_default(),
            by_ratio: self.use_bias_correction_kl,
        });
        Ok(Plan { surrogate: self.surrogate(), level: self.level(), kl })
    }

    fn surrogate(&self) -> Surrogate {
        match self.loss_type {
            LossType::Cispo => match self.cispo_clamp.unwrap_or_default() {
                CispoClamp::Upper => Surrogate::Cispo { low: 0.0, high: self.epsilon_high.unwrap_or(5.0) },
                CispoClamp::Both => {
                    let low = self.epsilon_low.unwrap_or(0.2);
                    Surrogate::Cispo { low: 1.0 - low, high: 1.0 + self.epsilon_high.unwrap_or(low) }
                }
            },
            LossType::Sapo => Surrogate::Sapo {
                pos: self.sapo_temperature_pos.unwrap_or(1.0),
                neg: self.sapo_temperature_neg.unwrap_or(1.05),
            },
            LossType::Vespo => Surrogate::Vespo {
                pos: (self.vespo_k_pos.unwrap_or(2.0), self.vespo_lambda_pos.unwrap_or(3.0)),
                neg: (self.vespo_k_neg.unwrap_or(3.0), self.vespo_lambda_neg.unwrap_or(2.0)),
            },
            loss => {
                let gspo = loss == LossType::Gspo;
                let low = self.epsilon_low.unwrap_or(if gspo { 3e-4 } else { 0.2 });
                let high = match self.epsilon_high {
                    Some(high) => high,
                    None if gspo && self.epsilon_low.is_none() => 4e-4,
                    None => low,
                };
                Surrogate::Clip { low: 1.0 - low, high: 1.0 + high, delta: self.delta }
            }
        }
    }

    /// Refuses options that would change no number.
    fn check_unused(&self) -> Result<()> {
        let loss = self.loss_type;
        let clipped = loss.is_clipped();
        let cispo = loss == LossType::Cispo;
        let both = self.cispo_clamp == Some(CispoClamp::Both);
        let (sapo, vespo) = (loss == LossType::Sapo, loss == LossType::Vespo);
        let level = self.importance_sampling_level.is_some();
        let refuse = |option, set: bool, used: bool, user: String| match set && !used {
            true => Err(Error::UnusedOption { option, user }),
            false => Ok(()),
        };
        let by_loss = |option, set, used| refuse(option, set, used, format!("loss `{loss}`"));
        by_loss("importance_sampling_level", level, !vespo || self.use_bias_correction_kl)?;
        by_loss("cispo_clamp", self.cispo_clamp.is_some(), cispo)?;
        let upper = || "loss `cispo` with the upper clamp alone".to_owned();
        if cispo {
            refuse("epsilon_low", self.epsilon_low.is_some(), both, upper())?;
        }
        by_loss("epsilon_low", self.epsilon_low.is_some(), clipped || cispo)?;
        by_loss("epsilon_high", self.epsilon_high.is_some(), clipped || cispo)?;
        by_loss("delta", self.delta.is_some(), clipped)?;
        by_loss("sapo_temperature_pos", self.sapo_temperature_pos.is_some(), sapo)?;
        by_loss("sapo_temperature_neg", self.sapo_temperature_neg.is_some(), sapo)?;
        by_loss("vespo_k_pos", self.vespo_k_pos.is_some(), vespo)?;
        by_loss("vespo_lambda_pos", self.vespo_lambda_pos.is_some(), vespo)?;
        by_loss("vespo_k_neg", self.vespo_k_neg.is_some(), vespo)?;
        by_loss("vespo_lambda_neg", self.vespo_lambda_neg.is_some(), vespo)?;
        by_loss("max_completion_length", self.max_completion_length.is_some(), loss == LossType::DrGrpo)?;
        let no_kl = || "a loss with `beta` = 0".to_owned();
        refuse("kl", self.kl.is_some(), self.beta != 0.0, no_kl())?;
        refuse("use_bias_correction_kl", self.use_bias_correction_kl, self.beta != 0.0, no_kl())
    }

    fn check_ranges(&self) -> Result<()> {
        let loss = self.loss_type;
        let within = |option, value: Option<f64>, ok: fn(f64) -> bool, expected: &str| match value {
            Some(x) if !(x.is_finite() && ok(x)) => {
                Err(Error::Config { option, expected: expected.to_owned(), got: x.to_string() })
            }
            _ => Ok(()),
        };
        within("beta", Some(self.beta), |x| x >= 0.0, "a number >= 0")?;
        within("temperature", Some(self.temperature), |x| x > 0.0, "a number > 0")?;
        within("entropy_coef", Some(self.entropy_coef), |_| true, "a finite number")?;
        let share = "a share in (0, 1]";
        within("top_entropy_quantile", Some(self.top_entropy_quantile), |x| x > 0.0 && x <= 1.0, share)?;
        within("epsilon_low", self.epsilon_low, |x| (0.0..=1.0).contains(&x), "a number in [0, 1]")?;
        within("epsilon_high", self.epsilon_high, |x| x >= 0.0, "a number >= 0")?;
        within("delta", self.delta, |x| x > 1.0, "a number > 1")?;
        for (option, value) in [
            ("sapo_temperature_pos", self.sapo_temperature_pos),
            ("sapo_temperature_neg", self.sapo_temperature_neg),
            ("vespo_lambda_pos", self.vespo_lambda_pos),
            ("vespo_lambda_neg", self.vespo_lambda_neg),
        ] {
            within(option, value, |x| x > 0.0, "a number > 0")?;
        }
        within("vespo_k_pos", self.vespo_k_pos, |x| x >= 0.0, "a number >= 0")?;
        within("vespo_k_neg", self.vespo_k_neg, |x| x >= 0.0, "a number >= 0")?;
        within("off_policy_mask_threshold", self.off_policy_mask_threshold, |x| x >= 0.0, "a number >= 0")?;
        if self.accumulation_steps == 0 {
            let expected = "at least 1".to_owned();
            return Err(Error::Config { option: "accumulation_steps", expected, got: "0".to_owned() });
        }
        match (loss, self.max_completion_length) {
            (LossType::DrGrpo, None) => {
                return Err(Error::Missing {
                    name: "max_completion_length",
                    user: "loss `dr_grpo`".to_owned(),
                });
            }
            (_, Some(0)) => {
                let expected = "at least 1".to_owned();
                return Err(Error::Config { option: "max_completion_length", expected, got: "0".to_owned() });
            }
            _ => {}
        }
        if loss == LossType::Gspo && self.level() == RatioLevel::Token {
            return Err(Error::Config {
                option: "importance_sampling_level",
                expected: "`sequence` or `sequence_token` for loss `gspo`".to_owned(),
                got: "`token`".to_owned(),
            });
        }
        self.check_correction()
    }

    fn check_correction(&self) -> Result<()> {
        let Some(correction) = &self.importance_correction else { return Ok(()) };
        let bad = |option, expected: &str, got: String| {
            Err(Error::Config { option, expected: expected.to_owned(), got })
        };
        // TRL refuses the same: vespo folds the weights into its own sequence weight, token by token.
        if self.loss_type == LossType::Vespo && correction.level == CorrectionLevel::Sequence {
            return bad("importance_correction.level", "`token` for loss `vespo`", "`sequence`".to_owned());
        }
        let (min, max) = (correction.min.unwrap_or(0.0), correction.max.unwrap_or(f64::INFINITY));
        if !(0.0..=1.0).contains(&min) {
            return bad("importance_correction.min", "a number in [0, 1]", min.to_string());
        }
        if max.is_nan() || max < 1.0 {
            return bad("importance_correction.max", "a number >= 1", max.to_string());
        }
        Ok(())
    }
}
