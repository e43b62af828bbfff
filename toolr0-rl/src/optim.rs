//! Gradients gathered over micro-batches, clipped by their global norm, and AdamW.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, InplaceOp1, Layout, Tensor, Var};
use serde::{Deserialize, Serialize};
use toolr0_model::Params;
use toolr0_model::kernels::with_values;
use toolr0_model::lanes::side_by_side;

use crate::error::{Error, Result};
use crate::kernels::adamw::{self, Update};

/// How weights are updated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Decay of the first moment. Default 0.9 (PyTorch).
    pub beta1: f64,
    /// Decay of the second moment. Default 0.999 (PyTorch).
    pub beta2: f64,
    /// Added to the root of the second moment. Default 1e-8 (PyTorch).
    pub eps: f64,
    /// Decoupled weight decay on every tensor. Default 0.01 (Tool-R0, table 4).
    pub weight_decay: f64,
    /// Largest global gradient norm; larger gradients are scaled down to it. Default 1.0 (Hugging Face Trainer).
    pub max_grad_norm: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, max_grad_norm: 1.0 }
    }
}

/// Gradients by tensor name, summed over the micro-batches of one step.
#[derive(Clone, Debug, Default)]
pub struct Gradients(BTreeMap<String, Vec<f32>>);

impl Gradients {
    /// Adds what one backward pass left.
    ///
    /// # Errors
    ///
    /// [`Error::NoGradient`] if a trainable tensor is missing: candle's operations without a backward pass detach
    /// silently, and a model would train on with most of its tensors frozen.
    pub fn add(&mut self, params: &Params, mut store: GradStore) -> Result<()> {
        let missing: Vec<&String> =
            params.iter().filter(|(_, v)| store.get(v).is_none()).map(|(n, _)| n).collect();
        covered(&missing)?;
        self.take(params, &mut store)
    }

    /// Moves here what a backward pass over a part of the network left in `store`, one tensor after another, so that no
    /// two copies of all of them exist; other tensors stay as they are.
    /// [`Gradients::check`] says in the end whether every tensor had its turn.
    ///
    /// # Errors
    ///
    /// If a gradient cannot be read.
    pub fn take(&mut self, params: &Params, store: &mut GradStore) -> Result<()> {
        for (name, var) in params {
            let Some(grad) = store.remove(var) else { continue };
            with_values(&grad.contiguous()?, |grad| match self.0.get_mut(name) {
                Some(sum) => sum.iter_mut().zip(grad).for_each(|(s, g)| *s += g),
                None => {
                    self.0.insert(name.clone(), grad.to_vec());
                }
            })?;
        }
        Ok(())
    }

    /// Whether every trainable tensor has a gradient.
    ///
    /// # Errors
    ///
    /// [`Error::NoGradient`] naming the first that has none.
    pub fn check(&self, params: &Params) -> Result<()> {
        covered(&params.keys().filter(|name| !self.0.contains_key(*name)).collect::<Vec<_>>())
    }

    /// Adds the gradients of another part of the batch.
    pub fn merge(&mut self, other: Self) {
        for (name, grad) in other.0 {
            match self.0.entry(name) {
                Entry::Vacant(slot) => {
                    slot.insert(grad);
                }
                Entry::Occupied(mut sum) => sum.get_mut().iter_mut().zip(grad).for_each(|(s, g)| *s += g),
            }
        }
    }

    /// The gradient of one tensor, flat.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// Euclidean norm over all tensors.
    pub fn norm(&self) -> f64 {
        let square = |x: &f32| f64::from(*x) * f64::from(*x);
        self.0.values().map(|g| g.iter().map(square).sum::<f64>()).sum::<f64>().sqrt()
    }
}

fn covered(missing: &[&String]) -> Result<()> {
    match missing.first() {
        Some(name) => Err(Error::NoGradient { n: missing.len(), name: name.to_string() }),
        None => Ok(()),
    }
}

/// Weights times parts up to which parts of a batch are computed side by side: each holds its own gradients.
const SIDE_BY_SIDE: usize = 1 << 28;

/// How many parts of a batch are computed at a time on this machine's processor, for a model of so many weights.
pub fn parts_at_once(weights: usize) -> usize {
    (SIDE_BY_SIDE / weights.max(1)).clamp(1, rayon::current_num_threads())
}

/// Gradients and results of the parts of a batch, in the parts' order. One thread to a part is faster than all threads
/// on one, as long as the model is small; how many run at a time changes nothing else, since sums are in order.
///
/// # Errors
///
/// The first part's that failed.
pub(crate) fn in_parts<P: Sync, R: Send>(
    params: &Params,
    parts: &[P],
    run: impl Fn(&P) -> Result<(Gradients, R)> + Sync,
) -> Result<(Gradients, Vec<R>)> {
    let weights: usize = params.values().map(|var| var.elem_count()).sum();
    let on_cpu = params.values().all(|var| var.device().is_cpu());
    let at_once = if on_cpu { parts_at_once(weights) } else { 1 };
    let (mut grads, mut results) = (Gradients::default(), Vec::with_capacity(parts.len()));
    for wave in parts.chunks(at_once) {
        for done in side_by_side(wave.iter().collect(), &run) {
            let (own, result) = done?;
            grads.merge(own);
            results.push(result);
        }
    }
    Ok((grads, results))
}

