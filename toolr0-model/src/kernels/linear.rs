//! `y = x W^T + b`, and its gradient: `dx = dy W`, `dW = dy^T x`, `db = sum of the rows of dy`.
//!
//! The bias may be a row that every row gets, or a residual `(t, out)` that is as large as `y`. Both are part of the
//! operation: candle writes a tensor for every addition, and two more for its gradient.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::gemm::{Mat, Packed, matmul, matmul_packed};
use super::{REDUCE_ROWS, values, with_values};

/// A weight laid out once for many products without gradient: what sampling uses.
#[derive(Clone, Debug)]
pub struct PackedLinear {
    weight: Arc<Packed>,
    bias: Option<Arc<Vec<f32>>>,
}

impl PackedLinear {
    /// Packs `weight`, `(out, in)`, and `bias`, `(out,)`.
    ///
    /// # Errors
    ///
    /// If they are not contiguous f32 tensors in main memory.
    pub fn new(weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let (n, k) = weight.dims2()?;
        let weight = with_values(weight, |w| Packed::new(Mat::new(w, n, k).t()))?;
        let bias = bias.map(|b| with_values(b, |b| Arc::new(b.to_vec()))).transpose()?;
        Ok(Self { weight: Arc::new(weight), bias })
    }

    /// `x`: `(t, in)`; returns `(t, out)`, the same bits as [`linear`] gives.
    ///
    /// # Errors
    ///
    /// If `x` is no contiguous f32 matrix in main memory.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (t, k) = x.dims2()?;
        let n = self.weight.n();
        let mut out = vec![0.0; t * n];
        with_values(x, |x| matmul_packed(Mat::new(x, t, k), &self.weight, &mut out, false))?;
        if let Some(bias) = &self.bias {
            add_bias(&mut out, bias);
        }
        Tensor::from_vec(out, (t, n), &Device::Cpu)
    }
}

/// `x`: `(t, in)`, `weight`: `(out, in)`, `bias`: `(out,)`; returns `(t, out)`.
///
/// # Errors
///
/// If the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let product = Product { trains: (x.track_op(), weight.track_op()) };
    match bias {
        Some(bias) => x.contiguous()?.apply_op3(weight, bias, Sum(product)),
        None => x.contiguous()?.apply_op2(weight, product),
    }
}

/// `x W^T + residual`; `residual` and the result are `(t, out)`.
///
/// # Errors
///
/// If the shapes do not fit.
pub fn linear_onto(x: &Tensor, weight: &Tensor, residual: &Tensor) -> Result<Tensor> {
    let product = Product { trains: (x.track_op(), weight.track_op()) };
    x.contiguous()?.apply_op3(weight, &residual.contiguous()?, Sum(product))
}

/// The same from candle's own operations, in the type of `x`.
///
/// # Errors
///
/// If the shapes do not fit.
pub fn reference(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let y = x.matmul(&weight.to_dtype(x.dtype())?.t()?)?;
    bias.map_or(Ok(y.clone()), |b| y.broadcast_add(&b.to_dtype(x.dtype())?))
}

fn add_bias(y: &mut [f32], bias: &[f32]) {
    for row in y.chunks_exact_mut(bias.len()) {
        row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
    }
}

struct Product {
    /// Whether somebody wants the gradient of `x`, and of the weight: beside an adapter, nobody wants the second.
    trains: (bool, bool),
}

