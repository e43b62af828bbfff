//! The two bodies of the network against each other: what a device computes is proven here, in main memory.

use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{D, DType, Device, Tensor};
use toolr0_model::config::Architecture;
use toolr0_model::decoder::trainable;
use toolr0_model::generate::Batching;
use toolr0_model::kernels::attention::Packing;
use toolr0_model::kernels::body::Body;
use toolr0_model::rng::Stream;
use toolr0_model::weights::Tensors;
use toolr0_model::{CausalLm, Completion, LoraConfig, Params, SamplingConfig};

use crate::generate::{FAMILIES, random, requests, run, sampling, text, tiny};

const COMPOSED: Body = Body::Composed(DType::F32);

/// Prompts of which one has a single token, so that nothing of it is shared, and completions of uneven length.
fn packing() -> Packing {
    let groups: [(usize, &[usize]); 4] = [(20, &[3, 18, 1]), (7, &[]), (0, &[5, 2]), (16, &[16, 2])];
    Packing::trees(groups)
}

fn log_softmax(logits: &Tensor) -> Tensor {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1).unwrap().detach()).unwrap();
    let norm = shifted.exp().unwrap().sum_keepdim(D::Minus1).unwrap().log().unwrap();
    shifted.broadcast_sub(&norm).unwrap()
}

/// Log-probabilities of a text under the packing, `(t,)`.
fn logprobs(model: &CausalLm, hidden: &Tensor) -> Tensor {
    let targets = Tensor::new(text(8, packing().tokens()), &Device::Cpu).unwrap().unsqueeze(1).unwrap();
    log_softmax(&model.logits(hidden).unwrap()).gather(&targets, 1).unwrap().squeeze(1).unwrap()
}

/// With an upstream gradient that is not uniform.
fn backward(logprobs: &Tensor) -> GradStore {
    let t = logprobs.elem_count();
    let up: Vec<f32> = (0..t).map(|i| ((i * 7919) % 203) as f32 / 70.0 - 1.4).collect();
    (logprobs * Tensor::new(up, &Device::Cpu).unwrap()).unwrap().sum_all().unwrap().backward().unwrap()
}

