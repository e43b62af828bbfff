//! Whole paths: rollout, update, optimiser, verification, curriculum; and how their cost grows.
//!
//! `cargo bench -p toolr0-benchmarks --bench engine`. The network is a random one of the size of `2m` in
//! `baselines/peer.py`, so that numbers can be held against each other.

use anyhow::Result;
use candle_core::{Device, Tensor};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use serde_json::{Map, json};
use toolr0_curriculum::{
    Attempts, Candidate, Funnel, Pool, SelectConfig, SpecLaw, dedup, draw_specs, pool, select,
};
use toolr0_model::config::{Architecture, ModelConfig, WeightDtype};
use toolr0_model::generate::Batching;
use toolr0_model::rng::{Stream, uniform_f64};
use toolr0_model::weights::{Tensors, expected_tensors};
use toolr0_model::{CausalLm, Checkpoint, Finish, Request, SamplingConfig, Tokenizer, generate};
use toolr0_reward::tools::{Context, Task, TaskSpec, ToolCall, ToolSpec};
use toolr0_reward::verify::{VerifyConfig, verify};
use toolr0_rl::config::RlConfig;
use toolr0_rl::kernels::adamw::{self, Update};
use toolr0_rl::loss::GrpoConfig;
use toolr0_rl::optim::AdamW;
use toolr0_rl::policy::{Agent, Group, Role, Rollout};
use toolr0_rl::update::update;

/// 2.5 million weights.
fn config(vocab_size: usize) -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Qwen2,
        vocab_size,
        hidden: 192,
        layers: 6,
        heads: 6,
        kv_heads: 2,
        head_dim: 32,
        intermediate: 512,
        rms_eps: 1e-6,
        rope_theta: 1e4,
        rope_scaling: None,
        tie_word_embeddings: true,
        qkv_bias: true,
        qk_norm: false,
        max_position: 2048,
        eos_token_ids: vec![2],
        bos_token_id: None,
        pad_token_id: None,
        initializer_range: 0.02,
        dtype: WeightDtype::F32,
    }
}

fn random(config: &ModelConfig) -> Result<Tensors> {
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let mut rng = Stream::root(1).child(name.as_str()).rng();
        let n: usize = shape.iter().product();
        let centre = if name.ends_with("norm.weight") { 1.0 } else { 0.0 };
        let values: Vec<f32> = (0..n).map(|_| centre + 0.04 * (uniform_f64(&mut rng) as f32 - 0.5)).collect();
        Ok((name, Tensor::from_vec(values, shape, &Device::Cpu)?))
    };
    expected_tensors(config).into_iter().map(tensor).collect()
}

/// One word a token.
fn words(vocab: usize) -> String {
    let vocab: Map<_, _> = (0..vocab).map(|i| (format!("w{i}"), json!(i))).collect();
    json!({"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"},
           "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "w0"}})
    .to_string()
}

fn tokens(stream: Stream, n: usize, vocab: usize) -> Vec<u32> {
    let mut rng = stream.rng();
    (0..n).map(|_| (uniform_f64(&mut rng) * vocab as f64) as u32).collect()
}

/// New tokens per second: 32 rows as groups of one size on prompts of one length.
fn rollout(c: &mut Criterion) {
    let config = config(2048);
    let path = std::path::Path::new("bench");
    let (Ok(tensors), Ok(tokenizer)) = (random(&config), Tokenizer::from_json(words(2048), path)) else {
        return;
    };
    let Ok(model) = CausalLm::new(&config, &tensors).and_then(|model| model.frozen()) else { return };
    let sampling = SamplingConfig { temperature: 0.7, max_new_tokens: 128, ..SamplingConfig::default() };
    let mut group = c.benchmark_group("rollout, new tokens");
    group.sample_size(10).sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(32 * 128));
    for (prompt, size) in [(256, 1), (256, 4), (256, 8), (64, 4), (1024, 4)] {
        let request = |i: usize| Request {
            prompt: tokens(Stream::root(2).child(i), prompt, 2048),
            streams: (0..size).map(|j| Stream::root(3).child(i).child(j)).collect(),
        };
        let requests: Vec<Request> = (0..32 / size).map(request).collect();
        let id = format!("prompt {prompt}, groups of {size}");
        group.bench_function(BenchmarkId::from_parameter(id), |b| {
            b.iter(|| {
                generate(&model, &tokenizer, &[], &requests, &sampling, Batching::default(), &mut |_| true)
            });
        });
    }
    group.finish();
}

