//! What is launched: which kernel, how many threads, and its arguments in order. Nothing here needs a device, so the
//! shapes that a device gets are the shapes that the tests run.
//!
//! Buffers are whatever names them where the launch is carried out: device addresses, or numbers of a test's arrays.

use crate::advantage::Scale;
use crate::kernels::adamw::Update;

/// Threads that execute together.
const WARP: u32 = 32;
/// Most threads of a block (`common.cuh` has the same numbers).
const MAX_THREADS: u32 = 512;
/// As [`MAX_THREADS`], of a block that reads a row of logits: one number for all kernels, so that they agree to the bit.
const MAX_ROW_THREADS: u32 = 320;
/// Threads of a block of the group kernel: several groups share a block, and a small block leaves none idle.
const GROUP_THREADS: u32 = 256;

/// What the shape of a launch depends on of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Threads that one of them holds at a time.
    pub threads: u32,
}

impl Limits {
    /// Blocks for `work` of them: no more than the device holds at once, since each takes up what is left.
    fn blocks(self, work: u64, block: u32) -> u32 {
        let resident = self.multiprocessors * (self.threads / block).max(1);
        work.clamp(1, u64::from(resident.max(1))) as u32
    }
}

/// How logits or gradients are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// 32 bits.
    F32,
    /// The upper half of an f32.
    Bf16,
    /// IEEE half precision.
    F16,
}

impl Element {
    /// Bytes of one.
    pub fn size(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }
}

/// One argument of a kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arg<B> {
    /// Memory of the device.
    Buffer(B),
    /// No memory: the kernel goes without.
    Null,
    /// A number.
    U32(u32),
    /// A number.
    U64(u64),
    /// A number.
    F32(f32),
    /// A number.
    F64(f64),
}

impl<B> From<Option<B>> for Arg<B> {
    fn from(buffer: Option<B>) -> Self {
        buffer.map_or(Self::Null, Self::Buffer)
    }
}

/// A kernel, the shape of its launch, and its arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch<B> {
    /// Its name in the source.
    pub kernel: &'static str,
    /// Blocks.
    pub grid: u32,
    /// Threads of a block.
    pub block: u32,
    /// In the order of the kernel's signature.
    pub args: Vec<Arg<B>>,
}

/// Rows of logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// How many.
    pub rows: usize,
    /// Values of each.
    pub v: usize,
    /// Values from the beginning of one to that of the next; at least `v`.
    pub stride: usize,
}

impl Rows {
    /// One block to a row, with as many threads as the row has 16-byte words.
    fn shape(self, element: Element, limits: Limits) -> (u32, u32) {
        let words = self.v.div_ceil(16 / element.size()).min(MAX_ROW_THREADS as usize) as u32;
        let block = words.next_multiple_of(WARP).clamp(WARP, MAX_ROW_THREADS);
        (limits.blocks(self.rows as u64, block), block)
    }
}

/// Log-probability and entropy of every row.
///
/// Buffers: `logits`, of `element`; `targets` u32 `(rows,)`; `scores` f32 `(rows, 2)`, written.
pub fn token_logprobs<B>(
    element: Element,
    [logits, targets, scores]: [B; 3],
    rows: Rows,
    temperature: f64,
    limits: Limits,
) -> Launch<B> {
    let (grid, block) = rows.shape(element, limits);
    Launch {
        kernel: match element {
            Element::F32 => "token_logprobs_f32",
            Element::Bf16 => "token_logprobs_bf16",
            Element::F16 => "token_logprobs_f16",
        },
        grid,
        block,
        args: vec![
            Arg::Buffer(logits),
            Arg::Buffer(targets),
            Arg::Buffer(scores),
            Arg::U64(rows.rows as u64),
            Arg::U64(rows.v as u64),
            Arg::U64(rows.stride as u64),
            Arg::F64(1.0 / temperature),
        ],
    }
}

/// Gradient of a function of the scores, in place over the logits.
///
/// Buffers: `logits`, of `element`, replaced; `targets` u32 `(rows,)`; `scores` f32 `(rows, 2)` of [`token_logprobs`];
/// `upstream` f32 `(rows, 2)`, the function's slopes in them.
pub fn token_logprobs_backward<B>(
    element: Element,
    buffers: [B; 4],
    rows: Rows,
    temperature: f64,
    limits: Limits,
) -> Launch<B> {
    let (grid, block) = rows.shape(element, limits);
    let mut args: Vec<Arg<B>> = buffers.map(Arg::Buffer).into();
    args.extend([rows.rows, rows.v, rows.stride].map(|n| Arg::U64(n as u64)));
    args.push(Arg::F64(1.0 / temperature));
    Launch {
        kernel: match element {
            Element::F32 => "token_logprobs_backward_f32",
            Element::Bf16 => "token_logprobs_backward_bf16",
            Element::F16 => "token_logprobs_backward_f16",
        },
        grid,
        block,
        args,
    }
}

