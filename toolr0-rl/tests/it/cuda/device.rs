//! The same cases on a device, where there is one.

#![expect(unsafe_code, reason = "a launch is a promise about its buffers, which are made here")]

use cudarc::driver::{CudaSlice, DevicePtr};
use toolr0_rl::kernels::cuda::device::Gpu;
use toolr0_rl::kernels::cuda::launch::{Arg, Launch, Limits};

use super::{Buffers, CASES, Runner};

/// Bytes before a buffer that is to begin where no 16-byte word begins.
const OFF: usize = 8;

struct Device(Gpu);

impl Device {
    fn once(&self, launch: &Launch<usize>, buffers: &[Vec<u8>], offset: usize) -> Result<Buffers, String> {
        let stream = self.0.stream();
        let text = |e: &dyn std::fmt::Debug| format!("{}: {e:?}", launch.kernel);
        let upload = |bytes: &Vec<u8>| -> Result<CudaSlice<u8>, String> {
            let mut all = vec![0xa5; offset];
            all.extend(bytes);
            // An allocation of nothing has no address.
            all.resize(all.len().max(offset + 1), 0xa5);
            stream.clone_htod(&all).map_err(|e| text(&e))
        };
        let memory: Vec<CudaSlice<u8>> = buffers.iter().map(upload).collect::<Result<_, _>>()?;
        let args = launch.args.iter().map(|arg| match *arg {
            Arg::Buffer(idx) => Arg::Buffer(memory[idx].device_ptr(stream).0 + offset as u64),
            Arg::Null => Arg::Null,
            Arg::U32(x) => Arg::U32(x),
            Arg::U64(x) => Arg::U64(x),
            Arg::F32(x) => Arg::F32(x),
            Arg::F64(x) => Arg::F64(x),
        });
        let there =
            Launch { kernel: launch.kernel, grid: launch.grid, block: launch.block, args: args.collect() };
        // SAFETY: the cases give buffers of the lengths that the makers of launches ask for (on the processor they run
        // against forbidden pages), all of them lie in `memory`, and there is one stream.
        unsafe { self.0.launch(&there) }.map_err(|e| text(&e))?;
        let download = |(memory, bytes): (&CudaSlice<u8>, &Vec<u8>)| {
            let all = stream.clone_dtoh(memory).map_err(|e| text(&e))?;
            Ok(all[offset..offset + bytes.len()].to_vec())
        };
        memory.iter().zip(buffers).map(download).collect()
    }
}

impl Runner for Device {
    fn limits(&self) -> Limits {
        self.0.limits()
    }

    /// Twice where words begin: the same bits. Then where none begins.
    fn run(&self, launch: &Launch<usize>, buffers: &[Vec<u8>]) -> Result<Vec<Buffers>, String> {
        let first = self.once(launch, buffers, 0)?;
        if first != self.once(launch, buffers, 0)? {
            return Err(format!("{}: two runs have other bits", launch.kernel));
        }
        Ok(vec![first, self.once(launch, buffers, OFF)?])
    }
}

#[test]
fn kernels_match_on_the_device() {
    let gpu = match Gpu::open(0) {
        Ok(gpu) => Device(gpu),
        Err(error) if std::env::var("TOOLR0_REQUIRE_CUDA").is_ok_and(|x| x == "1") => {
            panic!("TOOLR0_REQUIRE_CUDA=1, but there is no device to test on: {error}")
        }
        Err(error) => {
            eprintln!("skipped: no CUDA device: {error}");
            return;
        }
    };
    for (name, check) in CASES {
        if let Err(reason) = check(&gpu) {
            panic!("{name}: {reason}");
        }
    }
}