/// Tokens of the padded, unshared batch per second: forward, backward and AdamW on 32 completions of 128 tokens.
fn learn(c: &mut Criterion) {
    let mut group = c.benchmark_group("update, padded tokens");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    let cases = [
        (256, 1, 2048, false),
        (256, 4, 2048, false),
        (256, 4, 2048, true),
        (256, 8, 2048, false),
        (1024, 4, 2048, false),
        (256, 4, 32_768, false),
        (256, 4, 151_936, false),
    ];
    for (prompt, size, vocab, recompute) in cases {
        let config = config(vocab);
        let Ok(tensors) = random(&config) else { return };
        let words_config = json!({"chat_template": Checkpoint::chatml()}).to_string();
        let path = std::path::Path::new("bench");
        let Ok(checkpoint) = Checkpoint::new(config, tensors, &words(vocab), &words_config, path) else {
            return;
        };
        let Ok(agent) = Agent::new(Role::Solver, &checkpoint) else { return };
        let rollout = |i: usize, j: usize| Rollout {
            tokens: tokens(Stream::root(4).child(i).child(j), 128, vocab),
            logprobs: vec![-(vocab as f32).ln(); 128],
            finish: Finish::Length,
            text: String::new(),
            quoted: Vec::new(),
        };
        let groups: Vec<Group> = (0..32 / size)
            .map(|i| Group {
                prompt: tokens(Stream::root(5).child(i), prompt, vocab),
                rollouts: (0..size).map(|j| rollout(i, j)).collect(),
            })
            .collect();
        let advantages: Vec<f64> = (0..32).map(|i| f64::from(i % 7) - 3.0).collect();
        let loss = GrpoConfig { beta: 0.0, ..GrpoConfig::default() };
        let rl = RlConfig { loss, recompute, micro_batch_tokens: 1024, ..RlConfig::default() };
        let mut optimizer = AdamW::new(rl.adamw.clone());
        group.throughput(Throughput::Elements(32 * (prompt as u64 + 128)));
        let how = if recompute { ", recomputed" } else { "" };
        let id = format!("prompt {prompt}, groups of {size}, vocabulary {vocab}{how}");
        group.bench_function(BenchmarkId::from_parameter(id), |b| {
            b.iter(|| update(&agent, &mut optimizer, &groups, &advantages, None, &rl, 1e-6, Stream::root(0)));
        });
    }
    group.finish();
}

/// Weights per second.
fn optimizer(c: &mut Criterion) {
    let n = 1 << 20;
    let update =
        Update { lr: 1e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, grad_scale: 1.0, t: 10 };
    let (mut values, grad) = (vec![0.5f32; n], vec![0.01f32; n]);
    let (mut m, mut v) = (vec![0.0f32; n], vec![0.0f32; n]);
    let mut group = c.benchmark_group("adamw");
    group.throughput(Throughput::Elements(n as u64));
    group.bench_function("ours", |b| b.iter(|| adamw::cpu(&mut values, &grad, &mut m, &mut v, &update)));
    group.finish();
}

/// A sound task about parcel `i`.
fn task(i: usize) -> Task {
    let tool = |name: &str, key: &str, kind: &str| {
        let properties = Map::from_iter([(key.to_owned(), json!({"type": kind}))]);
        ToolSpec::new(name, format!("About the {key} of a parcel."), properties, &[key])
    };
    Task {
        question: format!("Please send the parcel to room {} of the building in Oslo.", 100 + i),
        tools: vec![tool("send_parcel", "room", "integer"), tool("track_parcel", "code", "string")],
        gold: vec![ToolCall::new("send_parcel", Map::from_iter([("room".to_owned(), json!(100 + i))]))],
    }
}

/// Tasks per second: structural verification, and the way from candidates to a curriculum.
fn curriculum(c: &mut Criterion) {
    let spec = TaskSpec { domain: "logistics".into(), context: Context::SingleTurn, n_tools: 2, n_calls: 1 };
    let tasks: Vec<Task> = (0..1000).map(task).collect();
    let mut group = c.benchmark_group("tasks");
    group.throughput(Throughput::Elements(1000));
    let verifying = VerifyConfig::default();
    group.bench_function("verify", |b| {
        b.iter(|| tasks.iter().filter(|task| verify(task, &spec, &verifying).is_ok()).count());
    });
    let specs = draw_specs(&SpecLaw::paper(), 1000, &mut Stream::root(6).rng());
    let candidates: Vec<Candidate> = tasks
        .iter()
        .zip(specs)
        .enumerate()
        .map(|(i, (task, spec))| {
            let attempts = Attempts::new(i as u32 % 9, 8).unwrap_or_default();
            Candidate { attempts, ..Candidate::new(task.clone(), spec) }
        })
        .collect();
    for n_tasks in [64, 512] {
        let config = SelectConfig { n_tasks, ..Default::default() };
        group.bench_function(BenchmarkId::new("dedup, cross-verify, select", n_tasks), |b| {
            b.iter(|| {
                let mut pool = Pool::new(candidates.clone(), Funnel::default());
                pool.step("dedup", dedup);
                pool.step("cross-verify", |all| pool::verify(all, pool::AGREEMENT, pool::Agree::Answer));
                select(pool.candidates, &config, &mut Stream::root(7).rng()).map(|s| s.tasks.len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, rollout, learn, optimizer, curriculum);
criterion_main!(benches);
