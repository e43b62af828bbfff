//! How fast the kernels are on this machine's GPU: one table. `benchmarks/gpu/run.sh` runs it.
//!
//! A kernel's rate is the bytes that it must move, over the median time of 20 launches; its share is that of the rate at
//! which the device copies memory, measured beside it.
#![expect(clippy::print_stdout, reason = "an example speaks")]
#![expect(unsafe_code, reason = "a launch is a promise about its buffers")]

use std::time::Instant;

use anyhow::Result;
use cudarc::driver::{CudaSlice, DevicePtr};
use toolr0_rl::advantage::Scale;
use toolr0_rl::kernels::adamw::Update;
use toolr0_rl::kernels::cuda::device::Gpu;
use toolr0_rl::kernels::cuda::launch::{
    AdamWBuffers, Batch, Element, GroupScale, Launch, LossBuffers, Rows, SEQUENCE_BYTES, adamw,
    gradient_norm, group_advantages, grpo_loss, norm_blocks, token_logprobs,
};
use toolr0_rl::loss::{GrpoConfig, Window};

const ROWS: usize = 8 * 512;
const VOCAB: usize = 151_936;
const GROUPS: usize = 1 << 24;
const WEIGHTS: usize = 1 << 29;
const ROUNDS: usize = 20;

fn main() -> Result<()> {
    let gpu = Gpu::open(0)?;
    println!("{}, {:?}\n", gpu.name()?, gpu.limits());
    println!("| kernel | bytes that must move | median, us | GB/s | share of the copy | bar |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let copy = copy(&gpu)?;
    println!(
        "| copy of memory | {} | {:.1} | {:.0} | 100 % | |",
        copy.0,
        copy.1 * 1e6,
        copy.0 as f64 / copy.1 / 1e9
    );
    let bench = Bench { gpu, copied: copy.0 as f64 / copy.1 };
    bench.groups()?;
    bench.logits()?;
    bench.optimizer()
}

/// Median seconds of a piece of work, queued and waited for.
fn median(gpu: &Gpu, work: impl Fn() -> Result<()>) -> Result<f64> {
    let mut seconds = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS + 3 {
        gpu.stream().synchronize()?;
        let clock = Instant::now();
        work()?;
        gpu.stream().synchronize()?;
        if 3 <= round {
            seconds.push(clock.elapsed().as_secs_f64());
        }
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[ROUNDS / 2])
}

/// Bytes moved by a copy on the device, and its seconds.
fn copy(gpu: &Gpu) -> Result<(usize, f64)> {
    let n = 1 << 30;
    let (from, to) = (gpu.stream().alloc_zeros::<u8>(n)?, gpu.stream().alloc_zeros::<u8>(n)?);
    let to = std::cell::RefCell::new(to);
    Ok((2 * n, median(gpu, || Ok(gpu.stream().memcpy_dtod(&from, &mut *to.borrow_mut())?))?))
}

struct Bench {
    gpu: Gpu,
    /// Bytes a second of a copy.
    copied: f64,
}

impl Bench {
    /// A buffer of zeros.
    fn buffer(&self, bytes: usize) -> Result<CudaSlice<u8>> {
        Ok(self.gpu.stream().alloc_zeros(bytes)?)
    }

    fn filled(&self, bytes: &[u8]) -> Result<CudaSlice<u8>> {
        Ok(self.gpu.stream().clone_htod(bytes)?)
    }

    fn at(&self, buffer: &CudaSlice<u8>) -> u64 {
        buffer.device_ptr(self.gpu.stream()).0
    }

    fn row(&self, name: &str, bytes: usize, bar: &str, launch: &Launch<u64>) -> Result<()> {
        // SAFETY: every launch below names buffers of the lengths that its maker asks for, which live in its caller.
        let seconds = median(&self.gpu, || Ok(unsafe { self.gpu.launch(launch) }?))?;
        let rate = bytes as f64 / seconds;
        println!(
            "| {name} | {bytes} | {:.1} | {:.0} | {:.0} % | {bar} |",
            seconds * 1e6,
            rate / 1e9,
            100.0 * rate / self.copied
        );
        Ok(())
    }

    fn groups(&self) -> Result<()> {
        let n = GROUPS * 8;
        let (rewards, out) = (self.buffer(4 * n)?, self.buffer(4 * n)?);
        let scale = GroupScale::By(Scale::Group);
        let launch =
            group_advantages(self.at(&rewards), self.at(&out), (GROUPS, 8), scale, self.gpu.limits());
        self.row("group advantages, groups of 8", 8 * n, "70 %", &launch)
    }

    fn logits(&self) -> Result<()> {
        let limits = self.gpu.limits();
        let rows = Rows { rows: ROWS, v: VOCAB, stride: VOCAB };
        let logits = self.buffer(2 * ROWS * VOCAB)?;
        let (targets, scores) = (self.buffer(4 * ROWS)?, self.buffer(8 * ROWS)?);
        let launch = token_logprobs(
            Element::Bf16,
            [self.at(&logits), self.at(&targets), self.at(&scores)],
            rows,
            1.0,
            limits,
        );
        self.row("log-probs and entropies, bf16", 2 * ROWS * VOCAB, "80 %", &launch)?;

        let config = GrpoConfig { beta: 0.0, entropy_coef: 0.01, ..GrpoConfig::default() };
        let constants: Vec<u8> =
            config.constants(&Window::default(), 8, ROWS)?.iter().flat_map(|x| x.to_le_bytes()).collect();
        let (constants, mask) = (self.filled(&constants)?, self.filled(&[1; ROWS])?);
        let (old, advantages, sequence_of) =
            (self.buffer(4 * ROWS)?, self.filled(&1f32.to_le_bytes().repeat(ROWS))?, self.buffer(4 * ROWS)?);
        let sequences = self.filled(&1f64.to_le_bytes().repeat(SEQUENCE_BYTES))?;
        let losses = self.buffer(8 * ROWS)?;
        let batch = Batch {
            old: self.at(&old),
            reference: None,
            sampler: None,
            advantages: self.at(&advantages),
            mask: self.at(&mask),
            constants: self.at(&constants),
        };
        let buffers = LossBuffers {
            logits: self.at(&logits),
            targets: self.at(&targets),
            sequence_of: self.at(&sequence_of),
            sequences: self.at(&sequences),
            scores: self.at(&scores),
            losses: self.at(&losses),
        };
        let launch = grpo_loss(Element::Bf16, buffers, batch, rows, 1.0, limits);
        self.row("loss, forward and backward, bf16", 4 * ROWS * VOCAB, "80 %", &launch)
    }

    fn optimizer(&self) -> Result<()> {
        let limits = self.gpu.limits();
        let of = |bytes: usize| self.buffer(bytes * WEIGHTS);
        let (master, m, v, weights, grads) = (of(4)?, of(4)?, of(4)?, of(2)?, of(2)?);
        let (partials, norm) = (self.buffer(8 * norm_blocks(WEIGHTS, limits) as usize)?, self.buffer(8)?);
        let launch = gradient_norm(Element::Bf16, self.at(&grads), self.at(&partials), WEIGHTS, limits);
        self.row("gradient norm, bf16", 2 * WEIGHTS, "70 %", &launch)?;
        let buffers = AdamWBuffers {
            master: self.at(&master),
            weights: Some(self.at(&weights)),
            grads: self.at(&grads),
            m: self.at(&m),
            v: self.at(&v),
            partials: self.at(&partials),
            norm: self.at(&norm),
        };
        let update = Update {
            lr: 1e-6,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.01,
            grad_scale: 1.0,
            t: 1,
        };
        let launch = adamw(Element::Bf16, buffers, WEIGHTS, 1.0, &update, limits);
        self.row("AdamW, bf16 gradients and weights", (2 + 12 + 12 + 2) * WEIGHTS, "70 %", &launch)
    }
}
