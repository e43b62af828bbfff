//! The whole loop on this machine's GPU, a piece of work at a time: `benchmarks/gpu/run.sh` runs it.
//!
//! ```text
//! gpu_loop checkpoints DIR    random weights in the shapes of Qwen2.5-0.5B and 1.5B, in DIR/0.5b and DIR/1.5b
//! gpu_loop head               memory of the loss over weights and gradients: 8 x 2,048 tokens, hidden 1,536
//! gpu_loop sample CHECKPOINT  8 prompts of 512 tokens, 4 completions of 512 each, never ended early
//! gpu_loop step CHECKPOINT    the same, and the update on it
//! gpu_loop gap CHECKPOINT     how far the sampler's log-probabilities are from the trainer's
//! gpu_loop bits CHECKPOINT    whether two runs of 5 steps end in the same weights
//! ```
//!
//! Each prints one JSON object. Memory is what the device has less of than when the program began, at its most.
#![expect(clippy::print_stdout, reason = "an example speaks")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor, Var};
use cudarc::driver::result::mem_get_info;
use serde_json::{Value, json};
use toolr0_model::config::{Architecture, WeightDtype};
use toolr0_model::generate::Batching;
use toolr0_model::rng::{Stream, uniform_f64};
use toolr0_model::weights::{Tensors, expected_tensors, save, save_text};
use toolr0_model::{Checkpoint, ModelConfig, Request, SamplingConfig, generate};
use toolr0_rl::advantage::{AdvantageConfig, group_advantages};
use toolr0_rl::config::RlConfig;
use toolr0_rl::kernels::cuda::{device, ops};
use toolr0_rl::ledger::digest;
use toolr0_rl::loss::{Advantages, GrpoConfig, LossInput, Window};
use toolr0_rl::optim::AdamW;
use toolr0_rl::policy::{Agent, Group, Role, Rollout};
use toolr0_rl::update::{logprobs, update};

const PROMPTS: usize = 8;
const GROUP: usize = 4;
const PROMPT: usize = 512;
const NEW: usize = 512;
const ROUNDS: usize = 3;
const MIB: f64 = (1 << 20) as f64;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let ["checkpoints", dir] = args[..] {
        return checkpoints(Path::new(dir));
    }
    let name = device::name(0)?;
    let gpu = Device::new_cuda(0)?;
    let memory = Memory::watch(&gpu)?;
    let mut answer = match args[..] {
        ["head"] => head(&gpu, &memory)?,
        ["sample", dir] => {
            Work::load(dir, &gpu)?.timed(&memory, |work, stream| work.sample(stream).map(drop))?
        }
        ["step", dir] => Work::load(dir, &gpu)?.timed(&memory, Work::step)?,
        ["gap", dir] => Work::load(dir, &gpu)?.gap()?,
        ["bits", dir] => bits(dir, &gpu)?,
        _ => bail!("expected `checkpoints DIR`, `head`, or `sample`, `step`, `gap`, `bits` and a checkpoint"),
    };
    answer["device"] = name.into();
    println!("{answer}");
    Ok(())
}

/// The most memory that was taken, asked for a thousand times a second.
struct Memory {
    most: Arc<AtomicUsize>,
    before: usize,
    done: Arc<AtomicBool>,
}

