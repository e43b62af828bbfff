//! `y = w * x / sqrt(mean(x^2) + eps)` over the last dimension (RMSNorm, arXiv:1910.07467).
//!
//! With `s = 1 / sqrt(mean(x^2) + eps)` and `g = dy * w`: `dx = s (g - x s^2 mean(g x))`, `dw = sum of dy x s`.

use candle_core::{CpuStorage, CustomOp2, D, DType, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::linear::sum_rows;
use super::{math, values, with_values};

/// `x`: `(.., c)`, `weight`: `(c,)`; returns the shape of `x`.
///
/// # Errors
///
/// If the shapes do not fit.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    x.contiguous()?.apply_op2(weight, RmsNorm { eps: eps as f32 })
}

/// The same from candle's own operations, in f32; the result has the type of `x`.
///
/// # Errors
///
/// If the shapes do not fit.
pub fn reference(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let wide = x.to_dtype(DType::F32)?;
    let mean = wide.sqr()?.mean_keepdim(D::Minus1)?;
    wide.broadcast_div(&(mean + eps)?.sqrt()?)?.broadcast_mul(weight)?.to_dtype(x.dtype())
}

struct RmsNorm {
    eps: f32,
}

impl RmsNorm {
    fn scale(&self, row: &[f32]) -> f32 {
        1.0 / (math::dot(row, row) / row.len() as f32 + self.eps).sqrt()
    }
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (values(x, lx)?, values(w, lw)?);
        let c = w.len();
        if lx.dims().last() != Some(&c) {
            candle_core::bail!("a norm over {c} values cannot take {:?}", lx.shape());
        }
        let mut out = vec![0.0; x.len()];
        out.par_chunks_mut(c).with_min_len(64).zip(x.par_chunks(c)).for_each(|(y, x)| {
            let scale = self.scale(x);
            for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                *y = x * scale * w;
            }
        });
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (dx, dw) = with_values(x, |x| {
            with_values(w, |w| {
                with_values(&dy, |dy| {
                    let c = w.len();
                    let mut dx = vec![0.0; x.len()];
                    let rows = dx.par_chunks_mut(c).zip(x.par_chunks(c)).zip(dy.par_chunks(c));
                    rows.with_min_len(64).for_each(|((dx, x), dy)| {
                        let scale = self.scale(x);
                        for ((dx, dy), w) in dx.iter_mut().zip(dy).zip(w) {
                            *dx = dy * w;
                        }
                        let mean = math::dot(dx, x) / c as f32 * scale * scale;
                        for (dx, x) in dx.iter_mut().zip(x) {
                            *dx = scale * (*dx - x * mean);
                        }
                    });
                    let dw = sum_rows(x.len() / c, c, |row, sum| {
                        let (x, dy) = (&x[row * c..(row + 1) * c], &dy[row * c..(row + 1) * c]);
                        let scale = self.scale(x);
                        for ((s, x), dy) in sum.iter_mut().zip(x).zip(dy) {
                            *s += dy * x * scale;
                        }
                    });
                    (dx, dw)
                })
            })
        })???;
        let dx = Tensor::from_vec(dx, x.shape(), &Device::Cpu)?;
        Ok((Some(dx), Some(Tensor::from_vec(dw, w.shape(), &Device::Cpu)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check_gradients;

    #[test]
    fn forward_and_gradients_match_candles_own() {
        for (t, c) in [(1, 1), (3, 5), (200, 48)] {
            check_gradients(
                &[&[t, c], &[c]],
                |v| rms_norm(&v[0], &v[1], 1e-6),
                |v| reference(&v[0], &v[1], 1e-6),
            );
        }
    }
}