/// What the loss knows of each token of a batch, besides its logits.
#[derive(Clone, Copy, Debug)]
pub struct Batch<B> {
    /// Log-probabilities when the tokens were sampled, f32 `(tokens,)`.
    pub old: B,
    /// Log-probabilities under the reference, f32 `(tokens,)`; needed where `beta` > 0.
    pub reference: Option<B>,
    /// Log-probabilities as the sampler reported them, f32 `(tokens,)`; needed by the importance correction.
    pub sampler: Option<B>,
    /// f32 `(tokens,)`.
    pub advantages: B,
    /// One byte to a token, 0 where it bears no loss.
    pub mask: B,
    /// [`Constants`](crate::loss::Constants), f64.
    pub constants: B,
}

/// Bytes of what [`grpo_sequences`] writes for each sequence: six f64.
pub const SEQUENCE_BYTES: usize = 48;

/// Sums of each sequence, which [`grpo_loss`] takes.
///
/// Buffers: `scores` f32 `(tokens, 2)` of [`token_logprobs`], needed where
/// [`GrpoConfig::needs_scores`](crate::loss::GrpoConfig::needs_scores) says so; `offsets` u64 `(sequences + 1,)`, where
/// each begins; `out`, [`SEQUENCE_BYTES`] each, written.
pub fn grpo_sequences<B>(
    batch: Batch<B>,
    scores: Option<B>,
    offsets: B,
    out: B,
    sequences: usize,
    limits: Limits,
) -> Launch<B> {
    let block = 8 * WARP;
    Launch {
        kernel: "grpo_sequences",
        grid: limits.blocks(sequences as u64, block),
        block,
        args: vec![
            scores.into(),
            Arg::Buffer(batch.old),
            batch.reference.into(),
            batch.sampler.into(),
            Arg::Buffer(batch.advantages),
            Arg::Buffer(batch.mask),
            Arg::Buffer(offsets),
            Arg::Buffer(batch.constants),
            Arg::Buffer(out),
            Arg::U64(sequences as u64),
        ],
    }
}

/// The buffers of [`grpo_loss`] besides its batch.
#[derive(Clone, Copy, Debug)]
pub struct LossBuffers<B> {
    /// Of the element; replaced by d loss / d logits.
    pub logits: B,
    /// u32 `(rows,)`.
    pub targets: B,
    /// Which sequence each row belongs to, u32 `(rows,)`.
    pub sequence_of: B,
    /// What [`grpo_sequences`] wrote.
    pub sequences: B,
    /// f32 `(rows, 2)`, written: log-probability and entropy, 0 where masked.
    pub scores: B,
    /// f64 `(rows,)`, written: what each token adds to the loss.
    pub losses: B,
}

/// Loss and its gradient, in place over a chunk of logits. Buffers of `batch` begin at the chunk's first token.
pub fn grpo_loss<B>(
    element: Element,
    buffers: LossBuffers<B>,
    batch: Batch<B>,
    rows: Rows,
    temperature: f64,
    limits: Limits,
) -> Launch<B> {
    let (grid, block) = rows.shape(element, limits);
    Launch {
        kernel: match element {
            Element::F32 => "grpo_loss_f32",
            Element::Bf16 => "grpo_loss_bf16",
            Element::F16 => "grpo_loss_f16",
        },
        grid,
        block,
        args: vec![
            Arg::Buffer(buffers.logits),
            Arg::Buffer(buffers.targets),
            Arg::Buffer(buffers.sequence_of),
            Arg::Buffer(batch.old),
            batch.reference.into(),
            batch.sampler.into(),
            Arg::Buffer(batch.advantages),
            Arg::Buffer(batch.mask),
            Arg::Buffer(buffers.sequences),
            Arg::Buffer(batch.constants),
            Arg::Buffer(buffers.scores),
            Arg::Buffer(buffers.losses),
            Arg::U64(rows.rows as u64),
            Arg::U64(rows.v as u64),
            Arg::U64(rows.stride as u64),
            Arg::F64(1.0 / temperature),
        ],
    }
}

/// What a centred reward is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupScale {
    /// One over a deviation, or 1.
    By(Scale),
    /// `n / (n - 1)`: the distance from the mean of the others.
    LeaveOneOut,
}

/// Advantages of all groups.
///
/// Buffers: `rewards` f32 `(groups * n,)`, NaN where unscorable; `out` f32 of the same shape, written.
pub fn group_advantages<B>(
    rewards: B,
    out: B,
    (groups, n): (usize, u32),
    scale: GroupScale,
    limits: Limits,
) -> Launch<B> {
    // Four rewards are loaded at a time where groups allow it.
    let loads = if n.is_multiple_of(4) { n / 4 } else { n };
    let width = loads.max(1).next_power_of_two().min(WARP);
    let scale = match scale {
        GroupScale::By(Scale::Group) => 0,
        GroupScale::By(Scale::Batch) => 1,
        GroupScale::By(Scale::None) => 2,
        GroupScale::LeaveOneOut => 3,
    };
    Launch {
        kernel: "group_advantages",
        grid: limits.blocks((groups as u64).div_ceil(u64::from(GROUP_THREADS / width)), GROUP_THREADS),
        block: GROUP_THREADS,
        args: vec![
            Arg::Buffer(rewards),
            Arg::Buffer(out),
            Arg::U64(groups as u64),
            Arg::U32(n),
            Arg::U32(width),
            Arg::U32(scale),
        ],
    }
}