impl Memory {
    fn watch(gpu: &Device) -> Result<Self> {
        let stream = gpu.as_cuda_device()?.cuda_stream();
        let taken = || mem_get_info().map_or(0, |(free, total)| total - free);
        stream.context().bind_to_thread()?;
        let (before, most, done) = (taken(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (there, ended) = (most.clone(), done.clone());
        std::thread::spawn(move || {
            if stream.context().bind_to_thread().is_err() {
                return;
            }
            while !ended.load(Ordering::Relaxed) {
                there.fetch_max(taken(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Ok(Self { most, before, done })
    }

    fn mib(&self) -> f64 {
        self.most.load(Ordering::Relaxed).saturating_sub(self.before) as f64 / MIB
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

/// Shapes of Qwen2.5: hidden, layers, heads, head dimension, width of the MLP.
const SHAPES: [(&str, [usize; 5]); 2] =
    [("0.5b", [896, 24, 14, 64, 4864]), ("1.5b", [1536, 28, 12, 128, 8960])];

fn checkpoints(dir: &Path) -> Result<()> {
    for (name, [hidden, layers, heads, head_dim, intermediate]) in SHAPES {
        let config = ModelConfig {
            architecture: Architecture::Qwen2,
            vocab_size: 151_936,
            hidden,
            layers,
            heads,
            kv_heads: 2,
            head_dim,
            intermediate,
            rms_eps: 1e-6,
            rope_theta: 1e6,
            rope_scaling: None,
            tie_word_embeddings: true,
            qkv_bias: true,
            qk_norm: false,
            max_position: 32_768,
            eos_token_ids: vec![151_645],
            bos_token_id: None,
            pad_token_id: None,
            initializer_range: 0.02,
            dtype: WeightDtype::Bf16,
        };
        let tensor = |(name, shape): (String, Vec<usize>)| -> Result<(String, Tensor)> {
            let (centre, size) = if name.contains("norm") { (1.0, 0.0) } else { (0.0, 0.035) };
            let mut rng = Stream::root(1).child(name.as_str()).rng();
            let values = (0..shape.iter().product::<usize>())
                .map(|_| (centre + size * (2.0 * uniform_f64(&mut rng) - 1.0)) as f32)
                .collect::<Vec<f32>>();
            Ok((name, Tensor::from_vec(values, shape, &Device::Cpu)?))
        };
        let tensors: Tensors = expected_tensors(&config).into_iter().map(tensor).collect::<Result<_>>()?;
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir)?;
        save_text(&dir.join("config.json"), &config.to_json())?;
        save(&dir, &tensors, config.dtype)?;
    }
    Ok(())
}

/// Loss, forward and backward, of 8 x 2,048 tokens over a head of 151,936 x 1,536.
fn head(gpu: &Device, memory: &Memory) -> Result<Value> {
    let (t, c, v) = (8 * 2048, 1536, 151_936);
    let values =
        |n: usize| -> Vec<f32> { (0..n).map(|i| ((i * 7919) % 2003) as f32 / 100_000.0 - 0.01).collect() };
    let var = |rows, dtype| -> Result<Var> {
        Ok(Var::from_tensor(&Tensor::from_vec(values(rows * c), (rows, c), gpu)?.to_dtype(dtype)?)?)
    };
    let (hidden, weight) = (var(t, DType::BF16)?, var(v, DType::F32)?);
    let targets: Vec<u32> = (0..t).map(|i| ((i * 31) % v) as u32).collect();
    let (row_lens, mask, old) = ([2048; 8], vec![true; t], vec![-12.0; t]);
    let advantages = [0.5, -0.5, 1.0, -1.0, 0.25, -0.25, 0.75, -0.75];
    let input = LossInput {
        row_lens: &row_lens,
        mask: &mask,
        logprobs: &[],
        old: Some(&old),
        reference: None,
        sampler: Some(&old),
        entropies: None,
        advantages: Advantages::Rows(&advantages),
        window: Window::default(),
    };
    gpu.synchronize()?;
    let clock = Instant::now();
    let done = ops::grpo_loss(&hidden, &weight, &targets, &GrpoConfig::default(), &input)?;
    gpu.synchronize()?;
    let seconds = clock.elapsed().as_secs_f64();
    done.d_weight.context("the head got no gradient")?;
    let known = (2 * v * c * size_of::<f32>() + 2 * t * c * size_of::<half::bf16>()) as f64 / MIB;
    Ok(json!({"seconds": seconds, "peak_mib": memory.mib(), "weights_and_gradients_mib": known,
              "more_mib": memory.mib() - known}))
}

/// The policy and all that an update needs.
struct Work {
    checkpoint: Checkpoint,
    agent: Agent,
    optimizer: AdamW,
    rl: RlConfig,
}

impl Work {
    fn load(dir: &str, gpu: &Device) -> Result<Self> {
        let (checkpoint, _) = Checkpoint::load_or_byte_level(Path::new(dir))?;
        let agent = Agent::new(Role::Solver, &checkpoint.to_device(gpu)?)?;
        let checkpoint = agent.checkpoint()?.with_tensors(Tensors::new());
        let loss = GrpoConfig { beta: 0.0, ..GrpoConfig::default() };
        // Three groups a piece: the memory of their layer, the first and the last of all others.
        let rl = RlConfig {
            loss,
            learning_rate: 1e-5,
            micro_batch_tokens: 8192,
            recompute: true,
            ..RlConfig::default()
        };
        Ok(Self { agent, optimizer: AdamW::new(rl.adamw.clone()), rl, checkpoint })
    }

    fn sample(&self, stream: Stream) -> Result<Vec<Group>> {
        let vocab = self.checkpoint.config.vocab_size;
        let request = |i: usize| {
            let mut rng = stream.child("prompt").child(i).rng();
            let draw = |_| 4 + (uniform_f64(&mut rng) * (vocab - 4) as f64) as u32;
            let streams = (0..GROUP).map(|j| stream.child("sample").child(i).child(j)).collect();
            Request { prompt: (0..PROMPT).map(draw).collect(), streams }
        };
        let requests: Vec<Request> = (0..PROMPTS).map(request).collect();
        let config = SamplingConfig {
            temperature: self.rl.loss.temperature,
            max_new_tokens: NEW,
            ..SamplingConfig::default()
        };
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
        let groups = requests.into_iter().zip(drawn).map(|(request, completions)| Group {
            prompt: request.prompt,
            rollouts: completions.into_iter().map(rollout).collect(),
        });
        Ok(groups.collect())
    }

    fn step(&mut self, stream: Stream) -> Result<()> {
        let groups = self.sample(stream)?;
        let mut rng = stream.child("rewards").rng();
        let rewards: Vec<f64> = (0..PROMPTS * GROUP).map(|_| uniform_f64(&mut rng)).collect();
        let advantages = group_advantages(&rewards, GROUP, &AdvantageConfig::default())?;
        let Self { agent, optimizer, rl, .. } = self;
        update(agent, optimizer, &groups, &advantages, None, rl, rl.learning_rate, stream)?;
        Ok(())
    }

    fn timed(mut self, memory: &Memory, work: impl Fn(&mut Self, Stream) -> Result<()>) -> Result<Value> {
        let mut seconds = Vec::new();
        for round in 0..=ROUNDS {
            let clock = Instant::now();
            work(&mut self, Stream::root(1).child(round))?;
            seconds.push(clock.elapsed().as_secs_f64());
        }
        seconds.remove(0);
        seconds.sort_by(f64::total_cmp);
        Ok(json!({"seconds": seconds[ROUNDS / 2], "all": seconds, "peak_mib": memory.mib()}))
    }

    fn gap(&self) -> Result<Value> {
        let groups = self.sample(Stream::root(1))?;
        let (mut sum, mut most, mut n) = (0.0f64, 0.0f64, 0u32);
        for group in &groups {
            let trained = logprobs(self.agent.model(), &[group], self.rl.loss.temperature)?;
            let sampled = group.rollouts.iter().flat_map(|r| &r.logprobs);
            for (a, b) in trained.iter().zip(sampled) {
                let gap = (a - f64::from(*b)).abs();
                (sum, most, n) = (sum + gap, most.max(gap), n + 1);
            }
        }
        Ok(json!({"mean_gap": sum / f64::from(n), "largest_gap": most, "tokens": n}))
    }
}

/// The digest of the weights after 5 steps, twice.
fn bits(dir: &str, gpu: &Device) -> Result<Value> {
    let run = || -> Result<String> {
        let mut work = Work::load(dir, gpu)?;
        for step in 0..5 {
            work.step(Stream::root(1).child(step))?;
        }
        Ok(digest(work.agent.params())?)
    };
    let (first, second) = (run()?, run()?);
    Ok(json!({"same_bits": first == second, "digests": [first, second]}))
}
