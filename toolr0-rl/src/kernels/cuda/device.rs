//! A CUDA device, found and asked, and the kernels on it.
//!
//! The driver and the compiler are loaded when they are needed, so a program with this code starts on any machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use cudarc::driver::sys::{CUdevice_attribute, CUdeviceptr};
use cudarc::driver::{CudaContext, CudaFunction, CudaStream, DriverError, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::{CompileError, CompileOptions, Ptx, compile_ptx_with_opts};

use super::launch::{Arg, Launch, Limits};
use super::source::{MODULES, Module, options};

/// Why there is no device, or why it did not do what it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The driver's library is not on this machine.
    #[error("no CUDA driver on this machine (libcuda was not found)")]
    NoDriver,
    /// The driver is here and sees no device.
    #[error("the CUDA driver sees no device")]
    NoDevice,
    /// The compiler's library is not on this machine.
    #[error("no NVRTC on this machine (libnvrtc was not found; it is part of the CUDA toolkit)")]
    NoCompiler,
    /// The compiler refused a file of kernels.
    #[error("NVRTC did not compile {module}.cu: {reason}")]
    Compile {
        /// The file.
        module: &'static str,
        /// What it said.
        reason: String,
    },
    /// The driver refused a call.
    #[error("the CUDA driver failed")]
    Driver(#[from] DriverError),
    /// A launch names a kernel that is not there.
    #[error("there is no kernel `{0}`")]
    NoKernel(&'static str),
}

/// Whether the driver's library can be loaded. Where it cannot, cudarc panics at the first call, so this comes first.
#[cfg_attr(
    not(feature = "candle-cuda"),
    expect(unsafe_code, reason = "loading a library runs its initialisers")
)]
fn driver_is_present() -> bool {
    // A binary that links the driver does not start without it.
    #[cfg(feature = "candle-cuda")]
    return true;
    #[cfg(not(feature = "candle-cuda"))]
    // SAFETY: the libraries tried are NVIDIA's driver under its own names; loading it has no precondition.
    unsafe {
        cudarc::driver::sys::is_culib_present()
    }
}

/// As [`driver_is_present`], of the compiler.
#[cfg_attr(
    not(feature = "candle-cuda"),
    expect(unsafe_code, reason = "loading a library runs its initialisers")
)]
fn compiler_is_present() -> bool {
    #[cfg(feature = "candle-cuda")]
    return true;
    #[cfg(not(feature = "candle-cuda"))]
    // SAFETY: the libraries tried are NVIDIA's compiler under its own names; loading it has no precondition.
    unsafe {
        cudarc::nvrtc::sys::is_culib_present()
    }
}

/// What shapes of launches depend on.
///
/// # Errors
///
/// If the driver does not say.
pub fn limits(context: &CudaContext) -> Result<Limits, DeviceError> {
    let ask = |attribute| Ok::<_, DriverError>(context.attribute(attribute)? as u32);
    Ok(Limits {
        multiprocessors: ask(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        threads: ask(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR)?,
    })
}

/// Compiles a file of kernels for the device of `context`.
///
/// # Errors
///
/// [`DeviceError::NoCompiler`], or [`DeviceError::Compile`] with the compiler's log.
pub fn compile(context: &CudaContext, module: Module) -> Result<Ptx, DeviceError> {
    if !compiler_is_present() {
        return Err(DeviceError::NoCompiler);
    }
    let (major, minor) = context.compute_capability()?;
    let mut all: Vec<String> = options().map(str::to_owned).collect();
    all.push(format!("--gpu-architecture=compute_{major}{minor}"));
    let compile = CompileOptions { options: all, ..CompileOptions::default() };
    compile_ptx_with_opts(module.text(), compile).map_err(|error| DeviceError::Compile {
        module: module.name,
        reason: match error {
            CompileError::CompileError { log, .. } => log.to_string_lossy().into_owned(),
            other => format!("{other:?}"),
        },
    })
}

/// What its maker calls the device of this number. Compiles nothing.
///
/// # Errors
///
/// If there is none.
pub fn name(ordinal: usize) -> Result<String, DeviceError> {
    Ok(context(ordinal)?.name()?)
}

/// The context of a device, if there is one.
fn context(ordinal: usize) -> Result<Arc<CudaContext>, DeviceError> {
    if !driver_is_present() {
        return Err(DeviceError::NoDriver);
    }
    if CudaContext::device_count()? <= ordinal as i32 {
        return Err(DeviceError::NoDevice);
    }
    Ok(CudaContext::new(ordinal)?)
}

/// A device with all kernels loaded.
#[derive(Debug)]
pub struct Gpu {
    stream: Arc<CudaStream>,
    limits: Limits,
    functions: BTreeMap<&'static str, CudaFunction>,
}

impl Gpu {
    /// The device of this number, with all kernels compiled for it.
    ///
    /// # Errors
    ///
    /// If there is none, or kernels do not compile.
    pub fn open(ordinal: usize) -> Result<Self, DeviceError> {
        let context = context(ordinal)?;
        let mut functions = BTreeMap::new();
        for module in MODULES {
            let loaded = context.load_module(compile(&context, module)?)?;
            for kernel in module.kernels {
                functions.insert(*kernel, loaded.load_function(kernel)?);
            }
        }
        Ok(Self { stream: context.default_stream(), limits: limits(&context)?, functions })
    }

    /// What its maker calls it.
    ///
    /// # Errors
    ///
    /// If the driver does not say.
    pub fn name(&self) -> Result<String, DeviceError> {
        Ok(self.stream.context().name()?)
    }

    /// What shapes of launches depend on.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Where launches are queued, and memory is.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Queues a launch on the device's stream.
    ///
    /// # Safety
    ///
    /// Every address is that of memory on this device, as many values as the function that made `launch` says, and no
    /// other stream touches it until this one is done. Nothing that the kernel writes overlaps what it reads otherwise.
    ///
    /// # Errors
    ///
    /// If the kernel is unknown or the driver refuses.
    #[expect(unsafe_code, reason = "only the caller knows what lies behind the addresses")]
    pub unsafe fn launch(&self, launch: &Launch<CUdeviceptr>) -> Result<(), DeviceError> {
        let function = self.functions.get(launch.kernel).ok_or(DeviceError::NoKernel(launch.kernel))?;
        // SAFETY: passed on to the caller.
        unsafe { queue(&self.stream, function, launch) }
    }
}

/// Queues a launch of `function`, which is the kernel that `launch` names.
///
/// # Safety
///
/// As [`Gpu::launch`].
///
/// # Errors
///
/// If the driver refuses.
#[expect(unsafe_code, reason = "only the caller knows what lies behind the addresses")]
pub unsafe fn queue(
    stream: &CudaStream,
    function: &CudaFunction,
    launch: &Launch<CUdeviceptr>,
) -> Result<(), DeviceError> {
    const NOWHERE: CUdeviceptr = 0;
    let mut builder = stream.launch_builder(function);
    for arg in &launch.args {
        match arg {
            Arg::Buffer(address) => builder.arg(address),
            Arg::Null => builder.arg(&NOWHERE),
            Arg::U32(x) => builder.arg(x),
            Arg::U64(x) => builder.arg(x),
            Arg::F32(x) => builder.arg(x),
            Arg::F64(x) => builder.arg(x),
        };
    }
    let config =
        LaunchConfig { grid_dim: (launch.grid, 1, 1), block_dim: (launch.block, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: number, types and order of the arguments are those of the kernel's signature: `launch.rs` makes them, and
    // the tests call the same source with them, which refuses any other. The memory is the caller's promise.
    unsafe { builder.launch(config) }?;
    Ok(())
}
