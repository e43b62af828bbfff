//! A projection of the network, in one of two states: trainable, or packed for sampling.

use candle_core::{Result, Tensor};

use crate::kernels::linear::{PackedLinear, linear};

/// `y = x W^T + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    packed: Option<PackedLinear>,
}

impl Linear {
    /// `weight`: `(out, in)`, `bias`: `(out,)`.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias, packed: None }
    }

    /// `x`: `(t, in)`; returns `(t, out)`. With gradient unless packed.
    ///
    /// # Errors
    ///
    /// If the shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.packed {
            Some(packed) => packed.forward(x),
            None => linear(x, &self.weight, self.bias.as_ref()),
        }
    }

    /// A copy without gradient whose weights are laid out for many products. Off the CPU it shares the weights.
    ///
    /// # Errors
    ///
    /// If the weights are not f32.
    pub fn frozen(&self) -> Result<Self> {
        let (weight, bias) = (self.weight.detach(), self.bias.as_ref().map(Tensor::detach));
        let packed = match weight.device().is_cpu() {
            true => Some(PackedLinear::new(&weight, bias.as_ref())?),
            false => None,
        };
        Ok(Self { weight, bias, packed })
    }

    /// The weight, `(out, in)`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }
}