fn flat(x: &Tensor) -> Vec<f32> {
    x.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest gap relative to the largest number; NaN is an infinite one.
fn gap(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
    let one = |(a, b): (&f32, &f32)| if a.is_nan() || b.is_nan() { f32::INFINITY } else { (a - b).abs() };
    got.iter().zip(want).map(one).fold(0.0, f32::max) / largest
}

/// Log-probabilities and every gradient by name of both bodies.
#[track_caller]
fn check(what: &str, params: &Params, model: &CausalLm, body: Body, tolerances: (f32, f32)) {
    let (tokens, packing) = (text(7, packing().tokens()), Arc::new(packing()));
    let dropout = Some(Stream::root(3));
    let one = |body: Body| {
        let model = model.clone().with_body(body).unwrap();
        let hidden = model.forward_dropping(&tokens, &packing, dropout).unwrap();
        assert_eq!(hidden.dtype(), body.dtype());
        let logprobs = logprobs(&model, &hidden);
        let grads = backward(&logprobs);
        (flat(&logprobs), grads)
    };
    let ((want, want_grads), (got, grads)) = (one(Body::Fused), one(body));
    let off = gap(&got, &want);
    assert!(off <= tolerances.0, "{what}: log-probabilities are off by {off:e}");
    for (name, var) in params {
        let want = want_grads.get(var).expect(name);
        let got = grads.get(var).unwrap_or_else(|| panic!("{what}: `{name}` got no gradient"));
        assert_eq!(got.dtype(), DType::F32);
        let off = gap(&flat(got), &flat(want));
        assert!(off <= tolerances.1, "{what}: the gradient of `{name}` is off by {off:e}");
    }

    // A layer at a time.
    let model = model.clone().with_body(body).unwrap();
    let (hidden, tape) = model.forward_recomputing(&tokens, &packing, dropout).unwrap();
    let mut head = backward(&logprobs(&model, &hidden));
    let mut seen = std::collections::BTreeMap::<&String, Tensor>::new();
    let mut take = |store: &mut GradStore| -> toolr0_model::Result<()> {
        for (name, var) in params {
            let Some(grad) = store.get(var) else { continue };
            let sum = seen.get(name).map_or(Ok(grad.clone()), |sum| sum + grad)?;
            seen.insert(name, sum);
        }
        Ok(())
    };
    take(&mut head).unwrap();
    tape.backward(&head, &mut take).unwrap();
    for (name, var) in params {
        let off = gap(&flat(&seen[name]), &flat(grads.get(var).unwrap()));
        assert!(off <= 1e-5f32.max(tolerances.1 / 100.0), "{what}: recomputed, `{name}` is off by {off:e}");
    }
}

fn adapted(architecture: Architecture) -> (Params, CausalLm) {
    let config = tiny(architecture);
    let lora = LoraConfig { rank: 4, dropout: 0.25, ..LoraConfig::default() };
    let fresh = lora.fresh(&config, Stream::root(4)).unwrap();
    // B is zero where nothing was learned yet, and A then has no gradient.
    let moved: Tensors = fresh.into_iter().map(|(name, x)| (name, ((x + 0.03).unwrap()))).collect();
    let params = trainable(&moved).unwrap();
    let adapters = params.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
    let model = CausalLm::new(&config, &random(&config)).unwrap().with_adapters(&lora, &adapters).unwrap();
    (params, model)
}

#[test]
fn both_bodies_give_the_same_gradients() {
    for architecture in FAMILIES {
        let config = tiny(architecture);
        let params = trainable(&random(&config)).unwrap();
        let model = CausalLm::from_params(&config, &params).unwrap();
        check(&format!("{architecture:?}"), &params, &model, COMPOSED, (1e-4, 1e-3));
        let (params, model) = adapted(architecture);
        check(&format!("{architecture:?} with adapters"), &params, &model, COMPOSED, (1e-4, 1e-3));
    }
}

/// Sixteen bits for products alone: weights and their gradients stay f32.
#[test]
fn sixteen_bits_are_near() {
    let config = tiny(Architecture::Qwen2);
    let params = trainable(&random(&config)).unwrap();
    let model = CausalLm::from_params(&config, &params).unwrap();
    check("f16", &params, &model, Body::Composed(DType::F16), (1e-2, 5e-2));
    let (params, model) = adapted(Architecture::Qwen3);
    check("f16 with adapters", &params, &model, Body::Composed(DType::F16), (1e-2, 5e-2));
}

fn flat_logprobs(done: &[Vec<Completion>]) -> Vec<f32> {
    done.iter().flatten().flat_map(|c| c.logprobs.clone()).collect()
}

/// The same words from the same streams, whatever the batch, greedy or not.
#[test]
fn both_bodies_write_the_same() {
    for architecture in FAMILIES {
        let config = tiny(architecture);
        let fused = CausalLm::new(&config, &random(&config)).unwrap();
        let composed = fused.clone().with_body(COMPOSED).unwrap().frozen().unwrap();
        let fused = fused.frozen().unwrap();
        for settings in [SamplingConfig { max_new_tokens: 24, ..SamplingConfig::greedy() }, sampling(24)] {
            let want = run(&fused, &requests(), &settings, Batching::default());
            for (max_rows, max_prefill) in [(128, 4096), (5, 20), (1, 1)] {
                let got = run(&composed, &requests(), &settings, Batching { max_rows, max_prefill });
                let words = |all: &[Vec<Completion>]| -> Vec<_> {
                    all.iter().flatten().map(|c| (c.tokens.clone(), c.finish)).collect()
                };
                assert_eq!(words(&got), words(&want), "{architecture:?}, {max_rows} rows");
                let off = gap(&flat_logprobs(&got), &flat_logprobs(&want));
                assert!(off <= 1e-4, "{architecture:?}, {max_rows} rows: log-probabilities off by {off:e}");
            }
            // Twice the same: the same bits.
            let again = run(&composed, &requests(), &settings, Batching::default());
            let first = run(&composed, &requests(), &settings, Batching::default());
            assert_eq!(flat_logprobs(&again), flat_logprobs(&first));
        }
    }
}

/// A sampler is a copy: what is learned later does not reach it.
#[test]
fn a_composed_sampler_keeps_its_weights() {
    let config = tiny(Architecture::Qwen2);
    let params = trainable(&random(&config)).unwrap();
    let model = CausalLm::from_params(&config, &params).unwrap().with_body(COMPOSED).unwrap();
    let frozen = model.frozen().unwrap();
    let want = run(&frozen, &requests(), &sampling(8), Batching::default());
    for var in params.values() {
        var.set(&(var.as_tensor() * 0.5).unwrap()).unwrap();
    }
    assert_eq!(run(&frozen, &requests(), &sampling(8), Batching::default()), want);
}
