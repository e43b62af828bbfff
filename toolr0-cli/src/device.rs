//! Where the network runs.

use std::sync::OnceLock;

use anyhow::{Result, bail};

use crate::args::{Device, Global};
use crate::ui::Screen;

/// The GPU, once it was opened. It is one for the program, as the worker threads are: tensors of a device that was opened
/// twice do not meet.
static GPU: OnceLock<candle_core::Device> = OnceLock::new();

/// Settles what `--device` asks for before anything is read or written.
pub(crate) fn settle(global: Global) -> Result<()> {
    if global.device == Device::Cpu {
        return Ok(());
    }
    match open() {
        Ok((gpu, name)) => {
            GPU.get_or_init(|| gpu);
            Screen::new(global).say(&format!("on {name}"));
            Ok(())
        }
        Err(why) if global.device == Device::Auto => {
            Screen::new(global).say(&format!("on the CPU: {why}"));
            Ok(())
        }
        Err(why) => bail!(
            "--device cuda: {why}; `--device cpu` works here, and docs/src/gpu.md says how to get a build with CUDA and \
             what it does"
        ),
    }
}

/// Where models belong.
pub(crate) fn here() -> candle_core::Device {
    GPU.get().cloned().unwrap_or(candle_core::Device::Cpu)
}

/// The GPU and its name, or why there is none.
#[cfg(feature = "candle-cuda")]
fn open() -> Result<(candle_core::Device, String), String> {
    let name = toolr0_rl::kernels::cuda::device::name(0).map_err(|error| reason(&error))?;
    let gpu =
        candle_core::Device::new_cuda(0).map_err(|error| format!("{name} could not be opened: {error}"))?;
    Ok((gpu, name))
}

#[cfg(all(feature = "cuda", not(feature = "candle-cuda")))]
fn open() -> Result<(candle_core::Device, String), String> {
    Err(match toolr0_rl::kernels::cuda::device::name(0) {
        Ok(name) => {
            format!("this program has kernels for {name}, but was built without candle's CUDA backend")
        }
        Err(error) => reason(&error),
    })
}

#[cfg(not(feature = "cuda"))]
fn open() -> Result<(candle_core::Device, String), String> {
    Err("this program was built without CUDA".to_owned())
}

#[cfg(feature = "cuda")]
fn reason(error: &toolr0_rl::kernels::cuda::device::DeviceError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source:?}"),
        None => error.to_string(),
    }
}
