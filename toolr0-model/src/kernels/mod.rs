//! The arithmetic of the network, each piece beside its definition.
//!
//! candle composes these from small operations that each write a full tensor, and its own fused versions have no
//! backward pass and drop gradients without a word. Here every file holds one operation: formula, a plain
//! `reference`, the fast CPU body, and the candle `CustomOp` that joins forward and backward. [`body`] chooses between
//! these and, on other devices, the `reference`s.

pub mod attention;
pub mod body;
pub mod gemm;
pub mod linear;
pub mod math;
pub mod rms_norm;
pub mod swiglu;

use candle_core::{CpuStorage, Device, Layout, Result, Storage, Tensor};

/// Calls `f` on the values of a contiguous f32 tensor, which are fetched where it lives on a device.
///
/// # Errors
///
/// If the tensor has another type or is not contiguous, or a device does not give it.
pub fn with_values<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let fetched = match tensor.device().is_cpu() {
        true => None,
        false => Some(tensor.to_device(&Device::Cpu)?),
    };
    let (storage, layout) = fetched.as_ref().unwrap_or(tensor).storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(f(values(storage, layout)?)),
        _ => candle_core::bail!("a fetched tensor is not in main memory"),
    }
}

/// The values behind an operation's argument.
pub(crate) fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&all[from..to]),
        None => candle_core::bail!("this operation reads contiguous tensors, got {layout:?}"),
    }
}

/// Rows that one task of a reduction over rows takes. A constant: partial sums do not depend on threads.
pub(crate) const REDUCE_ROWS: usize = 64;

/// Checks an operation and its gradients against another body of it, with values of uneven size and a
/// non-uniform upstream gradient.
#[cfg(test)]
#[track_caller]
pub(crate) fn check_gradients(
    shapes: &[&[usize]],
    fast: impl Fn(&[Tensor]) -> Result<Tensor>,
    plain: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    use candle_core::{Device, Var};
    let noise = |n: usize, seed: usize| -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 700.0 - 1.4).collect()
    };
    let vars: Vec<Var> = shapes
        .iter()
        .enumerate()
        .map(|(seed, shape)| {
            let n = shape.iter().product();
            Var::from_tensor(&Tensor::from_vec(noise(n, seed), *shape, &Device::Cpu).unwrap()).unwrap()
        })
        .collect();
    let inputs: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let run = |f: &dyn Fn(&[Tensor]) -> Result<Tensor>| {
        let y = f(&inputs).unwrap();
        let up = Tensor::from_vec(noise(y.elem_count(), 9), y.shape(), &Device::Cpu).unwrap();
        let grads = (&y * up).unwrap().sum_all().unwrap().backward().unwrap();
        let mut all = vec![("output".to_owned(), y)];
        for (i, var) in vars.iter().enumerate() {
            let grad = grads.get(var).unwrap_or_else(|| panic!("input {i} got no gradient"));
            all.push((format!("gradient of input {i}"), grad.clone()));
        }
        all
    };
    for ((what, got), (_, want)) in run(&fast).iter().zip(&run(&plain)) {
        let (got, want) = (got.flatten_all().unwrap(), want.flatten_all().unwrap());
        let (got, want) = (got.to_vec1::<f32>().unwrap(), want.to_vec1::<f32>().unwrap());
        let size = want.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
        for (i, (g, w)) in got.iter().zip(&want).enumerate() {
            assert!((g - w).abs() <= 2e-5 * size, "{what} [{i}] of {shapes:?}: {g}, expected {w}");
        }
    }
}