/// First and second moment of every tensor, by its name.
pub type Moments = BTreeMap<String, (Vec<f32>, Vec<f32>)>;

/// The optimiser's state: first and second moment of every tensor, and the number of updates.
#[derive(Clone, Debug)]
pub struct AdamW {
    config: AdamWConfig,
    moments: Moments,
    steps: u64,
}

impl AdamW {
    /// A fresh optimiser; moments are zero.
    pub fn new(config: AdamWConfig) -> Self {
        Self { config, moments: BTreeMap::new(), steps: 0 }
    }

    /// The optimiser whose state this is: moments by tensor name, none before the first of `steps` updates.
    pub fn restored(config: AdamWConfig, moments: Moments, steps: u64) -> Self {
        Self { config, moments, steps }
    }

    /// Euclidean norm of the last update at the rate `lr`, without weight decay; 0 before the first.
    pub fn update_norm(&self, lr: f64) -> f64 {
        let c = &self.config;
        let bias = |beta: f64| 1.0 - beta.powf(self.steps as f64);
        let (step, root) = (lr / bias(c.beta1), 1.0 / bias(c.beta2).sqrt());
        let square = |(m, v): (&f32, &f32)| {
            let change = step * f64::from(*m) / (f64::from(*v).sqrt() * root + c.eps);
            change * change
        };
        let tensor = |(m, v): &(Vec<f32>, Vec<f32>)| m.iter().zip(v).map(square).sum::<f64>();
        self.moments.values().map(tensor).sum::<f64>().sqrt()
    }

    /// Updates done so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Moments by tensor name, for checkpoints.
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// Clips `grads` by their global norm, updates `params` in place and returns the norm before clipping.
    ///
    /// # Errors
    ///
    /// [`Error::NonFinite`] if the norm is not finite: the weights are left as they were.
    pub fn step(&mut self, params: &Params, grads: &Gradients, lr: f64) -> Result<f64> {
        let norm = grads.norm();
        if !norm.is_finite() {
            return Err(Error::NonFinite { name: "gradient norm", idx: 0, value: norm });
        }
        self.steps += 1;
        let c = &self.config;
        let update = Update {
            lr,
            beta1: c.beta1,
            beta2: c.beta2,
            eps: c.eps,
            weight_decay: c.weight_decay,
            // As torch.nn.utils.clip_grad_norm_.
            grad_scale: (c.max_grad_norm / (norm + 1e-6)).min(1.0),
            t: self.steps,
        };
        for (name, var) in params {
            let Some(grad) = grads.get(name) else { continue };
            let zero = || (vec![0.0; grad.len()], vec![0.0; grad.len()]);
            let (m, v) = self.moments.entry(name.clone()).or_insert_with(zero);
            if var.device().is_cpu() {
                var.inplace_op1(&InPlace { grad, moments: RefCell::new((m, v)), update })?;
            } else {
                fetched(var, grad, (m, v), &update)?;
            }
        }
        Ok(norm)
    }
}

/// Updates a tensor that lives on a device: gradients and moments are in main memory, and the weights come there too.
fn fetched(
    var: &Var,
    grad: &[f32],
    (m, v): (&mut [f32], &mut [f32]),
    update: &Update,
) -> candle_core::Result<()> {
    let mut weights = with_values(&var.as_tensor().contiguous()?, <[f32]>::to_vec)?;
    adamw::cpu(&mut weights, grad, m, v, update);
    var.set(&Tensor::from_vec(weights, var.shape(), var.device())?)
}

struct InPlace<'a> {
    grad: &'a [f32],
    moments: RefCell<(&'a mut Vec<f32>, &'a mut Vec<f32>)>,
    update: Update,
}

impl InplaceOp1 for InPlace<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (CpuStorage::F32(values), Some((from, to))) = (storage, layout.contiguous_offsets()) else {
            candle_core::bail!("adamw updates contiguous f32 tensors");
        };
        let (m, v) = &mut *self.moments.borrow_mut();
        adamw::cpu(&mut values[from..to], self.grad, m, v, &self.update);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn weights_that_are_fetched_are_updated_as_those_in_place() {
        let var = || Var::from_tensor(&Tensor::new(&[[0.5f32, -1.0], [2.0, 0.25]], &Device::Cpu).unwrap());
        let params = Params::from([("w".to_owned(), var().unwrap())]);
        let there = var().unwrap();
        let grad = vec![0.1, -0.2, 0.3, 0.0];
        let grads = Gradients(BTreeMap::from([("w".to_owned(), grad.clone())]));
        let mut optimizer = AdamW::new(AdamWConfig::default());
        let (mut m, mut v) = (vec![0.0; 4], vec![0.0; 4]);
        for t in 1..4 {
            optimizer.step(&params, &grads, 0.01).unwrap();
            let update = Update {
                lr: 0.01,
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                weight_decay: 0.01,
                grad_scale: 1.0,
                t,
            };
            fetched(&there, &grad, (&mut m, &mut v), &update).unwrap();
            assert_eq!(there.to_vec2::<f32>().unwrap(), params["w"].to_vec2::<f32>().unwrap());
        }
    }
}
