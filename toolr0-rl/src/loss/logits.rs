//! From slopes in log-prob and entropy to slopes in logits: the definition, against which the network side
//! is tested.

/// Log-probability of `target` and entropy of the distribution, both of `softmax(logits / temperature)`.
///
/// # Shapes and units
///
/// - `logits`: `(v,)`, `-inf` for banned tokens but not for all; `target < v`.
/// - returns nats; a banned target has `-inf`.
///
/// # Panics
///
/// If `target` is no index of `logits`.
pub fn logprob_and_entropy(logits: &[f64], target: usize, temperature: f64) -> (f64, f64) {
    let logs = log_softmax(logits, temperature);
    (logs[target], entropy(&logs))
}

/// Gradient in `logits` of `d_logprob * lp + d_entropy * H`, with `lp` and `H` as in [`logprob_and_entropy`]:
///
/// `d lp / d x_j = (1[j = target] - p_j) / T`, and `d H / d x_j = -p_j (log p_j + H) / T`.
///
/// # Shapes and units
///
/// - `logits`: `(v,)`; returns `(v,)`.
///
/// # Panics
///
/// If `target` is no index of `logits`.
///
/// # Examples
///
/// ```
/// use toolr0_rl::loss::logits_gradient;
/// assert_eq!(logits_gradient(&[0.0, 0.0], 1, 1.0, 0.0, 1.0), [-0.5, 0.5]);
/// ```
pub fn logits_gradient(
    logits: &[f64],
    target: usize,
    d_logprob: f64,
    d_entropy: f64,
    temperature: f64,
) -> Vec<f64> {
    let logs = log_softmax(logits, temperature);
    let h = entropy(&logs);
    let mut gradient: Vec<f64> = logs
        .iter()
        .map(|&log| {
            let p = log.exp();
            // p log p tends to 0 with p; the product would be NaN for a banned token.
            let d_h = if p > 0.0 { -p * (log + h) } else { 0.0 };
            (-d_logprob * p + d_entropy * d_h) / temperature
        })
        .collect();
    gradient[target] += d_logprob / temperature;
    gradient
}

fn log_softmax(logits: &[f64], temperature: f64) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|x| ((x - max) / temperature).exp()).sum();
    logits.iter().map(|x| (x - max) / temperature - sum.ln()).collect()
}

fn entropy(logs: &[f64]) -> f64 {
    -logs.iter().filter(|log| **log > f64::NEG_INFINITY).map(|log| log.exp() * log).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let logits = [2.0, -1.0, 0.3, 30.0, 29.0, f64::NEG_INFINITY];
        for (d_lp, d_h, temperature) in [(1.0, 0.0, 1.0), (0.0, 1.0, 0.7), (-0.6, 0.2, 1.7)] {
            let value = |logits: &[f64]| {
                let (lp, h) = logprob_and_entropy(logits, 4, temperature);
                d_lp * lp + d_h * h
            };
            let got = logits_gradient(&logits, 4, d_lp, d_h, temperature);
            for (idx, got) in got.iter().enumerate() {
                let step = 1e-5;
                let (mut up, mut down) = (logits, logits);
                up[idx] += step;
                down[idx] -= step;
                let want = (value(&up) - value(&down)) / (2.0 * step);
                assert!((got - want).abs() < 1e-8, "logit {idx}: got {got}, want {want}");
            }
        }
    }

    #[test]
    fn certainty_has_no_entropy() {
        assert_eq!(logprob_and_entropy(&[5.0], 0, 0.5), (0.0, -0.0));
        let (lp, h) = logprob_and_entropy(&[0.0, f64::NEG_INFINITY], 1, 1.0);
        assert_eq!((lp, h), (f64::NEG_INFINITY, -0.0));
    }
}
