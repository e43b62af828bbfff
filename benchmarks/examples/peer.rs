//! Our side of `baselines/compare.py`: one piece of work each time a line arrives.
//!
//! `cargo run --release -p toolr0-benchmarks --example peer -- sample|loss|step|roofline CHECKPOINT`. The work is
//! that of `baselines/peer.py`: 8 prompts of 256 tokens with 4 completions of 128 each, never ended early. `sample` draws them,
//! `loss` takes the gradient of the loss on completions that are given, and one optimiser step; `step` does both and the
//! advantages between. For each line of stdin a line `{"seconds": .., "peak_mb": ..}` is printed. `roofline` is `loss`,
//! beside the fastest matrix product on this machine and what the loss needs at least: see `docs/src/performance.md`.
#![expect(clippy::print_stdout, reason = "the lines are what it is for")]

use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use toolr0_benchmarks::peak_mib;
use toolr0_model::config::ModelConfig;
use toolr0_model::generate::Batching;
use toolr0_model::kernels::gemm::{Mat, Packed, matmul_packed};
use toolr0_model::rng::{Stream, uniform_f64};
use toolr0_model::{Checkpoint, Finish, Request, SamplingConfig, generate};
use toolr0_rl::advantage::{AdvantageConfig, group_advantages};
use toolr0_rl::config::RlConfig;
use toolr0_rl::loss::GrpoConfig;
use toolr0_rl::optim::AdamW;
use toolr0_rl::policy::{Agent, Group, Role, Rollout};
use toolr0_rl::update::update;

/// The command line's allocator.
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PROMPTS: usize = 8;
const GROUP: usize = 4;
const PROMPT: usize = 256;
const NEW: usize = 128;
const TEMPERATURE: f64 = 0.7;

/// The policy and all that an update needs.
struct Work {
    checkpoint: Checkpoint,
    agent: Agent,
    optimizer: AdamW,
    rl: RlConfig,
    stream: Stream,
}

impl Work {
    fn load(dir: &Path, stream: Stream) -> Result<Self> {
        let (checkpoint, _) = Checkpoint::load_or_byte_level(dir)?;
        let agent = Agent::new(Role::Solver, &checkpoint)?;
        let loss = GrpoConfig { beta: 0.0, temperature: TEMPERATURE, ..GrpoConfig::default() };
        // One group a piece.
        let rl = RlConfig { loss, learning_rate: 1e-5, micro_batch_tokens: 1024, ..RlConfig::default() };
        Ok(Self { agent, optimizer: AdamW::new(rl.adamw.clone()), rl, stream, checkpoint })
    }

    fn tokens(&self, stream: Stream, n: usize) -> Vec<u32> {
        let (mut rng, vocab) = (stream.rng(), self.checkpoint.config.vocab_size);
        (0..n).map(|_| 4 + (uniform_f64(&mut rng) * (vocab - 4) as f64) as u32).collect()
    }

    fn prompts(&self) -> Vec<Vec<u32>> {
        (0..PROMPTS).map(|i| self.tokens(self.stream.child("prompt").child(i), PROMPT)).collect()
    }

    /// Completions of the policy as it is now. No token ends them.
    fn sample(&self) -> Result<Vec<Group>> {
        let streams = |i: usize| (0..GROUP).map(|j| self.stream.child("sample").child(i).child(j)).collect();
        let requests: Vec<Request> = self
            .prompts()
            .into_iter()
            .enumerate()
            .map(|(i, prompt)| Request { prompt, streams: streams(i) })
            .collect();
        let config =
            SamplingConfig { temperature: TEMPERATURE, max_new_tokens: NEW, ..SamplingConfig::default() };
        let model = self.agent.model().frozen()?;
        let tokenizer = &self.checkpoint.tokenizer;
        let drawn = generate(&model, tokenizer, &[], &requests, &config, Batching::default(), &mut |_| true)?;
        let rollout = |c: toolr0_model::Completion| Rollout {
            tokens: c.tokens,
            logprobs: c.logprobs,
            finish: c.finish,
            text: String::new(),
            quoted: Vec::new(),
        };
        let groups = requests.into_iter().zip(drawn);
        Ok(groups
            .map(|(request, completions)| Group {
                prompt: request.prompt,
                rollouts: completions.into_iter().map(rollout).collect(),
            })
            .collect())
    }

    /// Completions of nobody, for a loss that costs what any other costs.
    fn given(&self) -> Vec<Group> {
        let rollout = |i: usize, j: usize| Rollout {
            tokens: self.tokens(self.stream.child("given").child(i).child(j), NEW),
            logprobs: vec![-(self.checkpoint.config.vocab_size as f32).ln(); NEW],
            finish: Finish::Length,
            text: String::new(),
            quoted: Vec::new(),
        };
        let prompts = self.prompts().into_iter().enumerate();
        prompts
            .map(|(i, prompt)| Group { prompt, rollouts: (0..GROUP).map(|j| rollout(i, j)).collect() })
            .collect()
    }

