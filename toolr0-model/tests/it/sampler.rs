//! Drawing tokens: the definition against Python, the draws against the definition.

use proptest::prelude::*;
use serde::Deserialize;
use std::collections::BTreeMap;
use toolr0_model::error::Error;
use toolr0_model::rng::{Stream, uniform_f64};
use toolr0_model::sampler::{SamplingConfig, Scratch, distribution, sample};

#[derive(Deserialize)]
struct Golden {
    format: u32,
    rows: BTreeMap<String, Vec<Option<f32>>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    row: String,
    temperature: f64,
    top_k: Option<usize>,
    top_p: f64,
    min_p: f64,
    probs: Vec<f64>,
}

/// Golden file: `golden/sampler/distribution.json`, written by the script beside it.
#[test]
fn distributions_match_python() {
    let golden: Golden = serde_json::from_str(include_str!("golden/sampler/distribution.json")).unwrap();
    assert_eq!(golden.format, 1, "rerun golden/sampler/distribution.py");
    for case in &golden.cases {
        let logits: Vec<f32> =
            golden.rows[&case.row].iter().map(|x| x.unwrap_or(f32::NEG_INFINITY)).collect();
        let Case { temperature, top_k, top_p, min_p, .. } = *case;
        let config = SamplingConfig { temperature, top_k, top_p, min_p, ..Default::default() };
        config.validate().unwrap();
        for (token, (got, want)) in distribution(&logits, &config).iter().zip(&case.probs).enumerate() {
            // The script has the logits in f64, we in f32.
            assert!(
                (got - want).abs() < 1e-6,
                "{} {config:?}, token {token}: got {got}, want {want}",
                case.row
            );
        }
    }
    assert!(600 < golden.cases.len());
}

/// A row as a trained model gives it: a few likely tokens, an outlier, a long tail, ties, a banned token.
fn row(v: usize, seed: u64) -> Vec<f32> {
    let mut rng = Stream::root(seed).child("row").rng();
    let mut row: Vec<f32> =
        (0..v).map(|_| (uniform_f64(&mut rng) + uniform_f64(&mut rng)) as f32 * 3.0 - 4.0).collect();
    row[v / 2] = 3.5;
    row[v / 3] = row[v / 2];
    row[v - 1] = 2.0;
    row[0] = f32::NEG_INFINITY;
    row
}

/// P(X > x) for a chi-square of `k` degrees of freedom: the regularized upper incomplete gamma function
/// Q(k/2, x/2), by series below the mean and by continued fraction above (Numerical Recipes, 6.2).
fn chi_square_tail(x: f64, k: usize) -> f64 {
    let (a, x) = (k as f64 / 2.0, x / 2.0);
    // ln gamma(a) for a half-integer: from gamma(1/2) or gamma(1) upwards.
    let mut log_gamma = if k.is_multiple_of(2) { 0.0 } else { std::f64::consts::PI.ln() / 2.0 };
    let mut step = if k.is_multiple_of(2) { 1.0 } else { 0.5 };
    while step < a {
        log_gamma += f64::ln(step);
        step += 1.0;
    }
    let scale = (a * x.ln() - x - log_gamma).exp();
    if x < a + 1.0 {
        let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
        while 1e-16 * sum < term {
            n += 1.0;
            term *= x / n;
            sum += term;
        }
        return 1.0 - scale * sum;
    }
    let (mut b, mut c) = (x + 1.0 - a, 1e300);
    let mut d = 1.0 / b;
    let mut h = d;
    for i in 1..500 {
        let an = -f64::from(i) * (f64::from(i) - a);
        b += 2.0;
        d = 1.0 / (an * d + b);
        c = b + an / c;
        h *= d * c;
    }
    scale * h
}

#[test]
fn the_chi_square_test_itself_is_right() {
    // Tables: the 1 % points of 1, 10 and 60 degrees of freedom, and the 95 % point of 10.
    for (x, k, p) in [(6.635, 1, 0.01), (23.209, 10, 0.01), (88.379, 60, 0.01), (3.940, 10, 0.95)] {
        assert!((chi_square_tail(x, k) - p).abs() < 2e-5, "{x} {k}: {}", chi_square_tail(x, k));
    }
}

