//! The kernels inside candle's graph, on candle's own CUDA backend.
//!
//! Logits exist for one chunk of rows at a time: hidden states times the head by cuBLAS, then a kernel of ours on the
//! chunk, then (on the way back) the chunk's gradient times head and hidden states. The full `(t, v)` never does.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::CudaDType;
use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp2, DType, Device, Layout, Result, Shape, Storage, Tensor,
};
use cudarc::cublas::result::gemm_ex;
use cudarc::cublas::sys::{cublasComputeType_t, cublasGemmAlgo_t, cublasOperation_t, cudaDataType};
use cudarc::driver::DevicePtr;
use cudarc::driver::sys::CUdeviceptr;
use half::{bf16, f16};

use super::device::{compile, limits, queue};
use super::launch::{self, Arg, Batch, Element, Launch, Limits, LossBuffers, Rows, SEQUENCE_BYTES};
use super::source::Module;
use crate::loss::{Advantages, GrpoConfig, LossInput};

/// Logits held at a time, 256 MiB of bf16. A constant, so that sums over rows do not depend on the device.
const CHUNK_VALUES: usize = 1 << 27;

/// Rows of a chunk.
fn chunk_rows(v: usize) -> usize {
    (CHUNK_VALUES / v.max(1)).clamp(8, 4096)
}

fn error(error: impl fmt::Debug) -> candle_core::Error {
    candle_core::Error::Msg(format!("{error:?}"))
}

fn element(dtype: DType) -> Result<Element> {
    match dtype {
        DType::F32 => Ok(Element::F32),
        DType::BF16 => Ok(Element::Bf16),
        DType::F16 => Ok(Element::F16),
        other => candle_core::bail!("logits are f32, bf16 or f16, not {other:?}"),
    }
}

/// Where a contiguous tensor's values begin on its device.
fn address(tensor: &Tensor, device: &CudaDevice) -> Result<CUdeviceptr> {
    fn of<T: CudaDType>(storage: &CudaStorage, from: usize, device: &CudaDevice) -> Result<CUdeviceptr> {
        let stream = device.cuda_stream();
        let begin = storage.as_cuda_slice::<T>()?.device_ptr(&stream).0;
        Ok(begin + (from * size_of::<T>()) as CUdeviceptr)
    }
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cuda(storage), Some((from, _))) = (&*storage, layout.contiguous_offsets()) else {
        candle_core::bail!("a kernel takes contiguous tensors on its device");
    };
    match tensor.dtype() {
        DType::F32 => of::<f32>(storage, from, device),
        DType::BF16 => of::<bf16>(storage, from, device),
        DType::F16 => of::<f16>(storage, from, device),
        DType::F64 => of::<f64>(storage, from, device),
        DType::U32 => of::<u32>(storage, from, device),
        DType::U8 => of::<u8>(storage, from, device),
        DType::I64 => of::<i64>(storage, from, device),
        other => candle_core::bail!("no kernel takes {other:?}"),
    }
}

