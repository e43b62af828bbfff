//! Advantages against an independent script, and their properties.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;
use toolr0_rl::Error;
use toolr0_rl::advantage::{
    AdvantageConfig, Estimator, Rewards, RoleBaseline, Scale, advantages, group_advantages, peer_advantages,
    token_returns,
};

const NAN: f64 = f64::NAN;

fn config(estimator: Estimator) -> AdvantageConfig {
    AdvantageConfig { estimator, ..AdvantageConfig::default() }
}

fn scaled(scale: Scale) -> AdvantageConfig {
    AdvantageConfig { scale: Some(scale), ..AdvantageConfig::default() }
}

#[track_caller]
fn assert_close(name: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{name}: number of values");
    for (idx, (got, want)) in got.iter().zip(want).enumerate() {
        let gap = (got - want).abs();
        assert!(gap <= 1e-12 * want.abs().max(1.0), "{name}[{idx}]: got {got}, want {want}, gap {gap:e}");
    }
}

#[derive(Deserialize)]
struct Golden {
    format: u32,
    cases: Vec<Case>,
}

/// `null` is a rollout (or a term of one) that could not be scored.
#[derive(Deserialize)]
struct Case {
    n: usize,
    rewards: Vec<Option<f64>>,
    lengths: Vec<usize>,
    terms: Vec<Vec<Option<f64>>>,
    weights: Vec<f64>,
    want: BTreeMap<String, Vec<f64>>,
}

fn numbers(values: &[Option<f64>]) -> Vec<f64> {
    values.iter().map(|x| x.unwrap_or(NAN)).collect()
}

/// Golden file: `golden/advantages.json`, written by the script beside it.
#[test]
fn advantages_match_python() {
    let golden: Golden = serde_json::from_str(include_str!("golden/advantages.json")).unwrap();
    assert_eq!(golden.format, 1, "rerun golden/advantages.py");
    for case in &golden.cases {
        let total = numbers(&case.rewards);
        let terms: Vec<Vec<f64>> = case.terms.iter().map(|term| numbers(term)).collect();
        let terms: Vec<&[f64]> = terms.iter().map(Vec::as_slice).collect();
        for (name, want) in &case.want {
            let (config, lengths) = match name.as_str() {
                "grpo_group" => (scaled(Scale::Group), None),
                "grpo_batch" => (scaled(Scale::Batch), None),
                "grpo_none" => (scaled(Scale::None), None),
                "rloo" => (config(Estimator::Rloo), None),
                "max_rl" => (config(Estimator::MaxRl), None),
                "opo" => (config(Estimator::Opo), Some(&case.lengths[..])),
                "reinforce_plus_plus" => (config(Estimator::ReinforcePlusPlus), None),
                "reinforce_plus_plus_tokens" => {
                    (config(Estimator::ReinforcePlusPlus), Some(&case.lengths[..]))
                }
                "reinforce_plus_plus_baseline" => (config(Estimator::ReinforcePlusPlusBaseline), None),
                "reinforce_plus_plus_baseline_tokens" => {
                    (config(Estimator::ReinforcePlusPlusBaseline), Some(&case.lengths[..]))
                }
                "gdpo" => {
                    let weights = Some(case.weights.clone());
                    (AdvantageConfig { weights, ..config(Estimator::Gdpo) }, None)
                }
                _ => panic!("the golden has an estimator that nobody compares: {name}"),
            };
            let rewards = Rewards { total: &total, n: case.n, lengths, terms: &terms };
            assert_close(name, &advantages(&rewards, &config).unwrap(), want);
        }
    }
}

#[test]
fn advantages_by_hand() {
    let rewards = [1.0, 0.0, 0.0, 1.0];
    let std = (1.0f64 / 3.0).sqrt() + 1e-4; // n - 1 in the variance
    let want = [0.5 / std, -0.5 / std, -0.5 / std, 0.5 / std];
    assert_close("group", &group_advantages(&rewards, 4, &AdvantageConfig::default()).unwrap(), &want);
    let third = 2.0 / 3.0;
    let rloo = group_advantages(&rewards, 4, &config(Estimator::Rloo)).unwrap();
    assert_close("rloo", &rloo, &[third, -third, -third, third]);
    let max_rl = group_advantages(&[1.0, 0.0, 0.0, 0.0], 4, &config(Estimator::MaxRl)).unwrap();
    assert_close("max_rl", &max_rl, &[3.0, -1.0, -1.0, -1.0]);
    let hierarchical = group_advantages(&[0.7, 0.2], 1, &config(Estimator::Hierarchical)).unwrap();
    assert_eq!(hierarchical, [0.0, 0.0], "a lone member has nobody to be compared with");
    let rewards = Rewards { total: &[1.0, 0.0], n: 2, lengths: Some(&[3, 1]), terms: &[] };
    assert_eq!(advantages(&rewards, &config(Estimator::Opo)).unwrap(), [0.25, -0.75]);
}