const DRAWS: usize = 20_000;

/// Draws `DRAWS` tokens and returns the p-value of their counts against `probs`; bins of fewer than five
/// expected draws are taken together. Fails at once if an impossible token is drawn.
#[track_caller]
fn p_value(logits: &[f32], config: &SamplingConfig, probs: &[f64], seed: u64) -> f64 {
    let mut rng = Stream::root(seed).child("draws").rng();
    let mut scratch = Scratch::default();
    let mut counts = vec![0u32; logits.len()];
    for _ in 0..DRAWS {
        counts[sample(logits, config, &mut rng, &mut scratch).unwrap().token as usize] += 1;
    }
    let (mut statistic, mut bins, mut rest) = (0.0, 0, (0.0, 0.0));
    for (&count, p) in counts.iter().zip(probs) {
        let expected = p * DRAWS as f64;
        assert!(0.0 < expected || count == 0, "{config:?}: drew an impossible token");
        if expected < 5.0 {
            rest = (rest.0 + expected, rest.1 + f64::from(count));
        } else {
            statistic += (f64::from(count) - expected).powi(2) / expected;
            bins += 1;
        }
    }
    if 5.0 <= rest.0 {
        statistic += (rest.1 - rest.0).powi(2) / rest.0;
        bins += 1;
    }
    // Certainty has nothing to test but the impossible tokens above.
    if bins < 2 { 1.0 } else { chi_square_tail(statistic, bins - 1) }
}

/// Every combination, on a small row and on one of many blocks.
#[test]
fn draws_follow_the_distribution() {
    let mut n_cases = 0;
    for v in [24, 150] {
        let logits = row(v, 5);
        for temperature in [0.4, 1.0, 1.8] {
            for top_k in [None, Some(1), Some(7)] {
                for top_p in [1.0, 0.8] {
                    for min_p in [0.0, 0.15] {
                        let config =
                            SamplingConfig { temperature, top_k, top_p, min_p, ..Default::default() };
                        let p = p_value(&logits, &config, &distribution(&logits, &config), 300 + n_cases);
                        assert!(0.01 < p, "v {v}, {config:?}: p = {p}");
                        n_cases += 1;
                    }
                }
            }
        }
    }
    assert_eq!(n_cases, 72);
}

/// The test has power: draws at one temperature fail against the distribution of a neighbouring one.
#[test]
fn draws_do_not_follow_another_distribution() {
    let logits = row(24, 5);
    let config = SamplingConfig { temperature: 1.0, ..Default::default() };
    let other = SamplingConfig { temperature: 1.1, ..Default::default() };
    assert!(p_value(&logits, &config, &distribution(&logits, &other), 20) < 1e-6);
}

