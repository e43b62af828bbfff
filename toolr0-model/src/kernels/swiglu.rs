//! `y = silu(gate) * up`, `silu(x) = x / (1 + e^-x)` (SwiGLU, arXiv:2002.05202).
//!
//! With `s = 1 / (1 + e^-gate)`: `d gate = dy up s (1 + gate (1 - s))`, `d up = dy gate s`.

use candle_core::{CpuStorage, CustomOp2, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{math, values, with_values};

/// Values a thread takes at a time.
const CHUNK: usize = 1 << 13;

/// `gate`, `up` and the result have one shape.
///
/// # Errors
///
/// If the shapes differ.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if !gate.device().is_cpu() {
        return reference(gate, up);
    }
    gate.contiguous()?.apply_op2(&up.contiguous()?, Swiglu)
}

/// The same from candle's own operations.
///
/// # Errors
///
/// If the shapes differ.
pub fn reference(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    (gate / (gate.neg()?.exp()? + 1.0)?)? * up
}

struct Swiglu;

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + math::exp(-x))
}

impl CustomOp2 for Swiglu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        g: &CpuStorage,
        lg: &Layout,
        u: &CpuStorage,
        lu: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (g, u) = (values(g, lg)?, values(u, lu)?);
        if lg.shape() != lu.shape() {
            candle_core::bail!("a gate of {:?} cannot meet {:?}", lg.shape(), lu.shape());
        }
        let mut out = vec![0.0; g.len()];
        out.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK)).zip(u.par_chunks(CHUNK)).for_each(
            |((y, g), u)| {
                for ((y, g), u) in y.iter_mut().zip(g).zip(u) {
                    *y = g * sigmoid(*g) * u;
                }
            },
        );
        Ok((CpuStorage::F32(out), lg.shape().clone()))
    }

    fn bwd(
        &self,
        g: &Tensor,
        u: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (mut dg, mut du) = (vec![0.0; g.elem_count()], vec![0.0; g.elem_count()]);
        with_values(g, |g| {
            with_values(u, |u| {
                with_values(&dy, |dy| {
                    let out = dg.par_chunks_mut(CHUNK).zip(du.par_chunks_mut(CHUNK));
                    let into = g.par_chunks(CHUNK).zip(u.par_chunks(CHUNK)).zip(dy.par_chunks(CHUNK));
                    out.zip(into).for_each(|((dg, du), ((g, u), dy))| {
                        let out = dg.iter_mut().zip(du);
                        for ((dg, du), ((g, u), dy)) in out.zip(g.iter().zip(u).zip(dy)) {
                            let s = sigmoid(*g);
                            *dg = dy * u * s * (1.0 + g * (1.0 - s));
                            *du = dy * g * s;
                        }
                    });
                })
            })
        })???;
        let shape = g.shape();
        Ok((
            Some(Tensor::from_vec(dg, shape, &Device::Cpu)?),
            Some(Tensor::from_vec(du, shape, &Device::Cpu)?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check_gradients;

    #[test]
    fn forward_and_gradients_match_candles_own() {
        for shape in [[1, 1], [3, 7], [300, 40]] {
            check_gradients(&[&shape, &shape], |v| swiglu(&v[0], &v[1]), |v| reference(&v[0], &v[1]));
        }
    }

    #[test]
    fn large_gates_neither_overflow_nor_turn_into_nan() {
        let gate = Tensor::new(&[-1e4f32, -100.0, 100.0, 1e4], &Device::Cpu).unwrap();
        let up = gate.ones_like().unwrap();
        assert_eq!(swiglu(&gate, &up).unwrap().to_vec1::<f32>().unwrap(), [-0.0, -0.0, 100.0, 1e4]);
    }
}