#[test]
fn uneven_groups_go_by_key() {
    let rewards = [1.0, 5.0, 0.0, NAN, 2.0];
    assert_eq!(peer_advantages(&rewards, &[7, 3, 7, 7, 3]).unwrap(), [0.5, 1.5, -0.5, 0.0, -1.5]);
    assert!(matches!(peer_advantages(&rewards, &[1]), Err(Error::Length { name: "peers", .. })));
}

#[test]
fn a_role_is_compared_with_its_past() {
    let mut baseline = RoleBaseline::default();
    let halving = AdvantageConfig { decay: Some(0.5), ..config(Estimator::Rae) };
    // The mean moves 0, 0.5, 0.75; the unscorable reward does not move it.
    assert_eq!(baseline.advantages("solver", &[1.0, NAN, 1.0], &halving).unwrap(), [1.0, 0.0, 0.5]);
    assert_eq!((baseline.mean("solver"), baseline.mean("generator")), (0.75, 0.0));
    let json = serde_json::to_string(&baseline).unwrap();
    assert_eq!(serde_json::from_str::<RoleBaseline>(&json).unwrap(), baseline);
    let default = config(Estimator::Rae);
    assert_eq!(baseline.advantages("generator", &[1.0], &default).unwrap(), [1.0]);
    assert_close("decay .95", &[baseline.mean("generator")], &[0.05]);
    assert!(matches!(
        group_advantages(&[1.0, 0.0], 2, &default),
        Err(Error::Config { option: "estimator", .. })
    ));
}

#[test]
fn token_returns_by_hand() {
    // Returns 0.1 + 0.5 * 1.0 = 0.6 and 1.0; then 0.5 * 0.0; the last row is unscorable.
    let got = token_returns(
        &[1.0, 0.0, NAN],
        &[3, 1, 1],
        &[true, false, true, true, true],
        &[0.1, NAN, 0.0, 0.0, 0.0],
        0.5,
    );
    let (mean, n) = (1.6 / 3.0, 2.0);
    let variance = ((0.6f64 - mean).powi(2) + (1.0f64 - mean).powi(2) + mean * mean) / n;
    let white = |x: f64| (x - mean) / (variance + 1e-8).sqrt();
    assert_close("returns", &got.unwrap(), &[white(0.6), 0.0, white(1.0), white(0.0), 0.0]);
    // Without KL and discount every token of a row carries the row's whitened reward.
    let got = token_returns(&[1.0, 0.0], &[1, 1], &[true; 2], &[0.0; 2], 1.0).unwrap();
    let rows = group_advantages(&[1.0, 0.0], 2, &config(Estimator::ReinforcePlusPlus)).unwrap();
    assert_close("rows", &got, &rows);
    assert!(token_returns(&[1.0], &[1], &[true], &[0.0], 1.5).is_err());
    assert!(token_returns(&[1.0], &[2], &[true], &[0.0], 1.0).is_err());
    assert!(token_returns(&[1.0], &[1], &[true], &[NAN], 1.0).is_err());
}

#[test]
fn rewards_that_form_no_groups_are_errors() {
    let grpo = AdvantageConfig::default();
    for (rewards, n) in [(&[1.0, 0.0, 1.0][..], 2), (&[1.0][..], 1), (&[][..], 0)] {
        assert!(
            matches!(group_advantages(rewards, n, &grpo), Err(Error::GroupSize { .. })),
            "{rewards:?} by {n}"
        );
    }
    assert_eq!(group_advantages(&[], 4, &grpo).unwrap(), Vec::<f64>::new());
    let infinite = group_advantages(&[1.0, f64::INFINITY], 2, &grpo);
    assert!(matches!(infinite, Err(Error::NonFinite { name: "rewards", idx: 1, .. })));
    assert!(matches!(group_advantages(&[1.0, 0.0], 2, &config(Estimator::Opo)), Err(Error::Missing { .. })));
    assert!(matches!(group_advantages(&[1.0, 0.0], 2, &config(Estimator::Gdpo)), Err(Error::Missing { .. })));
}