#[test]
fn greedy_takes_the_first_maximum_and_no_random_number() {
    let mut rng = Stream::root(1).rng();
    let before = rng.clone();
    let logits = [0.5, 2.0, f32::NEG_INFINITY, 2.0, -1.0];
    let got = sample(&logits, &SamplingConfig::greedy(), &mut rng, &mut Scratch::default()).unwrap();
    assert_eq!(got.token, 1);
    assert_eq!(rng, before);
    let normalizer: f64 = [0.5f64, 2.0, 2.0, -1.0].iter().map(|x| x.exp()).sum::<f64>().ln();
    assert!((f64::from(got.logprob) - (2.0 - normalizer)).abs() < 1e-6, "{}", got.logprob);
    assert_eq!(distribution(&logits, &SamplingConfig::greedy()), [0.0, 1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn a_broken_row_is_an_error() {
    let sample = |logits: &[f32], config: &SamplingConfig| {
        sample(logits, config, &mut Stream::root(1).rng(), &mut Scratch::default())
    };
    for config in [
        SamplingConfig::greedy(),
        SamplingConfig::default(),
        SamplingConfig { top_k: Some(1), top_p: 0.5, min_p: 0.5, ..Default::default() },
    ] {
        for bad in
            [&[0.0, f32::NAN][..], &[f32::INFINITY, 0.0], &[f32::NEG_INFINITY; 3], &[f32::NAN; 20], &[]]
        {
            assert!(
                matches!(sample(bad, &config), Err(Error::Sampling { key: "logits", .. })),
                "{bad:?} {config:?}"
            );
        }
        assert_eq!(sample(&[f32::NEG_INFINITY, -1e4], &config).unwrap().token, 1);
    }
}

#[test]
fn settings_out_of_range_are_named() {
    let good = SamplingConfig::default;
    for (config, want) in [
        (SamplingConfig { temperature: -1.0, ..good() }, "temperature"),
        (SamplingConfig { temperature: f64::NAN, ..good() }, "temperature"),
        (SamplingConfig { temperature: 1e-9, ..good() }, "temperature"),
        (SamplingConfig { top_k: Some(0), ..good() }, "top_k"),
        (SamplingConfig { top_p: 0.0, ..good() }, "top_p"),
        (SamplingConfig { top_p: f64::NAN, ..good() }, "top_p"),
        (SamplingConfig { top_p: 1.1, ..good() }, "top_p"),
        (SamplingConfig { min_p: -0.1, ..good() }, "min_p"),
        (SamplingConfig { min_p: f64::NAN, ..good() }, "min_p"),
        (SamplingConfig { max_new_tokens: 0, ..good() }, "max_new_tokens"),
        (SamplingConfig { stop: vec![String::new()], ..good() }, "stop"),
    ] {
        assert!(matches!(config.validate(), Err(Error::Sampling { key, .. }) if key == want), "{config:?}");
    }
    good().validate().unwrap();
    assert!(serde_json::from_str::<SamplingConfig>(r#"{"temprature": 1}"#).is_err());
    let config: SamplingConfig = serde_json::from_str(r#"{"top_k": 5, "stop": ["a"]}"#).unwrap();
    assert_eq!(config, SamplingConfig { top_k: Some(5), stop: vec!["a".into()], ..good() });
}

fn configs() -> impl Strategy<Value = SamplingConfig> {
    let top_k = prop::option::of(1usize..60);
    let top_p = prop_oneof![Just(1.0), 0.05..1.0];
    let min_p = prop_oneof![Just(0.0), 0.0..=1.0];
    (0.1..3.0, top_k, top_p, min_p).prop_map(|(temperature, top_k, top_p, min_p)| SamplingConfig {
        temperature,
        top_k,
        top_p,
        min_p,
        ..Default::default()
    })
}

/// Logits in steps, so that ties are common, some banned, and one that is large.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    let logit = prop_oneof![8 => (-40i8..40).prop_map(|k| f32::from(k) / 8.0), 1 => Just(f32::NEG_INFINITY)];
    (prop::collection::vec(logit, 0..50), 0.0f32..9.0).prop_map(|(mut row, top)| {
        row.push(top);
        row
    })
}

proptest! {
    /// A drawn token is possible, and its log-probability is that of the whole vocabulary.
    #[test]
    fn the_logprob_ignores_the_filters(logits in logits(), config in configs(), seed in 0u64..1000) {
        let got = sample(&logits, &config, &mut Stream::root(seed).rng(), &mut Scratch::default()).unwrap();
        let probs = distribution(&logits, &config);
        prop_assert!(0.0 < probs[got.token as usize]);
        prop_assert!((probs.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let open = SamplingConfig { temperature: config.temperature, ..Default::default() };
        let want = distribution(&logits, &open)[got.token as usize].ln();
        let scale = f64::from(logits[got.token as usize]).abs() / config.temperature + 10.0;
        prop_assert!((f64::from(got.logprob) - want).abs() < 1e-6 * scale, "got {}, want {}", got.logprob, want);
    }

    /// The same stream gives the same token whatever was drawn before through the same buffers.
    #[test]
    fn scratch_carries_nothing_over(a in logits(), b in logits(), config in configs(), seed in 0u64..1000) {
        let mut scratch = Scratch::default();
        let fresh = sample(&b, &config, &mut Stream::root(seed).rng(), &mut scratch).unwrap();
        sample(&a, &config, &mut Stream::root(seed + 1).rng(), &mut scratch).unwrap();
        prop_assert_eq!(sample(&b, &config, &mut Stream::root(seed).rng(), &mut scratch).unwrap(), fresh);
    }
}
