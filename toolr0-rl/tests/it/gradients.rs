//! Gradients and optimiser steps against PyTorch, by way of the trainer's own parts.
//!
//! Five checkpoints of transformers, by either body of the network: every gradient by name, then ten losses of ten AdamW steps. The sample in
//! `toolr0-model/tests/it/golden/models` always runs, and so do finite differences.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use toolr0_model::decoder::trainable;
use toolr0_model::kernels::body::Body;
use toolr0_model::{CausalLm, Checkpoint, ModelConfig, Params, weights};
use toolr0_rl::Error;
use toolr0_rl::optim::{AdamW, AdamWConfig, Gradients};
use toolr0_rl::sft::{Example, SftStats, gradients, mean_loss};

/// Largest gap allowed, relative to the largest number of the tensor, or to the loss.
const TOLERANCE: f64 = 1e-3;

fn examples(golden: &BTreeMap<String, Tensor>) -> Vec<Example> {
    let ids = |name: &str| golden[name].to_dtype(DType::U32).unwrap().to_vec2::<u32>().unwrap();
    let rows = ids("input_ids").into_iter().zip(ids("attention_mask"));
    rows.map(|(row, mask)| {
        let len = mask.iter().sum::<u32>() as usize;
        Example { tokens: row[..len].to_vec(), loss_from: 1 }
    })
    .collect()
}

fn flat(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// Gap of two gradients relative to the largest number of the second, and to its length.
fn gaps(got: &[f32], want: &[f32]) -> (f64, f64) {
    assert_eq!(got.len(), want.len());
    assert!(got.iter().all(|x| x.is_finite()));
    let pairs = || got.iter().zip(want).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let largest = pairs().map(|(_, b)| b.abs()).fold(0.0, f64::max);
    let worst = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let norm = pairs().map(|(_, b)| b * b).sum::<f64>().sqrt();
    let distance = pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    (worst / largest, distance / norm)
}

#[track_caller]
fn check(dir: &Path) {
    for body in [Body::Fused, Body::Composed(DType::F32)] {
        check_body(dir, body);
    }
}

#[track_caller]
fn check_body(dir: &Path, body: Body) {
    let name = format!("{}, {body:?}", dir.file_name().unwrap().to_string_lossy());
    let golden: BTreeMap<String, Tensor> =
        candle_core::safetensors::load(dir.join("golden.safetensors"), &Device::Cpu)
            .unwrap()
            .into_iter()
            .collect();
    let config = ModelConfig::load(dir).unwrap();
    let params = trainable(&weights::load(dir, &config).unwrap()).unwrap();
    let model = CausalLm::from_params(&config, &params).unwrap().with_body(body).unwrap();
    let examples = examples(&golden);

    let (grads, stats) = gradients(&model, &params, &examples).unwrap();
    let loss = f64::from(golden["loss"].to_vec1::<f32>().unwrap()[0]);
    assert!((stats.loss - loss).abs() <= 1e-4, "{name}: loss {}, expected {loss}", stats.loss);

    let named: Vec<&str> = golden.keys().filter_map(|key| key.strip_prefix("grad.")).collect();
    assert_eq!(named, params.keys().collect::<Vec<_>>(), "{name}: one gradient per trainable tensor");
    let mut worst: (f64, &str) = (0.0, "");
    for tensor in named {
        let want = flat(&golden[&format!("grad.{tensor}")]);
        let (largest, length) = gaps(grads.get(tensor).unwrap(), &want);
        assert!(
            largest <= TOLERANCE,
            "{name}: gradient of `{tensor}` is off by {largest:e} of its largest number"
        );
        assert!(length <= TOLERANCE, "{name}: gradient of `{tensor}` is off by {length:e} of its length");
        if worst.0 < largest {
            worst = (largest, tensor);
        }
    }

    let want: Vec<f32> = golden["adamw_losses"].to_vec1().unwrap();
    assert_eq!(want.len(), 10);
    let mut optimizer = AdamW::new(AdamWConfig {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        max_grad_norm: 1.0,
    });
    let mut drift: f64 = 0.0;
    let mut clipped = false;
    for (step, want) in want.iter().enumerate() {
        let (grads, SftStats { loss: got, .. }) = gradients(&model, &params, &examples).unwrap();
        drift = drift.max((got - f64::from(*want)).abs());
        assert!(drift <= TOLERANCE, "{name}: loss of step {step} is {got}, expected {want}");
        clipped |= 1.0 < optimizer.step(&params, &grads, 1e-3).unwrap();
    }
    assert!(clipped, "{name}: no step was clipped, so clipping went untested");
    assert!(want[9] < want[0] - 0.1, "{name}: the losses of the golden move");
    eprintln!("{name}: gradients within {:.1e} (`{}`), ten losses within {drift:.1e}", worst.0, worst.1);
}

/// The sample of `toolr0-model`; its numbers come from a float64 definition that was held against PyTorch's.
#[test]
fn gradients_and_ten_steps_match_the_sample() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../toolr0-model/tests/it/golden/models");
    for name in ["qwen3-mini", "llama3-mini"] {
        check(&models.join(name));
    }
}

#[test]
fn gradients_and_ten_steps_match_pytorch() {
    let Some(models) = crate::shared("golden/models") else { return };
    for name in ["qwen2-tied", "qwen2-untied", "qwen3", "llama3-scaled-rope", "llama-plain"] {
        check(&models.join(name));
    }
}

