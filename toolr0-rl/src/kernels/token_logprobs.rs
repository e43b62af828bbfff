//! Log-probability of each taken token and entropy of its distribution, from hidden states, without the logits of
//! the batch ever existing.
//!
//! ```text
//! z = (hidden W^T) / temperature                         one chunk of rows at a time
//! logprob = z[y] - logsumexp(z)                          nats
//! entropy = logsumexp(z) - sum_j p_j z_j                 nats, p = softmax(z)
//! d z_j   = d logprob * (1[j = y] - p_j) - d entropy * p_j * (ln p_j + entropy)
//! ```
//!
//! The backward pass forms each chunk's logits again (one product more) and needs memory for one chunk: it does not
//! grow with the vocabulary times the tokens, as a composed softmax does. Where all logits are few, they are kept.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, DType, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use toolr0_model::kernels::gemm::{Mat, Packed, matmul, matmul_packed};
use toolr0_model::kernels::{math, with_values};

/// Logits held at a time. A constant, so that sums over rows do not depend on the machine.
const CHUNK_VALUES: usize = 1 << 21;
/// Logits up to which those of all chunks are kept for the backward pass, 32 MiB: they are the same bits.
const KEPT_VALUES: usize = 1 << 23;

/// Log-probabilities and entropies of `targets`.
///
/// # Shapes and units
///
/// - `hidden`: `(t, c)`; `head`: `(v, c)`, which is multiplied in the type of `hidden`; `targets`: `(t,)`, each `< v`;
/// - returns `(t, 2)`, f32: log-probability and entropy, nats, at `temperature`; with gradient to `hidden` and `head`.
///
/// # Errors
///
/// If shapes do not fit or a target is outside the vocabulary.
pub fn token_logprobs(hidden: &Tensor, head: &Tensor, targets: &[u32], temperature: f64) -> Result<Tensor> {
    let ((t, _), v) = (hidden.dims2()?, head.dim(0)?);
    if targets.len() != t {
        candle_core::bail!("{t} hidden states but {} targets", targets.len());
    }
    if let Some(y) = targets.iter().find(|y| v <= **y as usize) {
        candle_core::bail!("target {y} is outside the vocabulary of {v}");
    }
    #[cfg(feature = "candle-cuda")]
    if hidden.device().is_cuda() {
        return super::cuda::ops::token_logprobs(hidden, head, targets, temperature);
    }
    if !hidden.device().is_cpu() || hidden.dtype() != DType::F32 {
        return composed(hidden, head, targets, temperature);
    }
    let tracked = hidden.track_op() || head.track_op();
    let op = TokenLogprobs {
        targets: targets.to_vec(),
        scale: (1.0 / temperature) as f32,
        keeps: tracked && t * v <= KEPT_VALUES,
        kept: Mutex::default(),
    };
    hidden.contiguous()?.apply_op2(&head.contiguous()?, op)
}

/// The same from candle's own operations, with the full `(t, v)` logits.
///
/// # Errors
///
/// If shapes do not fit.
pub fn composed(hidden: &Tensor, head: &Tensor, targets: &[u32], temperature: f64) -> Result<Tensor> {
    let logits = hidden.matmul(&head.to_dtype(hidden.dtype())?.t()?)?;
    let z = (logits.to_dtype(DType::F32)? * (1.0 / temperature))?;
    let shifted = z.broadcast_sub(&z.max_keepdim(1)?.detach())?;
    let logp = shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(1)?.log()?)?;
    let ids = Tensor::new(targets, hidden.device())?.unsqueeze(1)?;
    let entropy = (logp.exp()? * &logp)?.sum_keepdim(1)?.neg()?;
    Tensor::cat(&[logp.gather(&ids, 1)?, entropy], 1)
}

/// The definition on logits, in `f64`. `logits`: `(t, v)`; returns `(logprob, entropy)` per row, nats.
pub fn reference(logits: &[f32], targets: &[u32], v: usize, temperature: f64) -> Vec<(f64, f64)> {
    let rows = logits.chunks_exact(v).zip(targets);
    rows.map(|(row, &y)| {
        let z: Vec<f64> = row.iter().map(|x| f64::from(*x) / temperature).collect();
        let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let norm = max + z.iter().map(|z| (z - max).exp()).sum::<f64>().ln();
        let mean: f64 = z.iter().filter(|z| z.is_finite()).map(|z| (z - norm).exp() * z).sum();
        (z[y as usize] - norm, norm - mean)
    })
    .collect()
}

struct TokenLogprobs {
    targets: Vec<u32>,
    scale: f32,
    keeps: bool,
    /// All logits, `(t, v)`, from the forward pass to the backward pass.
    kept: Mutex<Option<Vec<f32>>>,
}

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&all[from..to]),
        None => candle_core::bail!("token log-probabilities need contiguous inputs"),
    }
}