/// A file's name, and the compute capability it is compiled for.
type Compiled = (&'static str, (i32, i32));

/// The PTX of a file of kernels for a device, compiled once.
fn ptx(device: &CudaDevice, module: Module) -> Result<String> {
    static COMPILED: Mutex<BTreeMap<Compiled, String>> = Mutex::new(BTreeMap::new());
    let stream = device.cuda_stream();
    let key = (module.name, stream.context().compute_capability().map_err(error)?);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(ptx) = compiled.get(&key) {
        return Ok(ptx.clone());
    }
    let ptx = compile(stream.context(), module).map_err(error)?.to_src();
    compiled.insert(key, ptx.clone());
    Ok(ptx)
}

/// Queues a launch on the device's stream, after everything that candle has queued there.
///
/// The tensors have the types and lengths that the maker of `launch` asks for; every caller is in this file.
#[expect(unsafe_code, reason = "a launch is a promise about its buffers")]
fn run(device: &CudaDevice, launch: &Launch<&Tensor>) -> Result<()> {
    let module = Module::of(launch.kernel).ok_or_else(|| error(launch.kernel))?;
    let function = device.get_or_load_custom_func(launch.kernel, module.name, &ptx(device, module)?)?;
    let arg = |arg: &Arg<&Tensor>| {
        Ok(match *arg {
            Arg::Buffer(tensor) => Arg::Buffer(address(tensor, device)?),
            Arg::Null => Arg::Null,
            Arg::U32(x) => Arg::U32(x),
            Arg::U64(x) => Arg::U64(x),
            Arg::F32(x) => Arg::F32(x),
            Arg::F64(x) => Arg::F64(x),
        })
    };
    let args = launch.args.iter().map(arg).collect::<Result<_>>()?;
    let there = Launch { kernel: launch.kernel, grid: launch.grid, block: launch.block, args };
    // SAFETY: the tensors live until this returns, and memory that candle frees is freed in the stream's order. What a
    // kernel writes (scores, losses, logits that become gradients) was made for it by this file and is read by no one
    // else meanwhile: there is one stream.
    unsafe { queue(&device.cuda_stream(), &function, &there) }.map_err(error)
}

/// Hidden states, head and the shapes of both.
struct Head {
    device: CudaDevice,
    limits: Limits,
    /// `(t, c)`.
    hidden: Tensor,
    /// `(v, c)`, in the type of the hidden states.
    weight: Tensor,
    /// The type that the weight came in, and its gradient goes out in.
    trained: DType,
    element: Element,
    t: usize,
    v: usize,
}

impl Head {
    fn new(hidden: &Tensor, weight: &Tensor) -> Result<Self> {
        let Device::Cuda(device) = hidden.device() else {
            candle_core::bail!("the hidden states are not on a CUDA device");
        };
        let limits = limits(device.cuda_stream().context()).map_err(error)?;
        let ((t, _), v) = (hidden.dims2()?, weight.dim(0)?);
        let trained = weight.dtype();
        let weight = weight.detach().to_dtype(hidden.dtype())?.contiguous()?;
        let hidden = hidden.detach().contiguous()?;
        let element = element(hidden.dtype())?;
        Ok(Self { device: device.clone(), limits, hidden, weight, trained, element, t, v })
    }

    /// First row and number of rows of each chunk.
    fn chunks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (t, rows) = (self.t, chunk_rows(self.v));
        (0..t).step_by(rows).map(move |from| (from, rows.min(t - from)))
    }

    /// A chunk's logits, `(n, v)`, that nobody else has.
    fn logits(&self, (from, n): (usize, usize)) -> Result<(Tensor, Rows)> {
        let logits = self.hidden.narrow(0, from, n)?.matmul(&self.weight.t()?)?;
        Ok((logits, Rows { rows: n, v: self.v, stride: self.v }))
    }

    fn zeros(&self, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        Tensor::zeros(shape, dtype, self.hidden.device())
    }
}

/// Gradients of hidden states and head, gathered over chunks. The head's sum is f32, since there may be many, and each
/// chunk's product is added where it is: there is no second tensor of its size.
struct Gathered<'a> {
    head: &'a Head,
    hidden: Vec<Tensor>,
    /// `(v, c)`, f32; nothing where nobody wants it.
    weight: Option<Tensor>,
}

impl<'a> Gathered<'a> {
    fn new(head: &'a Head, trains: bool) -> Result<Self> {
        let weight = trains.then(|| head.zeros(head.weight.shape(), DType::F32)).transpose()?;
        Ok(Self { head, hidden: Vec::new(), weight })
    }

    fn add(&mut self, (from, n): (usize, usize), d_logits: &Tensor) -> Result<()> {
        self.hidden.push(d_logits.matmul(&self.head.weight)?);
        match &self.weight {
            Some(sum) => add_product(&self.head.device, d_logits, &self.head.hidden.narrow(0, from, n)?, sum),
            None => Ok(()),
        }
    }

    fn done(self) -> Result<(Tensor, Option<Tensor>)> {
        let weight = self.weight.map(|sum| sum.to_dtype(self.head.trained)).transpose()?;
        let hidden = match self.hidden.is_empty() {
            true => self.head.hidden.zeros_like()?,
            false => Tensor::cat(&self.hidden, 0)?,
        };
        Ok((hidden, weight))
    }
}

