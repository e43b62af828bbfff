//! Which body of each operation computes: the one choice between main memory and other devices.

use candle_core::{DType, Device, Result, Tensor};

use super::{linear, rms_norm, swiglu};
use crate::config::WeightDtype;

/// The bodies that an operation of the network has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// This crate's own: one operation of candle's each, f32, in main memory.
    Fused,
    /// Several of candle's own operations, on any device. All have a backward pass; candle's fused ones have none and
    /// are not among them. Products are in this type; norms, softmax, and all that is trained stay f32.
    Composed(DType),
}

impl Body {
    /// Main memory has the fused body. A device has the other, in the type that the checkpoint's weights have on disk.
    pub fn of(device: &Device, dtype: WeightDtype) -> Self {
        match (device.is_cpu(), dtype) {
            (true, _) => Self::Fused,
            (false, WeightDtype::F32) => Self::Composed(DType::F32),
            (false, WeightDtype::F16) => Self::Composed(DType::F16),
            (false, WeightDtype::Bf16) => Self::Composed(DType::BF16),
        }
    }

    /// The type of hidden states.
    pub fn dtype(self) -> DType {
        match self {
            Self::Fused => DType::F32,
            Self::Composed(dtype) => dtype,
        }
    }

    /// [`rms_norm::rms_norm`].
    pub(crate) fn rms_norm(self, x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
        match self {
            Self::Fused => rms_norm::rms_norm(x, weight, eps),
            Self::Composed(_) => rms_norm::reference(x, weight, eps),
        }
    }

    /// [`linear::linear`].
    pub(crate) fn linear(self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        match self {
            Self::Fused => linear::linear(x, weight, bias),
            Self::Composed(_) => linear::reference(x, weight, bias),
        }
    }

    /// [`linear::linear_onto`].
    pub(crate) fn linear_onto(self, x: &Tensor, weight: &Tensor, residual: &Tensor) -> Result<Tensor> {
        match self {
            Self::Fused => linear::linear_onto(x, weight, residual),
            Self::Composed(_) => linear::reference(x, weight, Some(residual)),
        }
    }

    /// [`swiglu::swiglu`].
    pub(crate) fn swiglu(self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        match self {
            Self::Fused => swiglu::swiglu(gate, up),
            Self::Composed(_) => swiglu::reference(gate, up),
        }
    }

    /// [`swiglu::gated`].
    pub(crate) fn gated(self, x: &Tensor, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        match self {
            Self::Fused => swiglu::gated(x, gate, up),
            Self::Composed(_) => swiglu::gated_reference(x, gate, up),
        }
    }
}
