//! The kernels beside candle's own operations, in useful work per second: multiply-adds, values, queries, tokens.
//!
//! `cargo bench -p toolr0-benchmarks --bench kernels`; set `RAYON_NUM_THREADS=1` to measure one core.

use std::sync::Arc;

use anyhow::Result;
use candle_core::{Device, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use toolr0_model::kernels::attention::{self, Angles, Heads, Packing};
use toolr0_model::kernels::gemm::{Mat, Packed, matmul, matmul_packed};
use toolr0_model::kernels::{rms_norm, swiglu};
use toolr0_rl::kernels::token_logprobs::{composed, token_logprobs};

fn noise(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1000.0 - 1.0).collect()
}

fn tensor(shape: (usize, usize), seed: usize) -> Result<Tensor> {
    Ok(Tensor::from_vec(noise(shape.0 * shape.1, seed), shape, &Device::Cpu)?)
}

/// `(m, k) x (k, n)`: decoding a few rows, and a training batch, at the widths of the embedded base and of a 0.5 B
/// model. One element is one multiply-add.
fn gemm(c: &mut Criterion) {
    let mut group = c.benchmark_group("gemm");
    for (m, k, n) in [(1, 192, 512), (32, 192, 512), (2048, 192, 512), (32, 896, 4864), (512, 896, 4864)] {
        let id = format!("{m}x{k}x{n}");
        group.throughput(Throughput::Elements((m * k * n) as u64));
        let (a, b) = (noise(m * k, 1), noise(k * n, 2));
        let mut out = vec![0.0; m * n];
        group.bench_function(BenchmarkId::new("ours", &id), |bench| {
            bench.iter(|| matmul(Mat::new(&a, m, k), Mat::new(&b, k, n), &mut out, false));
        });
        let packed = Packed::new(Mat::new(&b, k, n));
        group.bench_function(BenchmarkId::new("ours, packed once", &id), |bench| {
            bench.iter(|| matmul_packed(Mat::new(&a, m, k), &packed, &mut out, false));
        });
        let (Ok(x), Ok(y)) = (tensor((m, k), 1), tensor((k, n), 2)) else { continue };
        group.bench_function(BenchmarkId::new("candle", &id), |bench| bench.iter(|| x.matmul(&y)));
    }
    group.finish();
}

/// Forward and backward of one tensor operation against its composed form. One element is one value of the input.
fn pointwise(c: &mut Criterion) {
    let (t, width) = (2048, 512);
    let both = |f: &dyn Fn(&Tensor) -> candle_core::Result<Tensor>,
                x: &candle_core::Var|
     -> candle_core::Result<_> { f(x.as_tensor())?.sum_all()?.backward() };
    let Ok(x) = tensor((t, width), 1).and_then(|x| Ok(candle_core::Var::from_tensor(&x)?)) else { return };
    let (Ok(weight), Ok(up)) =
        (Tensor::from_vec(noise(width, 3), width, &Device::Cpu), tensor((t, width), 4))
    else {
        return;
    };
    let mut group = c.benchmark_group("rms_norm");
    group.throughput(Throughput::Elements((t * width) as u64));
    group.bench_function("ours", |b| b.iter(|| both(&|x| rms_norm::rms_norm(x, &weight, 1e-6), &x)));
    group.bench_function("composed", |b| b.iter(|| both(&|x| rms_norm::reference(x, &weight, 1e-6), &x)));
    group.finish();
    let mut group = c.benchmark_group("swiglu");
    group.throughput(Throughput::Elements((t * width) as u64));
    group.bench_function("ours", |b| b.iter(|| both(&|x| swiglu::swiglu(x, &up), &x)));
    group.bench_function("composed", |b| b.iter(|| both(&|x| swiglu::reference(x, &up), &x)));
    group.finish();
}

/// A group of eight completions on one prompt, forward and backward. One element is one query token.
fn attend(c: &mut Criterion) {
    let heads = Heads { heads: 6, kv_heads: 2, dim: 32 };
    let mut group = c.benchmark_group("attention");
    for (prompt, own) in [(128, 32), (512, 64)] {
        let packing = Arc::new(Packing::trees([(prompt, &[own; 8][..])]));
        let t = packing.tokens();
        let inv_freq: Vec<f32> = (0..16).map(|i| 1e4f32.powf(-(i as f32) / 16.0)).collect();
        let angles = Arc::new(Angles::new(packing.positions(), &inv_freq));
        let var = |width, seed| tensor((t, width), seed).and_then(|x| Ok(candle_core::Var::from_tensor(&x)?));
        let (Ok(q), Ok(k), Ok(v)) = (var(192, 1), var(64, 2), var(64, 3)) else { continue };
        group.throughput(Throughput::Elements(t as u64));
        let id = format!("prompt {prompt}, 8 x {own}");
        group.bench_function(BenchmarkId::new("ours", &id), |b| {
            b.iter(|| attention::attention(&q, &k, &v, &packing, &angles, heads)?.sum_all()?.backward());
        });
        group.bench_function(BenchmarkId::new("dense scores", &id), |b| {
            b.iter(|| attention::reference(&q, &k, &v, &packing, &angles, heads)?.sum_all()?.backward());
        });
    }
    group.finish();
}

/// Log-probabilities and entropies of a batch, forward and backward. One element is one token.
fn head(c: &mut Criterion) {
    let mut group = c.benchmark_group("token_logprobs");
    group.sample_size(20);
    for (t, width, v) in [(2048, 192, 2048), (256, 896, 32_768)] {
        let var = |shape, seed| tensor(shape, seed).and_then(|x| Ok(candle_core::Var::from_tensor(&x)?));
        let (Ok(hidden), Ok(weight)) = (var((t, width), 1), var((v, width), 2)) else { continue };
        let targets: Vec<u32> = (0..t).map(|i| ((i * 31) % v) as u32).collect();
        group.throughput(Throughput::Elements(t as u64));
        let id = format!("{t} tokens, vocabulary {v}");
        group.bench_function(BenchmarkId::new("ours", &id), |b| {
            b.iter(|| token_logprobs(&hidden, &weight, &targets, 1.0)?.sum_all()?.backward());
        });
        group.bench_function(BenchmarkId::new("full logits", &id), |b| {
            b.iter(|| composed(&hidden, &weight, &targets, 1.0)?.sum_all()?.backward());
        });
    }
    group.finish();
}

criterion_group!(benches, gemm, pointwise, attend, head);
criterion_main!(benches);