#[test]
fn an_option_without_effect_is_an_error() {
    for (json, option) in [
        (r#"{"estimator": "rloo", "scale": "none"}"#, "scale"),
        (r#"{"estimator": "grpo", "weights": [1.0]}"#, "weights"),
        (r#"{"estimator": "grpo", "decay": 0.9}"#, "decay"),
        (r#"{"estimator": "rae", "decay": 1.0}"#, "decay"),
    ] {
        let config: AdvantageConfig = serde_json::from_str(json).unwrap();
        let error = config.check().expect_err(json).to_string();
        assert!(error.contains(option), "{json}: {error}");
    }
    assert!(serde_json::from_str::<AdvantageConfig>(r#"{"scale_rewards": "none"}"#).is_err());
}

/// Every estimator that looks at total rewards alone and compares within groups.
const GROUPED: [Estimator; 4] =
    [Estimator::Grpo, Estimator::Rloo, Estimator::ReinforcePlusPlusBaseline, Estimator::Hierarchical];

fn every_grouped() -> Vec<AdvantageConfig> {
    let mut all: Vec<_> = GROUPED.into_iter().map(config).collect();
    all.extend([scaled(Scale::Batch), scaled(Scale::None)]);
    all
}

/// `(rewards, n)`: 1 to 5 groups of 2 to 8 rollouts, rewards on the grid `k / 8` a verifier really gives, so
/// that ties and flat groups are common; now and then one is unscorable.
fn groups() -> impl Strategy<Value = (Vec<f64>, usize)> {
    (2usize..9, 1usize..6).prop_flat_map(|(n, g)| {
        let reward = (-8i8..=8, prop::bool::weighted(0.1));
        let reward = reward.prop_map(|(k, unscorable)| if unscorable { NAN } else { f64::from(k) / 8.0 });
        (prop::collection::vec(reward, n * g), Just(n))
    })
}

proptest! {
    /// Not even in the last bit: rewards are centred before they are summed.
    #[test]
    fn a_constant_bonus_changes_nothing((rewards, n) in groups(), bonus in -4i8..=4) {
        let moved: Vec<f64> = rewards.iter().map(|r| r + f64::from(bonus)).collect();
        for config in every_grouped() {
            let (want, got) = (group_advantages(&rewards, n, &config), group_advantages(&moved, n, &config));
            prop_assert_eq!(want.unwrap(), got.unwrap(), "{:?}", config);
        }
    }

    #[test]
    fn a_flat_group_gets_exactly_zero((mut rewards, n) in groups(), reward in -3.0..3.0) {
        rewards[..n].fill(reward);
        for config in every_grouped() {
            prop_assert_eq!(&group_advantages(&rewards, n, &config).unwrap()[..n], &vec![0.0; n][..]);
        }
        let max_rl = group_advantages(&rewards, n, &config(Estimator::MaxRl)).unwrap();
        prop_assert_eq!(&max_rl[..n], &vec![0.0; n][..]);
        let lengths: Vec<usize> = (0..rewards.len()).collect();
        for estimator in [Estimator::Opo, Estimator::ReinforcePlusPlusBaseline, Estimator::Gdpo] {
            let rewards = Rewards { total: &rewards, n, lengths: Some(&lengths), terms: &[&rewards, &rewards] };
            prop_assert_eq!(&advantages(&rewards, &config(estimator)).unwrap()[..n], &vec![0.0; n][..]);
        }
    }

    /// An unscorable rollout gets 0, and the others what they would get without it.
    #[test]
    fn an_unscorable_rollout_leaves_no_trace((rewards, n) in groups(), at in 0usize..8) {
        let mut group = rewards[..n].to_vec();
        group[at % n] = NAN;
        let rest: Vec<f64> = group.iter().copied().filter(|r| !r.is_nan()).collect();
        prop_assume!(rest.len() >= 2);
        for config in every_grouped() {
            let got = group_advantages(&group, n, &config).unwrap();
            prop_assert_eq!(got[at % n], 0.0);
            let scored: Vec<f64> = group.iter().zip(&got).filter(|(r, _)| !r.is_nan()).map(|(_, a)| *a).collect();
            prop_assert_eq!(scored, group_advantages(&rest, rest.len(), &config).unwrap());
        }
    }

    /// A verifier that fails on one rollout of every group leaves the others' advantages as if those rollouts had never
    /// been: to the last bit, under every estimator of a run.
    #[test]
    fn failed_verifiers_leave_no_trace((mut rewards, n) in groups(), at in prop::collection::vec(0usize..8, 5)) {
        prop_assume!(3 <= n);
        let failed = |i: usize| i % n == at[i / n] % n;
        (0..rewards.len()).filter(|i| failed(*i)).for_each(|i| rewards[i] = NAN);
        let kept = |values: &[f64]| -> Vec<f64> {
            values.iter().enumerate().filter(|(i, _)| !failed(*i)).map(|(_, x)| *x).collect()
        };
        let lengths: Vec<usize> = (0..rewards.len()).map(|i| 1 + i % 7).collect();
        let (rest, rest_lengths) = (kept(&rewards), (0..lengths.len()).filter(|i| !failed(*i)).map(|i| lengths[i]).collect::<Vec<_>>());
        let whole = [Estimator::ReinforcePlusPlus, Estimator::ReinforcePlusPlusBaseline, Estimator::Opo, Estimator::MaxRl, Estimator::Gdpo];
        for config in every_grouped().into_iter().chain(whole.map(config)) {
            let of = |total: &[f64], n: usize, lengths: &[usize]| {
                advantages(&Rewards { total, n, lengths: Some(lengths), terms: &[total] }, &config).unwrap()
            };
            let got = of(&rewards, n, &lengths);
            prop_assert!((0..got.len()).filter(|i| failed(*i)).all(|i| got[i] == 0.0), "{:?}", config);
            let (got, want) = (kept(&got), of(&rest, n - 1, &rest_lengths));
            let bits = |x: &[f64]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&got), bits(&want), "{:?}", config);
        }
    }

    #[test]
    fn advantages_of_a_group_sum_to_zero((rewards, n) in groups()) {
        for config in every_grouped() {
            for group in group_advantages(&rewards, n, &config).unwrap().chunks(n) {
                prop_assert!(group.iter().sum::<f64>().abs() < 1e-9, "{:?}: {:?}", config, group);
            }
        }
    }
}