/// `sum += a^T b` by cuBLAS. `a`: `(n, v)`, `b`: `(n, c)`, of one type; `sum`: `(v, c)`, f32.
#[expect(unsafe_code, reason = "a product is a promise about its buffers")]
fn add_product(device: &CudaDevice, a: &Tensor, b: &Tensor, sum: &Tensor) -> Result<()> {
    let ((n, v), (rows, c)) = (a.dims2()?, b.dims2()?);
    let kind = match a.dtype() {
        DType::F32 => cudaDataType::CUDA_R_32F,
        DType::BF16 => cudaDataType::CUDA_R_16BF,
        DType::F16 => cudaDataType::CUDA_R_16F,
        other => candle_core::bail!("no product takes {other:?}"),
    };
    if rows != n || b.dtype() != a.dtype() || sum.dims2()? != (v, c) || sum.dtype() != DType::F32 {
        candle_core::bail!("{:?} and {:?} do not give {:?}", a.shape(), b.shape(), sum.shape());
    }
    let (a, b, sum) = (address(a, device)?, address(b, device)?, address(sum, device)?);
    let one = 1.0f32;
    let size = |n: usize| i32::try_from(n).map_err(error);
    let (n, v, c) = (size(n)?, size(v)?, size(c)?);
    // cuBLAS counts columns first: what is `(v, c)` here is `(c, v)` there, and so `sum^T += b^T a`.
    // SAFETY: the matrices are contiguous tensors of the shapes and types checked above, on this device; `sum` was made
    // by the caller, in this file, and nobody else touches it: there is one stream, and the handle is of that.
    unsafe {
        gemm_ex(
            *device.cublas_handle().handle(),
            cublasOperation_t::CUBLAS_OP_N,
            cublasOperation_t::CUBLAS_OP_T,
            c,
            v,
            n,
            (&raw const one).cast(),
            b as *const _,
            kind,
            c,
            a as *const _,
            kind,
            v,
            (&raw const one).cast(),
            sum as *mut _,
            cudaDataType::CUDA_R_32F,
            c,
            cublasComputeType_t::CUBLAS_COMPUTE_32F,
            cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
        )
    }
    .map_err(error)
}

type Gradient = Box<dyn Fn(&Tensor) -> Result<(Tensor, Option<Tensor>)> + Send + Sync>;

/// A value that is computed already, with its gradient in hidden states and head.
struct Known {
    name: &'static str,
    value: Tensor,
    gradient: Gradient,
}

impl CustomOp2 for Known {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        candle_core::bail!("{} on a device was given tensors of the CPU", self.name)
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (storage, layout) = self.value.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, self.value.shape().clone())),
            _ => candle_core::bail!("{} is not on a CUDA device", self.name),
        }
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (hidden, weight) = (self.gradient)(upstream)?;
        Ok((Some(hidden), weight))
    }
}

/// [`token_logprobs`](crate::kernels::token_logprobs::token_logprobs) on a CUDA device: `(t, 2)` f32.
///
/// # Errors
///
/// If the tensors are elsewhere or of other types, kernels do not compile, or the driver refuses.
pub fn token_logprobs(hidden: &Tensor, weight: &Tensor, targets: &[u32], temperature: f64) -> Result<Tensor> {
    let head = Head::new(hidden, weight)?;
    let targets = Tensor::new(targets, hidden.device())?;
    let scores = head.zeros((head.t, 2), DType::F32)?;
    score(&head, &targets, &scores, temperature)?;
    let (value, trains) = (scores.clone(), weight.track_op());
    let gradient = move |upstream: &Tensor| {
        let upstream = upstream.contiguous()?;
        let mut sums = Gathered::new(&head, trains)?;
        for chunk in head.chunks() {
            let (logits, rows) = head.logits(chunk)?;
            let of = |x: &Tensor| x.narrow(0, chunk.0, chunk.1);
            let (targets, scores, upstream) = (of(&targets)?, of(&scores)?, of(&upstream)?);
            let buffers = [&logits, &targets, &scores, &upstream];
            run(
                &head.device,
                &launch::token_logprobs_backward(head.element, buffers, rows, temperature, head.limits),
            )?;
            sums.add(chunk, &logits)?;
        }
        sums.done()
    };
    hidden.apply_op2(weight, Known { name: "token-logprobs", value, gradient: Box::new(gradient) })
}