/// Normaliser and `sum_j e^(z_j - max) z_j / sum` of one row of logits.
fn normalise(row: &[f32], scale: f32) -> (f32, f32) {
    let norm = math::logsumexp(row, scale);
    let (full, rest) = row.as_chunks::<{ math::LANES }>();
    let mut mean = [0.0f32; math::LANES];
    let term = |x: f32| {
        let z = x * scale;
        let p = math::exp(z - norm);
        if p == 0.0 { 0.0 } else { p * (z - norm) }
    };
    for lane in full {
        for (m, x) in mean.iter_mut().zip(lane) {
            *m += term(*x);
        }
    }
    for (m, x) in mean.iter_mut().zip(rest) {
        *m += term(*x);
    }
    (norm, -math::sum_lanes(&mean))
}

/// Rows whose logits are held together.
fn chunk_rows(v: usize) -> usize {
    (CHUNK_VALUES / v.max(1)).clamp(8, 1024)
}

impl CustomOp2 for TokenLogprobs {
    fn name(&self) -> &'static str {
        "token-logprobs"
    }

    fn cpu_fwd(
        &self,
        h: &CpuStorage,
        lh: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((t, c), (v, _)) = (lh.shape().dims2()?, lw.shape().dims2()?);
        let (hidden, head) = (slice(h, lh)?, slice(w, lw)?);
        let packed = Packed::new(Mat::new(head, v, c).t());
        let rows = chunk_rows(v);
        let mut all = vec![0.0; if self.keeps { t } else { rows.min(t) } * v];
        let mut out = vec![0.0; t * 2];
        let chunks = out.chunks_mut(rows * 2).zip(hidden.chunks(rows * c)).zip(self.targets.chunks(rows));
        for (chunk, ((out, hidden), targets)) in chunks.enumerate() {
            let n = targets.len();
            let from = if self.keeps { chunk * rows * v } else { 0 };
            let logits = &mut all[from..from + n * v];
            matmul_packed(Mat::new(hidden, n, c), &packed, logits, false);
            out.par_chunks_mut(2).zip(logits.par_chunks(v)).zip(targets).for_each(|((out, row), y)| {
                let (norm, entropy) = normalise(row, self.scale);
                out[0] = row[*y as usize] * self.scale - norm;
                out[1] = entropy;
            });
        }
        if self.keeps {
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(all);
        }
        Ok((CpuStorage::F32(out), (t, 2).into()))
    }

    fn bwd(
        &self,
        h: &Tensor,
        w: &Tensor,
        out: &Tensor,
        d: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let ((t, c), v) = (h.dims2()?, w.dim(0)?);
        let d = d.contiguous()?;
        let (mut dh, mut dw) = (vec![0.0; t * c], vec![0.0; v * c]);
        with_values(h, |hidden| {
            with_values(w, |head| {
                with_values(out, |out| {
                    with_values(&d, |d| self.backward(hidden, head, out, d, (t, c, v), &mut dh, &mut dw))
                })
            })
        })????;
        let tensor = |x, shape: (usize, usize)| Tensor::from_vec(x, shape, &Device::Cpu).map(Some);
        Ok((tensor(dh, (t, c))?, tensor(dw, (v, c))?))
    }
}

