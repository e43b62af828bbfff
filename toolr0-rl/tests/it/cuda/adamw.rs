//! Cases of `adamw.cu`.

use half::bf16;
use toolr0_rl::kernels::adamw::{Update, reference};
use toolr0_rl::kernels::cuda::launch::{AdamWBuffers, Element, adamw, gradient_norm, norm_blocks};

use super::{Runner, close, decode, encode, f32s, noise, to_f64s};

pub(super) fn check(runner: &dyn Runner) -> Result<(), String> {
    for element in [Element::F32, Element::Bf16] {
        for n in [1, 8, 1001, 20_003] {
            for (max_norm, with_weights) in [(1e9, false), (0.5, true)] {
                check_steps(runner, element, n, max_norm, with_weights)?;
            }
        }
        not_finite(runner, element)?;
    }
    Ok(())
}

const UPDATE: Update =
    Update { lr: 0.01, beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1, grad_scale: 1.0, t: 1 };

/// Norm and update; returns `(w, m, v, weights, norm)` of every run.
#[expect(clippy::type_complexity, reason = "the buffers of an update, one by one")]
fn step(
    runner: &dyn Runner,
    element: Element,
    grads: &[f32],
    [w, m, v]: [&[f32]; 3],
    max_norm: f64,
    with_weights: bool,
    update: &Update,
) -> Result<Vec<([Vec<f32>; 3], Vec<u8>, f64)>, String> {
    let (n, limits) = (grads.len(), runner.limits());
    let partials = vec![0xff; norm_blocks(n, limits) as usize * 8];
    let encoded = encode(element, grads);
    let sums = runner.run(&gradient_norm(element, 0, 1, n, limits), &[encoded.clone(), partials])?;
    // Sums of squares from wherever the gradients begin are the same but for their last digits.
    let norm = |sums: &[u8]| to_f64s(sums).iter().sum::<f64>().sqrt();
    for sum in &sums[1..] {
        close("gradient norm", 0, norm(&sum[1]), norm(&sums[0][1]), 1e-12 * norm(&sums[0][1]))?;
    }
    let weights = with_weights.then_some(1);
    let names = AdamWBuffers { master: 0, weights, grads: 2, m: 3, v: 4, partials: 5, norm: 6 };
    let buffers = [f32s(w), vec![0; n * 2], encoded, f32s(m), f32s(v), sums[0][1].clone(), vec![0xff; 8]];
    let runs = runner.run(&adamw(element, names, n, max_norm, update, limits), &buffers)?.into_iter();
    let read = |run: super::Buffers| {
        let state = [0, 3, 4].map(|i| decode(Element::F32, &run[i]));
        (state, run[1].clone(), to_f64s(&run[6])[0])
    };
    Ok(runs.map(read).collect())
}

/// Two updates, the second from where the first one ended.
fn check_steps(
    runner: &dyn Runner,
    element: Element,
    n: usize,
    max_norm: f64,
    with_weights: bool,
) -> Result<(), String> {
    let (mut w, mut m, mut v) = (noise(n, 1), vec![0.0; n], vec![0.0; n]);
    for t in 1..=2 {
        let grads = decode(element, &encode(element, &noise(n, 10 + t)));
        let update = Update { t: t as u64, ..UPDATE };
        let norm = grads.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let scaled = Update { grad_scale: (max_norm / (norm + 1e-6)).min(1.0), ..update };
        let runs = step(runner, element, &grads, [&w, &m, &v], max_norm, with_weights, &update)?;
        for (state, weights, got_norm) in &runs {
            let what = |of: &str| format!("adamw, {element:?} gradients, {n} of them, update {t}: {of}");
            close(&what("norm"), 0, *got_norm, norm, 1e-12 * norm)?;
            for i in 0..n {
                let [w, g, m, v] = [w[i], grads[i], m[i], v[i]].map(f64::from);
                let (want_w, want_m, want_v) = reference(w, g, m, v, &scaled);
                close(&what("weight"), i, f64::from(state[0][i]), want_w, 1e-7 + 3e-7 * want_w.abs())?;
                close(&what("first moment"), i, f64::from(state[1][i]), want_m, 2e-7 * (m.abs() + g.abs()))?;
                close(&what("second moment"), i, f64::from(state[2][i]), want_v, 1e-12 + 5e-7 * want_v)?;
                let rounded = if with_weights { bf16::from_f32(state[0][i]).to_le_bytes() } else { [0; 2] };
                if weights[2 * i..2 * i + 2] != rounded {
                    return Err(what("bf16 weight") + &format!("[{i}] is not the master weight rounded"));
                }
            }
        }
        [w, m, v] = runs[0].0.clone();
    }
    Ok(())
}

/// A gradient that is not finite leaves everything as it was, and shows in the norm.
fn not_finite(runner: &dyn Runner, element: Element) -> Result<(), String> {
    for bad in [f32::NAN, f32::INFINITY] {
        let (w, m, v) = (noise(21, 1), noise(21, 2), vec![0.25; 21]);
        let mut grads = noise(21, 3);
        grads[17] = bad;
        for (state, _, norm) in step(runner, element, &grads, [&w, &m, &v], 1.0, true, &UPDATE)? {
            if norm.is_finite() || state != [w.clone(), m.clone(), v.clone()] {
                return Err(format!("adamw: a gradient of {bad} gave a norm of {norm} or moved something"));
            }
        }
    }
    Ok(())
}