/// The forward pass over all chunks, into `scores`.
fn score(head: &Head, targets: &Tensor, scores: &Tensor, temperature: f64) -> Result<()> {
    for chunk in head.chunks() {
        let (logits, rows) = head.logits(chunk)?;
        let (targets, scores) = (targets.narrow(0, chunk.0, chunk.1)?, scores.narrow(0, chunk.0, chunk.1)?);
        let buffers = [&logits, &targets, &scores];
        run(&head.device, &launch::token_logprobs(head.element, buffers, rows, temperature, head.limits))?;
    }
    Ok(())
}

/// What a loss is and where it leads, all without a graph.
#[derive(Debug)]
pub struct LossAndGradient {
    /// The loss, a scalar, f32.
    pub loss: Tensor,
    /// Log-probability and entropy of each token, `(t, 2)`, f32; 0 where tokens are masked.
    pub scores: Tensor,
    /// Of the hidden states, `(t, c)`.
    pub d_hidden: Tensor,
    /// Of the head, `(v, c)`, if it is trained.
    pub d_weight: Option<Tensor>,
}

/// A loss of the GRPO family from hidden states and head, and its gradient.
///
/// Value and gradient come from one pass over the logits where the ratio is per token, and after one forward pass where
/// it is not ([`GrpoConfig::needs_scores`]). Log-probabilities and entropies
/// of `input` are not read.
///
/// # Errors
///
/// As [`GrpoConfig::constants`]; and if the tensors are elsewhere or of other types, kernels do not compile, or the driver
/// refuses.
pub fn grpo_loss(
    hidden: &Tensor,
    weight: &Tensor,
    targets: &[u32],
    config: &GrpoConfig,
    input: &LossInput<'_>,
) -> crate::Result<LossAndGradient> {
    let head = Head::new(hidden, weight)?;
    let own = OnDevice::new(&head, targets, config, input)?;
    let sequences = own.sequences(&head, config)?;
    let mut sums = Gathered::new(&head, weight.track_op())?;
    let losses = head.zeros(head.t, DType::F64)?;
    let scores = head.zeros((head.t, 2), DType::F32)?;
    for chunk in head.chunks() {
        let (logits, rows) = head.logits(chunk)?;
        let part = own.chunk(chunk)?;
        let of = |x: &Tensor| x.narrow(0, chunk.0, chunk.1);
        let (scores, losses) = (of(&scores)?, of(&losses)?);
        let buffers = LossBuffers {
            logits: &logits,
            targets: &part.targets,
            sequence_of: &part.sequence_of,
            sequences: &sequences,
            scores: &scores,
            losses: &losses,
        };
        let batch = part.batch();
        run(
            &head.device,
            &launch::grpo_loss(head.element, buffers, batch, rows, config.temperature, head.limits),
        )?;
        sums.add(chunk, &logits)?;
    }
    let loss = losses.sum_all()?.to_dtype(DType::F32)?;
    let (d_hidden, d_weight) = sums.done()?;
    Ok(LossAndGradient { loss, scores, d_hidden, d_weight })
}

/// A batch in the device's memory, one value to a token but for the constants and offsets.
#[derive(Clone)]
struct OnDevice {
    targets: Tensor,
    sequence_of: Tensor,
    old: Tensor,
    reference: Option<Tensor>,
    sampler: Option<Tensor>,
    advantages: Tensor,
    mask: Tensor,
    constants: Tensor,
    offsets: Tensor,
    sequences: usize,
}