fn tiny() -> (Checkpoint, Vec<Example>) {
    let example = |seed: u32| Example {
        tokens: (0..20 + seed).map(|i| (i * 37 + seed * 101 + i * i) % 258).collect(),
        loss_from: 1 + seed as usize,
    };
    (crate::tiny(&[], 0.0, Checkpoint::chatml()), (0..3).map(example).collect())
}

/// Moving one tensor along its gradient changes the loss by the gradient's length: the definition, without PyTorch.
#[test]
fn every_gradient_is_the_slope_of_the_loss() {
    let (checkpoint, examples) = tiny();
    let params = trainable(&checkpoint.tensors).unwrap();
    let model = CausalLm::from_params(&checkpoint.config, &params).unwrap();
    let (grads, _) = gradients(&model, &params, &examples).unwrap();
    for name in checkpoint.tensors.keys() {
        let grad = grads.get(name).unwrap();
        let length = grad.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let loss = |step: f64| {
            let mut tensors = checkpoint.tensors.clone();
            let moved =
                flat(&tensors[name]).iter().zip(grad).map(|(w, g)| w + (step / length) as f32 * g).collect();
            let moved: Vec<f32> = moved;
            let shape = tensors[name].dims().to_vec();
            tensors.insert(name.clone(), Tensor::from_vec(moved, shape, &Device::Cpu).unwrap());
            let model = CausalLm::new(&checkpoint.config, &tensors).unwrap();
            f64::from(mean_loss(&model, &examples).unwrap().0.to_scalar::<f32>().unwrap())
        };
        // Central differences of two widths, so that the error of third order cancels; f32 losses are good to 1e-6.
        let h = 0.02;
        let slope = (8.0 * (loss(h) - loss(-h)) - (loss(2.0 * h) - loss(-2.0 * h))) / (12.0 * h);
        let gap = (slope - length).abs();
        assert!(gap <= 1e-4 + 0.01 * length, "`{name}`: slope {slope}, gradient of length {length}");
    }
}

/// A batch of many parts has the gradient of the batch in one piece.
#[test]
fn parts_of_a_batch_add_up_to_the_whole() {
    let (checkpoint, few) = tiny();
    let params = trainable(&checkpoint.tensors).unwrap();
    let model = CausalLm::from_params(&checkpoint.config, &params).unwrap();
    let many: Vec<Example> = few.iter().cycle().take(150).cloned().collect(); // over 3,000 tokens
    let (in_parts, stats) = gradients(&model, &params, &many).unwrap();
    let (mean, n) = mean_loss(&model, &many).unwrap();
    let mut whole = Gradients::default();
    whole.add(&params, mean.backward().unwrap()).unwrap();
    assert_eq!(stats.tokens, n);
    assert!((stats.loss - f64::from(mean.to_scalar::<f32>().unwrap())).abs() < 1e-5);
    for name in params.keys() {
        let (largest, _) = gaps(in_parts.get(name).unwrap(), whole.get(name).unwrap());
        assert!(largest < 1e-4, "`{name}`: {largest:e}");
    }
}

/// An operation without a backward pass detaches what lies before it: the trainer must not go on.
#[test]
fn a_dropped_gradient_is_caught() {
    let (checkpoint, examples) = tiny();
    let (tensors, config) = (&checkpoint.tensors, &checkpoint.config);
    let params = trainable(tensors).unwrap();
    let add = |model: &CausalLm, params: &Params| gradients(model, params, &examples).map(|_| ());
    add(&CausalLm::from_params(config, &params).unwrap(), &params).unwrap();

    let dropped = "model.layers.1.mlp.up_proj.weight";
    let mut parts: weights::Tensors =
        params.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
    parts.insert(dropped.into(), params[dropped].as_tensor().detach());
    let error = add(&CausalLm::new(config, &parts).unwrap(), &params).unwrap_err();
    assert!(matches!(&error, Error::NoGradient { n: 1, name } if name == dropped), "{error:?}");

    let mut more = params.clone();
    more.insert(
        "an adapter nobody uses".into(),
        candle_core::Var::zeros(3, DType::F32, &Device::Cpu).unwrap(),
    );
    let error = add(&CausalLm::from_params(config, &params).unwrap(), &more).unwrap_err();
    assert!(
        matches!(&error, Error::NoGradient { n: 1, name } if name.starts_with("an adapter")),
        "{error:?}"
    );

    let error = add(&CausalLm::new(config, tensors).unwrap(), &params).unwrap_err();
    assert!(matches!(&error, Error::NoGradient { n, .. } if *n == params.len()), "{error:?}");
}

#[test]
fn a_gradient_that_is_not_finite_leaves_the_weights() {
    let (checkpoint, examples) = tiny();
    let params = trainable(&checkpoint.tensors).unwrap();
    let model = CausalLm::from_params(&checkpoint.config, &params).unwrap();
    let mut grads = Gradients::default();
    let loss = mean_loss(&model, &examples).unwrap().0;
    grads.add(&params, (loss * f64::INFINITY).unwrap().backward().unwrap()).unwrap();
    let mut optimizer = AdamW::new(AdamWConfig::default());
    let error = optimizer.step(&params, &grads, 1e-3).unwrap_err();
    assert!(matches!(error, Error::NonFinite { .. }), "{error:?}");
    assert_eq!((optimizer.steps(), optimizer.moments().len()), (0, 0));
    for (name, var) in &params {
        assert_eq!(flat(var.as_tensor()), flat(&checkpoint.tensors[name]), "`{name}`");
    }
}
