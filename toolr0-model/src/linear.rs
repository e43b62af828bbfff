//! A projection of the network, in one of two states: trainable, or packed for sampling.

use candle_core::{Result, Tensor};

use crate::kernels::body::Body;
use crate::kernels::linear::PackedLinear;
use crate::lora::merged;
use crate::rng::{Stream, uniform_f64};

/// A low-rank adapter; see [`crate::lora`].
#[derive(Clone, Debug)]
pub struct Adapter {
    /// `(rank, in)`.
    pub a: Tensor,
    /// `(out, rank)`.
    pub b: Tensor,
    /// What its output is multiplied by.
    pub scale: f64,
    /// Probability with which an input is left out in training.
    pub dropout: f64,
}

/// `y = x W^T + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    packed: Option<PackedLinear>,
    adapter: Option<Adapter>,
}

impl Linear {
    /// `weight`: `(out, in)`, `bias`: `(out,)`.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias, packed: None, adapter: None }
    }

    /// The same with an adapter beside the weight.
    pub fn with_adapter(self, adapter: Adapter) -> Self {
        Self { adapter: Some(adapter), ..self }
    }

    /// `x`: `(t, in)`; returns `(t, out)`. With gradient unless packed. `dropout` is where the adapter's dropout draws
    /// from; without it nothing is left out.
    ///
    /// # Errors
    ///
    /// If the shapes do not fit.
    pub fn forward(&self, body: Body, x: &Tensor, dropout: Option<Stream>) -> Result<Tensor> {
        let y = match &self.packed {
            Some(packed) => return packed.forward(x),
            None => body.linear(x, &self.weight, self.bias.as_ref())?,
        };
        let Some(Adapter { a, b, scale, dropout: p }) = &self.adapter else { return Ok(y) };
        let narrow = match dropout.filter(|_| 0.0 < *p) {
            Some(stream) => body.linear(&(x * keep(x, *p, stream)?)?, a, None)?,
            None => body.linear(x, a, None)?,
        };
        y + (body.linear(&narrow, b, None)? * *scale)?
    }

    /// As [`Linear::forward`], added to `residual`, `(t, out)`.
    ///
    /// # Errors
    ///
    /// If the shapes do not fit.
    pub fn forward_onto(
        &self,
        body: Body,
        x: &Tensor,
        residual: &Tensor,
        dropout: Option<Stream>,
    ) -> Result<Tensor> {
        match self.plain() {
            Some(weight) => body.linear_onto(x, weight, residual),
            None => residual + self.forward(body, x, dropout)?,
        }
    }

    /// A copy without gradient, its adapter merged, whose weights are laid out for many products of `body`.
    ///
    /// # Errors
    ///
    /// If the weights are not f32.
    pub fn frozen(&self, body: Body) -> Result<Self> {
        let weight = match &self.adapter {
            Some(Adapter { a, b, scale, .. }) => merged(&self.weight, a, b, *scale)?,
            None => self.weight.detach(),
        };
        let bias = self.bias.as_ref().map(Tensor::detach);
        Ok(match body {
            Body::Fused => {
                let packed = Some(PackedLinear::new(&weight, bias.as_ref())?);
                Self { weight, bias, packed, adapter: None }
            }
            Body::Composed(dtype) => {
                let own = |x: &Tensor| x.copy()?.to_dtype(dtype);
                let bias = bias.as_ref().map(own).transpose()?;
                Self { weight: own(&weight)?, bias, packed: None, adapter: None }
            }
        })
    }

    /// The weight, where `y` is its product alone and a gradient may flow: no bias, no adapter, not packed.
    pub fn plain(&self) -> Option<&Tensor> {
        let plain = self.packed.is_none() && self.adapter.is_none() && self.bias.is_none();
        plain.then_some(&self.weight)
    }

    /// The weight, `(out, in)`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }
}

/// A mask of the shape of `x`: 0 with probability `p`, else `1 / (1 - p)`.
fn keep(x: &Tensor, p: f64, stream: Stream) -> Result<Tensor> {
    let (mut rng, kept) = (stream.rng(), (1.0 / (1.0 - p)) as f32);
    let mask: Vec<f32> =
        (0..x.elem_count()).map(|_| if uniform_f64(&mut rng) < p { 0.0 } else { kept }).collect();
    Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())
}
