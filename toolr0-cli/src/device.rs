//! Where the network runs.

use anyhow::{Result, bail};

use crate::args::{Device, Global};
use crate::ui::Screen;

/// Settles what `--device` asks for before anything is read or written. Today it is the processor or an error: the
/// kernels of the loss and the optimiser run on a GPU, the network's own parts do not yet.
pub(crate) fn settle(global: Global) -> Result<()> {
    match global.device {
        Device::Cpu => Ok(()),
        Device::Auto => {
            Screen::new(global).say(&format!("on the CPU: {}", why_not_cuda()));
            Ok(())
        }
        Device::Cuda => bail!(
            "--device cuda: {}; `--device cpu` works here, and docs/src/gpu.md says how to get a build with CUDA and what \
             it does",
            why_not_cuda()
        ),
    }
}

#[cfg(not(feature = "cuda"))]
fn why_not_cuda() -> String {
    "this program was built without CUDA".to_owned()
}

#[cfg(feature = "cuda")]
fn why_not_cuda() -> String {
    use toolr0_rl::kernels::cuda::device::Gpu;
    match Gpu::open(0) {
        Ok(gpu) => {
            let name = gpu.name().unwrap_or_else(|_| "a CUDA device".to_owned());
            format!("{name} runs the kernels of the loss and the optimiser, but the network not yet")
        }
        Err(error) => error.to_string(),
    }
}
