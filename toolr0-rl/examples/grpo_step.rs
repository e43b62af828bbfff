//! GRPO on a policy of four numbers, to show the two functions every update goes through:
//! `cargo run -p toolr0-rl --example grpo_step`.
//!
//! The policy is a softmax over four actions, one of which is rewarded. A step draws a group of actions, compares
//! their rewards with each other ([`group_advantages`]) and takes the slopes of the loss ([`grpo_loss`]).
#![expect(clippy::print_stdout, reason = "an example speaks")]

use toolr0_rl::advantage::{AdvantageConfig, group_advantages};
use toolr0_rl::loss::{
    Advantages, GrpoConfig, LossInput, Window, grpo_loss, logits_gradient, logprob_and_entropy,
};

/// The action that is rewarded.
const GOOD: usize = 2;
/// Actions drawn per step.
const GROUP: usize = 8;

fn main() -> anyhow::Result<()> {
    let mut logits = vec![0.5, 0.3, -1.0, 0.0];
    let config = GrpoConfig { beta: 0.0, ..GrpoConfig::default() };
    let probability =
        |logits: &[f64], action| logprob_and_entropy(logits, action, config.temperature).0.exp();
    println!("step  reward  probability of the rewarded action");
    for step in 0..20 {
        // Draws without a random number generator: evenly spread quantiles, shifted by the golden ratio each step.
        let quantile = |i: usize| (i as f64 / GROUP as f64 + step as f64 * 0.618_034).fract();
        let actions: Vec<usize> = (0..GROUP)
            .map(|i| {
                let mut left = quantile(i);
                let passed = |action: &usize| {
                    left -= probability(&logits, *action);
                    left >= 0.0
                };
                (0..logits.len()).take_while(passed).count().min(logits.len() - 1)
            })
            .collect();
        let rewards: Vec<f64> = actions.iter().map(|action| f64::from(u8::from(*action == GOOD))).collect();
        let advantages = group_advantages(&rewards, GROUP, &AdvantageConfig::default())?;

        // A completion is one token here.
        let scored: Vec<(f64, f64)> =
            actions.iter().map(|action| logprob_and_entropy(&logits, *action, config.temperature)).collect();
        let logprobs: Vec<f64> = scored.iter().map(|(logprob, _)| *logprob).collect();
        let output = grpo_loss(
            &config,
            &LossInput {
                row_lens: &[1; GROUP],
                mask: &[true; GROUP],
                logprobs: &logprobs,
                old: None,
                reference: None,
                sampler: None,
                entropies: None,
                advantages: Advantages::Rows(&advantages),
                window: Window::default(),
            },
        )?;

        // The network side: from slopes in log-probabilities to slopes in what is trained.
        let mut gradient = vec![0.0; logits.len()];
        for (action, slope) in actions.iter().zip(&output.d_logprobs) {
            let own = logits_gradient(&logits, *action, *slope, 0.0, config.temperature);
            gradient.iter_mut().zip(own).for_each(|(sum, g)| *sum += g);
        }
        logits.iter_mut().zip(&gradient).for_each(|(w, g)| *w -= 0.5 * g);

        let mean = rewards.iter().sum::<f64>() / GROUP as f64;
        println!("{:4}  {mean:6.3}  {:.3}", step + 1, probability(&logits, GOOD));
    }
    Ok(())
}