impl Product {
    /// `x W^T`, and its shape.
    fn forward(
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(Vec<f32>, (usize, usize))> {
        let ((t, k), (n, kw)) = (lx.shape().dims2()?, lw.shape().dims2()?);
        if k != kw {
            candle_core::bail!("a weight of shape ({n}, {kw}) cannot take rows of {k}");
        }
        let mut out = vec![0.0; t * n];
        matmul(Mat::new(values(x, lx)?, t, k), Mat::new(values(w, lw)?, n, k).t(), &mut out, false);
        Ok((out, (t, n)))
    }

    /// `dy` is contiguous.
    fn backward(&self, x: &Tensor, w: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let ((t, k), n) = (x.dims2()?, w.dim(0)?);
        let product = |wanted: bool, rows: usize, of: &dyn Fn(Mat<'_>, &mut [f32]) -> Result<()>| {
            if !wanted {
                return Ok(None);
            }
            let mut out = vec![0.0; rows * k];
            with_values(dy, |dy| of(Mat::new(dy, t, n), &mut out))??;
            Tensor::from_vec(out, (rows, k), &Device::Cpu).map(Some)
        };
        let dx = product(self.trains.0, t, &|dy, dx| {
            with_values(w, |w| matmul(dy, Mat::new(w, n, k), dx, false))
        })?;
        let dw = product(self.trains.1, n, &|dy, dw| {
            with_values(x, |x| matmul(dy.t(), Mat::new(x, t, k), dw, false))
        })?;
        Ok((dx, dw))
    }
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (out, shape) = Self::forward(x, lx, w, lw)?;
        Ok((CpuStorage::F32(out), shape.into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.backward(x, w, &dy.contiguous()?)
    }
}

/// A product and what is added to it: one row for all, or a row for each.
struct Sum(Product);

impl CustomOp3 for Sum {
    fn name(&self) -> &'static str {
        "linear-sum"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (mut out, (t, n)) = Product::forward(x, lx, w, lw)?;
        match lb.dims() {
            [len] if *len == n => add_bias(&mut out, values(b, lb)?),
            [rows, len] if (*rows, *len) == (t, n) => {
                out.iter_mut().zip(values(b, lb)?).for_each(|(y, r)| *y += r);
            }
            other => candle_core::bail!("{other:?} cannot be added to ({t}, {n})"),
        }
        Ok((CpuStorage::F32(out), (t, n).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (dx, dw) = self.0.backward(x, w, &dy)?;
        if b.rank() == 2 {
            return Ok((dx, dw, Some(dy)));
        }
        let n = b.dim(0)?;
        let db = with_values(&dy, |dy| {
            sum_rows(dy.len() / n, n, |row, sum| {
                sum.iter_mut().zip(&dy[row * n..(row + 1) * n]).for_each(|(s, d)| *s += d);
            })
        })?;
        Ok((dx, dw, Some(Tensor::from_vec(db, n, &Device::Cpu)?)))
    }
}

/// Adds up `rows` rows of `n` values: `add` adds one row to a partial sum. Blocks of rows are summed side by side
/// and then in order, so the result does not depend on threads.
pub(crate) fn sum_rows(rows: usize, n: usize, add: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let partial: Vec<Vec<f32>> = (0..rows.div_ceil(REDUCE_ROWS))
        .into_par_iter()
        .map(|block| {
            let mut sum = vec![0.0; n];
            (block * REDUCE_ROWS..rows.min((block + 1) * REDUCE_ROWS)).for_each(|row| add(row, &mut sum));
            sum
        })
        .collect();
    let mut sum = vec![0.0; n];
    for part in partial {
        sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::check_gradients;

    #[test]
    fn forward_and_gradients_match_candles_own() {
        for (t, k, n) in [(1, 1, 1), (5, 7, 3), (130, 33, 40)] {
            check_gradients(
                &[&[t, k], &[n, k], &[n]],
                |v| linear(&v[0], &v[1], Some(&v[2])),
                |v| reference(&v[0], &v[1], Some(&v[2])),
            );
            check_gradients(
                &[&[t, k], &[n, k], &[t, n]],
                |v| linear_onto(&v[0], &v[1], &v[2]),
                |v| reference(&v[0], &v[1], Some(&v[2])),
            );
        }
    }

    /// What is added inside is added as candle adds it, to the bit.
    #[test]
    fn a_residual_gives_the_bits_of_an_addition() {
        let random = |shape| Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap();
        let (x, w, r) = (random((9, 600)), random((33, 600)), random((9, 33)));
        let apart = (r.clone() + linear(&x, &w, None).unwrap()).unwrap();
        let inside = linear_onto(&x, &w, &r).unwrap();
        assert_eq!(inside.to_vec2::<f32>().unwrap(), apart.to_vec2::<f32>().unwrap());
    }

    #[test]
    fn packed_weights_give_the_same_bits() {
        let x = Tensor::randn(0f32, 1.0, (9, 20), &Device::Cpu).unwrap();
        let w = Tensor::randn(0f32, 1.0, (33, 20), &Device::Cpu).unwrap();
        let b = Tensor::randn(0f32, 1.0, 33, &Device::Cpu).unwrap();
        let packed = PackedLinear::new(&w, Some(&b)).unwrap().forward(&x).unwrap();
        let plain = linear(&x, &w, Some(&b)).unwrap();
        assert_eq!(packed.to_vec2::<f32>().unwrap(), plain.to_vec2::<f32>().unwrap());
    }
}
