//! `y = silu(gate) * up`, `silu(x) = x / (1 + e^-x)` (SwiGLU, arXiv:2002.05202).
//!
//! With `s = 1 / (1 + e^-gate)`: `d gate = dy up s (1 + gate (1 - s))`, `d up = dy gate s`.
//!
//! [`gated`] also holds the two products that `gate` and `up` come from, so that neither they nor their gradients are
//! tensors of candle's.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::gemm::{Mat, matmul};
use super::{linear, math, values, with_values};

/// Values a thread takes at a time.
const CHUNK: usize = 1 << 13;

/// `gate`, `up` and the result have one shape.
///
/// # Errors
///
/// If the shapes differ.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.contiguous()?.apply_op2(&up.contiguous()?, Swiglu)
}

/// The same from candle's own operations, in f32; the result has the type of `up`.
///
/// # Errors
///
/// If the shapes differ.
pub fn reference(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    // candle's `silu` and not a quotient: the slope of `gate / (1 + e^-gate)`, composed, is NaN below -88.
    (gate.to_dtype(DType::F32)?.silu()? * up.to_dtype(DType::F32)?)?.to_dtype(up.dtype())
}

/// `silu(x gate^T) * (x up^T)`. `x`: `(t, c)`; `gate`, `up`: `(wide, c)`, of one kind: both trained, or neither; returns
/// `(t, wide)`.
///
/// # Errors
///
/// If the shapes do not fit.
pub fn gated(x: &Tensor, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let trains = (x.track_op(), gate.track_op() || up.track_op());
    let keeps = trains.0 || trains.1;
    x.contiguous()?.apply_op3(gate, up, Gated { trains, keeps, kept: Mutex::default() })
}

/// [`reference()`] after two products of candle's.
///
/// # Errors
///
/// If the shapes do not fit.
pub fn gated_reference(x: &Tensor, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let product = |weight: &Tensor| linear::reference(x, weight, None);
    reference(&product(gate)?, &product(up)?)
}

struct Swiglu;

/// `out = silu(gate) * up`.
fn product(gate: &[f32], up: &[f32], out: &mut [f32]) {
    out.par_chunks_mut(CHUNK).zip(gate.par_chunks(CHUNK)).zip(up.par_chunks(CHUNK)).for_each(
        |((y, g), u)| {
            for ((y, g), u) in y.iter_mut().zip(g).zip(u) {
                *y = g * sigmoid(*g) * u;
            }
        },
    );
}

/// Turns `gate` and `up` into their gradients.
fn slopes(gate: &mut [f32], up: &mut [f32], dy: &[f32]) {
    let both = gate.par_chunks_mut(CHUNK).zip(up.par_chunks_mut(CHUNK));
    both.zip(dy.par_chunks(CHUNK)).for_each(|((gate, up), dy)| {
        for ((gate, up), dy) in gate.iter_mut().zip(up).zip(dy) {
            let (g, u, s) = (*gate, *up, sigmoid(*gate));
            *gate = dy * u * s * (1.0 + g * (1.0 - s));
            *up = dy * g * s;
        }
    });
}

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
        product(g, u, &mut out);
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
        let copy = |x: &Tensor| with_values(x, <[f32]>::to_vec);
        let (mut dg, mut du) = (copy(g)?, copy(u)?);
        with_values(&dy, |dy| slopes(&mut dg, &mut du, dy))?;
        let shape = g.shape();
        Ok((
            Some(Tensor::from_vec(dg, shape, &Device::Cpu)?),
            Some(Tensor::from_vec(du, shape, &Device::Cpu)?),
        ))
    }
}

struct Gated {
    /// Whether somebody wants the gradient of `x`, and of the weights.
    trains: (bool, bool),
    keeps: bool,
    /// `gate` and `up`, from the forward pass to the backward pass.
    kept: Mutex<Option<(Vec<f32>, Vec<f32>)>>,
}

impl Gated {
    fn products(x: Mat<'_>, gate: &[f32], up: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let (t, c) = (x.rows(), x.cols());
        let product = |weight: &[f32]| {
            let wide = weight.len() / c;
            let mut out = vec![0.0; t * wide];
            matmul(x, Mat::new(weight, wide, c).t(), &mut out, false);
            out
        };
        (product(gate), product(up))
    }

