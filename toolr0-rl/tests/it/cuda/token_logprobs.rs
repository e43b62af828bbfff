//! Cases of `token_logprobs.cu`.

use toolr0_rl::kernels::cuda::launch::{Element, Rows, token_logprobs, token_logprobs_backward};
use toolr0_rl::kernels::token_logprobs::reference;
use toolr0_rl::loss::logits_gradient;

use super::{Runner, close, decode, encode, f32s, nasty_rows, noise, rounding, u32s};

pub(super) fn check(runner: &dyn Runner) -> Result<(), String> {
    for element in [Element::F32, Element::Bf16, Element::F16] {
        for v in [1, 7, 8, 1001] {
            check_rows(runner, element, &nasty_rows(v), v, 1.0)?;
            check_rows(runner, element, &nasty_rows(v), v + 3, 0.7)?; // rows with a gap between them
        }
    }
    check_rows(runner, Element::F32, &nasty_rows(151_936)[..4], 151_936, 1.0)?;
    check_rows(runner, Element::Bf16, &nasty_rows(151_936)[4..], 151_937, 1.3)?;
    check_rows(runner, Element::F32, &[(vec![f32::NEG_INFINITY; 40], 3), (vec![f32::NAN; 40], 3)], 40, 1.0)?;
    outside_the_vocabulary(runner)?;
    for element in [Element::F32, Element::Bf16, Element::F16] {
        for v in [1, 7, 1001] {
            check_gradient(runner, element, v)?;
        }
    }
    Ok(())
}

fn check_rows(
    runner: &dyn Runner,
    element: Element,
    rows: &[(Vec<f32>, u32)],
    stride: usize,
    temperature: f64,
) -> Result<(), String> {
    let v = rows[0].0.len();
    let mut padded = vec![f32::NAN; rows.len() * stride];
    for (to, (row, _)) in padded.chunks_mut(stride).zip(rows) {
        to[..v].copy_from_slice(row);
    }
    // The last row needs no gap behind it.
    padded.truncate((rows.len() - 1) * stride + v);
    let logits = encode(element, &padded);
    let stored: Vec<f32> = rows.iter().flat_map(|(row, _)| decode(element, &encode(element, row))).collect();
    let targets: Vec<u32> = rows.iter().map(|row| row.1).collect();
    let want = reference(&stored, &targets, v, temperature);

    let shape = Rows { rows: rows.len(), v, stride };
    let launch = token_logprobs(element, [0, 1, 2], shape, temperature, runner.limits());
    let buffers = [logits, u32s(&targets), vec![0xff; rows.len() * 8]];
    for run in runner.run(&launch, &buffers)? {
        let scores = decode(Element::F32, &run[2]);
        for (i, (got, &(logprob, entropy))) in scores.chunks_exact(2).zip(&want).enumerate() {
            let what = format!("{} (_, {v}), stride {stride}", launch.kernel);
            let tolerance = |want: f64| 2e-5 + 1e-6 * want.abs();
            close(&format!("{what}: log-prob"), i, f64::from(got[0]), logprob, tolerance(logprob))?;
            close(&format!("{what}: entropy"), i, f64::from(got[1]), entropy, tolerance(entropy))?;
        }
    }
    Ok(())
}

/// A target that does not exist is NaN, and nothing beside the row is read: the buffer ends with it.
fn outside_the_vocabulary(runner: &dyn Runner) -> Result<(), String> {
    let shape = Rows { rows: 1, v: 5, stride: 5 };
    let launch = token_logprobs(Element::F32, [0, 1, 2], shape, 1.0, runner.limits());
    let buffers = [encode(Element::F32, &[0.5; 5]), u32s(&[u32::MAX]), vec![0; 8]];
    for run in runner.run(&launch, &buffers)? {
        close("log-prob of no token", 0, f64::from(decode(Element::F32, &run[2])[0]), f64::NAN, 0.0)?;
    }
    Ok(())
}

/// Rows whose taken token is not banned, with slopes in both scores, and one with none in the entropy.
fn check_gradient(runner: &dyn Runner, element: Element, v: usize) -> Result<(), String> {
    let temperature = 0.8;
    let finite = |row: &(Vec<f32>, u32)| row.0[row.1 as usize].is_finite();
    let rows: Vec<(Vec<f32>, u32)> = nasty_rows(v).into_iter().filter(finite).collect();
    let (n, targets) = (rows.len(), rows.iter().map(|row| row.1).collect::<Vec<u32>>());
    let stored: Vec<f32> = rows.iter().flat_map(|(row, _)| decode(element, &encode(element, row))).collect();
    let scores: Vec<f32> =
        reference(&stored, &targets, v, temperature).iter().flat_map(|s| [s.0 as f32, s.1 as f32]).collect();
    let mut upstream = noise(2 * n, 7);
    upstream[1] = 0.0;

    let shape = Rows { rows: n, v, stride: v };
    let launch = token_logprobs_backward(element, [0, 1, 2, 3], shape, temperature, runner.limits());
    let buffers = [encode(element, &stored), u32s(&targets), f32s(&scores), f32s(&upstream)];
    for run in runner.run(&launch, &buffers)? {
        let got = decode(element, &run[0]);
        for (i, (row, got)) in stored.chunks_exact(v).zip(got.chunks_exact(v)).enumerate() {
            let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
            let [d_logprob, d_entropy] = [upstream[2 * i], upstream[2 * i + 1]].map(f64::from);
            let want = logits_gradient(&row, targets[i] as usize, d_logprob, d_entropy, temperature);
            for (j, (got, want)) in got.iter().zip(&want).enumerate() {
                let tolerance = rounding(element) * want.abs() + 5e-6;
                close(&format!("{} (_, {v}): row {i}", launch.kernel), j, f64::from(*got), *want, tolerance)?;
            }
        }
    }
    Ok(())
}