impl OnDevice {
    fn new(head: &Head, targets: &[u32], config: &GrpoConfig, input: &LossInput<'_>) -> crate::Result<Self> {
        let tokens = input.row_lens.iter().sum::<usize>();
        let length = |name, got: usize| match got == tokens {
            true => Ok(()),
            false => Err(crate::Error::Length { name, expected: tokens, got }),
        };
        let old = input
            .old
            .ok_or_else(|| crate::Error::Missing { name: "old", user: "the loss on a device".to_owned() })?;
        length("hidden", head.t)?;
        length("targets", targets.len())?;
        length("mask", input.mask.len())?;
        length("old", old.len())?;
        let rows = input.row_lens.iter().enumerate();
        let sequence_of: Vec<u32> = rows.flat_map(|(row, len)| vec![row as u32; *len]).collect();
        let advantages: Vec<f64> = match input.advantages {
            Advantages::Rows(rows) if rows.len() == input.row_lens.len() => {
                sequence_of.iter().map(|row| rows[*row as usize]).collect()
            }
            Advantages::Rows(rows) => {
                let (expected, got) = (input.row_lens.len(), rows.len());
                return Err(crate::Error::Length { name: "advantages", expected, got });
            }
            Advantages::Tokens(values) => values.to_vec(),
        };
        length("advantages", advantages.len())?;
        let device = head.hidden.device();
        let floats = |values: &[f64]| -> Result<Tensor> {
            Tensor::new(values.iter().map(|x| *x as f32).collect::<Vec<f32>>(), device)
        };
        let optional = |name, values: Option<&[f64]>| -> crate::Result<Option<Tensor>> {
            let Some(values) = values else { return Ok(None) };
            length(name, values.len())?;
            Ok(Some(floats(values)?))
        };
        let loss_tokens = input.mask.iter().filter(|m| **m).count();
        let constants = config.constants(&input.window, input.row_lens.len(), loss_tokens)?;
        let mut offsets = vec![0i64];
        for len in input.row_lens {
            offsets.push(offsets[offsets.len() - 1] + *len as i64);
        }
        Ok(Self {
            targets: Tensor::new(targets, device)?,
            old: floats(old)?,
            reference: optional("reference", input.reference)?,
            sampler: optional("sampler", input.sampler)?,
            advantages: floats(&advantages)?,
            mask: Tensor::new(input.mask.iter().map(|m| u8::from(*m)).collect::<Vec<u8>>(), device)?,
            constants: Tensor::new(&constants, device)?,
            sequences: input.row_lens.len(),
            offsets: Tensor::new(offsets, device)?,
            sequence_of: Tensor::new(sequence_of, device)?,
        })
    }

    fn batch(&self) -> Batch<&Tensor> {
        Batch {
            old: &self.old,
            reference: self.reference.as_ref(),
            sampler: self.sampler.as_ref(),
            advantages: &self.advantages,
            mask: &self.mask,
            constants: &self.constants,
        }
    }

    /// The tokens of a chunk.
    fn chunk(&self, (from, n): (usize, usize)) -> Result<Self> {
        let of = |x: &Tensor| x.narrow(0, from, n);
        Ok(Self {
            targets: of(&self.targets)?,
            sequence_of: of(&self.sequence_of)?,
            old: of(&self.old)?,
            reference: self.reference.as_ref().map(of).transpose()?,
            sampler: self.sampler.as_ref().map(of).transpose()?,
            advantages: of(&self.advantages)?,
            mask: of(&self.mask)?,
            ..self.clone()
        })
    }

    /// The sums of each sequence, after a forward pass where the loss needs one.
    fn sequences(&self, head: &Head, config: &GrpoConfig) -> Result<Tensor> {
        let scores = match config.needs_scores() {
            true => {
                let scores = head.zeros((head.t, 2), DType::F32)?;
                score(head, &self.targets, &scores, config.temperature)?;
                Some(scores)
            }
            false => None,
        };
        let out = head.zeros(self.sequences * SEQUENCE_BYTES, DType::U8)?;
        run(
            &head.device,
            &launch::grpo_sequences(
                self.batch(),
                scores.as_ref(),
                &self.offsets,
                &out,
                self.sequences,
                head.limits,
            ),
        )?;
        Ok(out)
    }
}