    /// Gradients of `x`, `gate` and `up`, as far as they are wanted.
    fn gradients(&self, x: Mat<'_>, gate: &[f32], up: &[f32], dy: &[f32]) -> [Option<Vec<f32>>; 3] {
        let (t, c, wide) = (x.rows(), x.cols(), gate.len() / x.cols());
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A second backward pass finds nothing kept.
        let (mut dg, mut du) = kept.unwrap_or_else(|| Self::products(x, gate, up));
        slopes(&mut dg, &mut du, dy);
        let (dg, du) = (Mat::new(&dg, t, wide), Mat::new(&du, t, wide));
        let of_weight = |d: Mat<'_>| {
            self.trains.1.then(|| {
                let mut out = vec![0.0; wide * c];
                matmul(d.t(), x, &mut out, false);
                out
            })
        };
        let of_x = self.trains.0.then(|| {
            let (mut dx, mut more) = (vec![0.0; t * c], vec![0.0; t * c]);
            matmul(dg, Mat::new(gate, wide, c), &mut dx, false);
            // On its own, then added: the sum of two whole gradients, as if `x` had gone into two operations.
            matmul(du, Mat::new(up, wide, c), &mut more, false);
            dx.iter_mut().zip(more).for_each(|(x, y)| *x += y);
            dx
        });
        [of_x, of_weight(dg), of_weight(du)]
    }
}

impl CustomOp3 for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        g: &CpuStorage,
        lg: &Layout,
        u: &CpuStorage,
        lu: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((t, c), (wide, cg)) = (lx.shape().dims2()?, lg.shape().dims2()?);
        if c != cg || lg.shape() != lu.shape() {
            candle_core::bail!("{:?} and {:?} cannot take rows of {c}", lg.shape(), lu.shape());
        }
        let (gate, up) = Self::products(Mat::new(values(x, lx)?, t, c), values(g, lg)?, values(u, lu)?);
        let mut out = vec![0.0; t * wide];
        product(&gate, &up, &mut out);
        if self.keeps {
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some((gate, up));
        }
        Ok((CpuStorage::F32(out), (t, wide).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        g: &Tensor,
        u: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let ((t, c), dy) = (x.dims2()?, dy.contiguous()?);
        let [dx, dg, du] = with_values(x, |x| {
            with_values(g, |g| {
                with_values(u, |u| with_values(&dy, |dy| self.gradients(Mat::new(x, t, c), g, u, dy)))
            })
        })????;
        let tensor = |d: Option<Vec<f32>>, like: &Tensor| {
            d.map(|d| Tensor::from_vec(d, like.shape(), &Device::Cpu)).transpose()
        };
        Ok((tensor(dx, x)?, tensor(dg, g)?, tensor(du, u)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check_gradients;
    use crate::kernels::linear::linear;
    use candle_core::Var;

    #[test]
    fn gated_and_its_gradients_match_candles_own() {
        for (t, c, wide) in [(1, 1, 1), (5, 7, 3), (130, 33, 600)] {
            check_gradients(
                &[&[t, c], &[wide, c], &[wide, c]],
                |v| gated(&v[0], &v[1], &v[2]),
                |v| gated_reference(&v[0], &v[1], &v[2]),
            );
        }
    }

    /// One operation or three, the same bits.
    #[test]
    fn gated_gives_the_bits_of_its_parts() {
        let var = |shape| Var::randn(0f32, 1.0, shape, &Device::Cpu).unwrap();
        let (x, gate, up) = (var((70, 40)), var((600, 40)), var((600, 40)));
        let run = |f: &dyn Fn() -> Result<Tensor>| {
            let y = f().unwrap();
            let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            [
                flat(&y),
                flat(grads.get(&x).unwrap()),
                flat(grads.get(&gate).unwrap()),
                flat(grads.get(&up).unwrap()),
            ]
        };
        let parts = run(&|| swiglu(&linear(&x, &gate, None)?, &linear(&x, &up, None)?));
        assert_eq!(run(&|| gated(&x, &gate, &up)), parts);
    }

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