    fn learn(&mut self, groups: &[Group]) -> Result<()> {
        let mut rng = self.stream.child("rewards").rng();
        let rewards: Vec<f64> = (0..PROMPTS * GROUP).map(|_| uniform_f64(&mut rng)).collect();
        let advantages = group_advantages(&rewards, GROUP, &AdvantageConfig::default())?;
        let Self { agent, optimizer, rl, stream, .. } = self;
        update(agent, optimizer, groups, &advantages, None, rl, rl.learning_rate, *stream)?;
        Ok(())
    }
}

/// Multiply-adds (counted twice) and bytes that the loss and its gradient need at least, shared prompts counted once.
///
/// Products: weights of the layers times positions and of the head times loss tokens, each forward, for the input's
/// gradient and for the weight's. Attention: two products a pair forward and four backward. Recomputed products do not
/// count. Bytes: weights read twice and their gradient written for each group, activations written and read once.
fn needed(config: &ModelConfig, rl: &RlConfig) -> (f64, f64) {
    let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let layer = 2 * config.hidden * (q + kv) + 3 * config.hidden * config.intermediate;
    let (body, head) = (config.layers * layer, config.vocab_size * config.hidden);
    let (shared, own) = (PROMPT - 1, NEW);
    let positions = PROMPTS * (shared + GROUP * own);
    let within = |n: usize| n * (n + 1) / 2;
    let pairs = PROMPTS * (within(shared) + GROUP * (own * shared + within(own)));
    let products = 6 * (body * positions + head * PROMPTS * GROUP * own);
    let attention = 12 * pairs * q * config.layers;
    let weights = 3 * size_of::<f32>() * (body + head) * PROMPTS;
    let activations = 2 * rl.activation_bytes(config, positions);
    ((products + attention) as f64, (weights + activations) as f64)
}

/// The fastest of some matrix products, GFLOP/s, all threads.
fn peak_gflops() -> f64 {
    let speed = |(m, k, n): (usize, usize, usize)| {
        let (a, b) = (vec![0.5; m * k], Packed::new(Mat::new(&vec![0.25; k * n], k, n)));
        let mut out = vec![0.0; m * n];
        let mut once = || {
            let clock = Instant::now();
            matmul_packed(Mat::new(&a, m, k), &b, &mut out, false);
            2e-9 * (m * k * n) as f64 / clock.elapsed().as_secs_f64()
        };
        (0..20).map(|_| once()).fold(0.0, f64::max)
    };
    [(1024, 1024, 1024), (1536, 512, 1408), (6144, 192, 512)].into_iter().map(speed).fold(0.0, f64::max)
}

fn main() -> Result<()> {
    // As the command line does, where it says why: candle without threads of its own, an allocator that keeps what is freed.
    #[expect(unsafe_code, reason = "settings of the environment and of a C library")]
    // SAFETY: no other thread exists yet that could read the environment; 15 is `mi_option_purge_delay`.
    unsafe {
        std::env::set_var("CANDLE_NUM_THREADS", "1");
        libmimalloc_sys::mi_option_set(15, -1);
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [what, dir] = args.as_slice() else {
        bail!("expected `sample`, `loss`, `step` or `roofline`, and a checkpoint")
    };
    let root = Stream::root(1);
    let mut work = Work::load(Path::new(dir), root)?;
    let given = work.given();
    for (turn, line) in std::io::stdin().lock().lines().enumerate() {
        line.context("stdin cannot be read")?;
        work.stream = root.child(turn);
        let clock = Instant::now();
        match what.as_str() {
            "sample" => drop(work.sample()?),
            "loss" | "roofline" => work.learn(&given)?,
            "step" => {
                let groups = work.sample()?;
                work.learn(&groups)?;
            }
            other => bail!("`{other}` is no work; expected `sample`, `loss`, `step` or `roofline`"),
        }
        let seconds = clock.elapsed().as_secs_f64();
        let mut line = serde_json::json!({"seconds": seconds, "peak_mb": peak_mib()});
        if what == "roofline" {
            let ((flops, bytes), peak) = (needed(&work.checkpoint.config, &work.rl), peak_gflops());
            let rate = 1e-9 * flops / seconds;
            line["gflop"] = (1e-9 * flops).into();
            line["flops_per_byte"] = (flops / bytes).into();
            line["gflops"] = rate.into();
            line["gemm_peak_gflops"] = peak.into();
            line["share_of_peak"] = (rate / peak).into();
        }
        println!("{line}");
    }
    Ok(())
}