impl TokenLogprobs {
    #[expect(clippy::too_many_arguments, reason = "the arguments of a backward pass, all of them slices")]
    fn backward(
        &self,
        hidden: &[f32],
        head: &[f32],
        out: &[f32],
        d: &[f32],
        (t, c, v): (usize, usize, usize),
        dh: &mut [f32],
        dw: &mut [f32],
    ) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A second backward pass finds nothing kept.
        let forward = kept.is_none().then(|| Packed::new(Mat::new(head, v, c).t()));
        let backward = Packed::new(Mat::new(head, v, c));
        let rows = chunk_rows(v);
        let mut all = kept.unwrap_or_else(|| vec![0.0; rows.min(t) * v]);
        for from in (0..t).step_by(rows) {
            let n = rows.min(t - from);
            let hidden = Mat::new(&hidden[from * c..(from + n) * c], n, c);
            let at = if forward.is_some() { 0 } else { from * v };
            let logits = &mut all[at..at + n * v];
            if let Some(forward) = &forward {
                matmul_packed(hidden, forward, logits, false);
            }
            logits.par_chunks_mut(v).enumerate().for_each(|(i, row)| {
                let (at, y) = ((from + i) * 2, self.targets[from + i] as usize);
                let (d_logprob, d_entropy, entropy) = (d[at], d[at + 1], out[at + 1]);
                let norm = row[y] * self.scale - out[at];
                for x in row.iter_mut() {
                    let ln_p = *x * self.scale - norm;
                    let p = math::exp(ln_p);
                    let entropy_term = if p == 0.0 { 0.0 } else { d_entropy * p * (ln_p + entropy) };
                    *x = self.scale * (-d_logprob * p - entropy_term);
                }
                row[y] += self.scale * d_logprob;
            });
            let d_logits = Mat::new(logits, n, v);
            matmul_packed(d_logits, &backward, &mut dh[from * c..(from + n) * c], false);
            matmul(d_logits.t(), hidden, dw, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Var;

    fn noise(n: usize, seed: usize, size: f32) -> Vec<f32> {
        // A few outliers: even noise makes every probability about 1/v and hides mistakes.
        (0..n)
            .map(|i| {
                let x = ((i * 7919 + seed * 104_729) % 2003) as f32 / 1000.0 - 1.0;
                if i % 37 == 5 { x * 6.0 * size } else { x * size }
            })
            .collect()
    }

    #[track_caller]
    fn check(t: usize, c: usize, v: usize, temperature: f64) {
        let var = |n: usize, shape: (usize, usize), seed| {
            Var::from_tensor(&Tensor::from_vec(noise(n, seed, 0.8), shape, &Device::Cpu).unwrap()).unwrap()
        };
        let (hidden, head) = (var(t * c, (t, c), 1), var(v * c, (v, c), 2));
        let targets: Vec<u32> = (0..t).map(|i| ((i * 31) % v) as u32).collect();
        let up = Tensor::from_vec(noise(t * 2, 3, 1.0), (t, 2), &Device::Cpu).unwrap();
        let run = |f: &dyn Fn() -> Result<Tensor>| {
            let out = f().unwrap();
            let grads = (&out * &up).unwrap().sum_all().unwrap().backward().unwrap();
            let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            [flat(&out), flat(grads.get(&hidden).unwrap()), flat(grads.get(&head).unwrap())]
        };
        let got = run(&|| token_logprobs(&hidden, &head, &targets, temperature));
        let want = run(&|| composed(&hidden, &head, &targets, temperature));
        for (what, (got, want)) in ["output", "d hidden", "d head"].iter().zip(got.iter().zip(&want)) {
            let size = want.iter().fold(1e-2f32, |m, x| m.max(x.abs()));
            for (i, (g, w)) in got.iter().zip(want).enumerate() {
                assert!((g - w).abs() <= 3e-5 * size, "{what}[{i}] of ({t}, {c}, {v}): {g}, expected {w}");
            }
        }
    }

    #[test]
    fn values_and_gradients_match_the_composed_form() {
        check(1, 3, 1, 1.0);
        check(5, 7, 1001, 0.7);
        check(70, 16, 33, 1.0);
        check(1100, 4, 2048, 1.3); // more than one chunk
    }

    /// What is kept is what would be computed again.
    #[test]
    fn keeping_the_logits_changes_no_bit() {
        let (t, c, v) = (1100, 4, 2048);
        let var = |n: usize, shape: (usize, usize), seed| {
            Var::from_tensor(&Tensor::from_vec(noise(n, seed, 0.8), shape, &Device::Cpu).unwrap()).unwrap()
        };
        let (hidden, head) = (var(t * c, (t, c), 1), var(v * c, (v, c), 2));
        let targets: Vec<u32> = (0..t).map(|i| ((i * 31) % v) as u32).collect();
        let run = |keeps| {
            let op = TokenLogprobs { targets: targets.clone(), scale: 0.9, keeps, kept: Mutex::default() };
            let out = hidden.apply_op2(&head, op).unwrap();
            let grads = out.sum_all().unwrap().backward().unwrap();
            let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            [flat(&out), flat(grads.get(&hidden).unwrap()), flat(grads.get(&head).unwrap())]
        };
        assert_eq!(run(true), run(false));
    }

    #[test]
    fn rows_match_the_definition_in_f64() {
        for (row, y) in [
            (vec![3.0f32], 0u32),
            (vec![1e4, -1e4, 0.0], 0),
            (vec![f32::NEG_INFINITY, 0.0, 1.0], 2),
            (vec![7.0; 1001], 1000),
        ] {
            let want = reference(&row, &[y], row.len(), 1.0)[0];
            let (norm, entropy) = normalise(&row, 1.0);
            let got = row[y as usize] - norm;
            assert!((f64::from(got) - want.0).abs() < 1e-5, "{got} {want:?}");
            assert!((f64::from(entropy) - want.1).abs() < 1e-5, "{entropy} {want:?}");
        }
    }
}
