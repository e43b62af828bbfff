//! Cases of `group_advantages.cu`.

use toolr0_rl::advantage::{AdvantageConfig, Estimator, Scale, group_advantages as reference};
use toolr0_rl::kernels::cuda::launch::{Element, GroupScale, group_advantages};

use super::{Runner, close, decode, f32s, noise};

const SCALES: [GroupScale; 4] = [
    GroupScale::By(Scale::Group),
    GroupScale::By(Scale::Batch),
    GroupScale::By(Scale::None),
    GroupScale::LeaveOneOut,
];

pub(super) fn check(runner: &dyn Runner) -> Result<(), String> {
    for scale in SCALES {
        for n in [1, 2, 3, 4, 7, 8, 32, 33, 100, 1001, 1024] {
            let groups = if n < 100 { 65 } else { 5 };
            check_rewards(runner, &rewards(groups, n), n, scale)?;
        }
        // What cannot be scored: first, all, all but one; and the batch begins with it.
        let nan = f32::NAN;
        check_rewards(runner, &[nan, 1.0, 0.0, 0.5, nan, nan, nan, nan, nan, nan, 0.1, nan], 4, scale)?;
        check_rewards(runner, &[nan; 6], 3, scale)?;
        // Equal rewards that are no sums of powers of two teach exactly nothing.
        check_rewards(runner, &[0.1; 21], 7, scale)?;
        // A small spread on a large reward.
        let far: Vec<f32> = noise(64, 5).iter().map(|x| 1e4 + x).collect();
        check_rewards(runner, &far, 8, scale)?;
    }
    Ok(())
}

/// On the grid `k / 8` that a verifier gives, with ties, flat groups, and here and there none.
fn rewards(groups: usize, n: usize) -> Vec<f32> {
    let value = |(i, x): (usize, f32)| match (i / n % 4, i % 11) {
        (0, _) => 0.625,
        (_, 6) => f32::NAN,
        _ => (x * 8.0).round() / 8.0,
    };
    noise(groups * n, n).into_iter().enumerate().map(value).collect()
}

fn check_rewards(runner: &dyn Runner, rewards: &[f32], n: usize, scale: GroupScale) -> Result<(), String> {
    let (estimator, by) = match scale {
        GroupScale::By(by) => (Estimator::Grpo, Some(by)),
        GroupScale::LeaveOneOut => (Estimator::Rloo, None),
    };
    let config = AdvantageConfig { estimator, scale: by, ..AdvantageConfig::default() };
    let exact: Vec<f64> = rewards.iter().map(|r| f64::from(*r)).collect();
    // A group of one has nobody to be compared with; the definition refuses it as a group.
    let want = if n == 1 { vec![0.0; rewards.len()] } else { reference(&exact, n, &config).unwrap() };
    let launch = group_advantages(0, 1, (rewards.len() / n, n as u32), scale, runner.limits());
    for run in runner.run(&launch, &[f32s(rewards), vec![0xff; rewards.len() * 4]])? {
        for (i, (got, want)) in decode(Element::F32, &run[1]).iter().zip(&want).enumerate() {
            // Exact where the definition says exactly 0.
            let tolerance = if *want == 0.0 { 0.0 } else { 1e-7 + 2e-7 * want.abs() };
            close(&format!("{scale:?}, groups of {n}"), i, f64::from(*got), *want, tolerance)?;
        }
    }
    Ok(())
}