/// Blocks of [`gradient_norm`] over `n` gradients: as many f64 it writes.
pub fn norm_blocks(n: usize, limits: Limits) -> u32 {
    limits.blocks((n as u64).div_ceil(4 * u64::from(MAX_THREADS)), MAX_THREADS)
}

/// Sums of squares of gradients, one to a block.
///
/// Buffers: `grads` `(n,)`; `partials` f64 of [`norm_blocks`], written.
///
/// # Panics
///
/// If `element` is f16, in which no gradients are kept.
pub fn gradient_norm<B>(element: Element, grads: B, partials: B, n: usize, limits: Limits) -> Launch<B> {
    assert_ne!(element, Element::F16, "gradients are f32 or bf16");
    Launch {
        kernel: if element == Element::F32 { "gradient_norm_f32" } else { "gradient_norm_bf16" },
        grid: norm_blocks(n, limits),
        block: MAX_THREADS,
        args: vec![Arg::Buffer(grads), Arg::Buffer(partials), Arg::U64(n as u64)],
    }
}

/// The buffers of [`adamw`], each of `n` values but for the last two.
#[derive(Clone, Copy, Debug)]
pub struct AdamWBuffers<B> {
    /// f32, the weights that are updated.
    pub master: B,
    /// bf16, the same weights rounded to the nearest, written.
    pub weights: Option<B>,
    /// Gradients.
    pub grads: B,
    /// f32, first moments.
    pub m: B,
    /// f32, second moments.
    pub v: B,
    /// f64, of [`gradient_norm`].
    pub partials: B,
    /// One f64, written: the norm before clipping. If it is not finite, nothing was updated.
    pub norm: B,
}

/// One update of all weights, their gradients clipped to `max_norm`. [`Update::grad_scale`] is not read: the kernel
/// finds it.
///
/// # Panics
///
/// If `element` is f16, in which no gradients are kept.
pub fn adamw<B>(
    element: Element,
    buffers: AdamWBuffers<B>,
    n: usize,
    max_norm: f64,
    update: &Update,
    limits: Limits,
) -> Launch<B> {
    assert_ne!(element, Element::F16, "gradients are f32 or bf16");
    let [decay, step, root] = update.factors();
    let numbers = [
        decay,
        step,
        root,
        update.beta1 as f32,
        update.beta2 as f32,
        (1.0 - update.beta1) as f32,
        (1.0 - update.beta2) as f32,
        update.eps as f32,
    ];
    let mut args = vec![
        Arg::Buffer(buffers.master),
        buffers.weights.into(),
        Arg::Buffer(buffers.grads),
        Arg::Buffer(buffers.m),
        Arg::Buffer(buffers.v),
        Arg::Buffer(buffers.partials),
        Arg::Buffer(buffers.norm),
        Arg::U64(n as u64),
        Arg::U64(u64::from(norm_blocks(n, limits))),
        Arg::F64(max_norm),
    ];
    args.extend(numbers.map(Arg::F32));
    Launch {
        kernel: if element == Element::F32 { "adamw_f32" } else { "adamw_bf16" },
        grid: norm_blocks(n, limits),
        block: MAX_THREADS,
        args,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H200: Limits = Limits { multiprocessors: 132, threads: 2048 };

    #[test]
    fn shapes_follow_the_rows_and_the_device() {
        let shape = |rows, v, element| {
            let rows = Rows { rows, v, stride: v };
            let launch = token_logprobs(element, [0, 1, 2], rows, 1.0, H200);
            (launch.grid, launch.block)
        };
        assert_eq!(shape(1, 1, Element::F32), (1, 32));
        assert_eq!(shape(3, 1001, Element::Bf16), (3, 128)); // 126 words
        assert_eq!(shape(4096, 151_936, Element::Bf16), (132 * 6, 320));
        let small = Limits { multiprocessors: 2, threads: 64 };
        assert_eq!(norm_blocks(1 << 30, small), 2); // a block larger than the device's half still runs
        assert_eq!(norm_blocks(0, H200), 1);
    }

    #[test]
    fn lanes_of_a_group_are_a_power_of_two() {
        let width = |n| match group_advantages(0, 1, (5, n), GroupScale::LeaveOneOut, H200).args[4] {
            Arg::U32(width) => width,
            other => panic!("{other:?}"),
        };
        assert_eq!([1, 3, 8, 9, 1000, 1024].map(width), [1, 4, 2, 16, 32, 32]);
    }

    /// The numbers of threads stand in the sources a second time.
    #[test]
    fn sources_have_the_same_thread_counts() {
        let has = |text: &str, line: String| assert!(text.contains(&line), "{line}");
        has(include_str!("common.cuh"), format!("#define MAX_THREADS {MAX_THREADS}\n"));
        has(include_str!("common.cuh"), format!("#define MAX_ROW_THREADS {MAX_ROW_THREADS}\n"));
    }
}
