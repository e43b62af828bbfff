//! The kernels on the processor: their sources as C++ behind `shim.hpp`, one program to a file of kernels.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use toolr0_rl::kernels::cuda::launch::{Arg, Launch, Limits};
use toolr0_rl::kernels::cuda::source::Module;

use super::{Buffers, Runner};

/// `-O2` and no contraction of `a * b + c`; of the compiler's checks those that need no library at run time.
const FLAGS: [&str; 10] = [
    "-std=c++17",
    "-O2",
    "-ffp-contract=off",
    "-Wno-unknown-pragmas",
    "-fsanitize=alignment,bounds,shift",
    "-fsanitize-undefined-trap-on-error",
    "-fno-strict-aliasing",
    // GCC 12 takes `(double)(float)x` for `x` where it makes a vector of two of them.
    "-fno-tree-slp-vectorize",
    // Jumps between stacks are what fibers are.
    "-U_FORTIFY_SOURCE",
    "-o",
];

/// A device too small for its work, so that every kernel's loop over rows has more than one turn.
const LIMITS: Limits = Limits { multiprocessors: 2, threads: 640 };

/// The C++ compiler of this machine.
pub(crate) fn compiler() -> Option<String> {
    let answers = |name: &String| {
        let probe = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        probe.is_ok_and(|status| status.success())
    };
    let asked = std::env::var("CXX").ok().into_iter();
    asked.chain(["c++", "g++", "clang++"].map(String::from)).find(answers)
}

/// A file of kernels, compiled.
pub(crate) struct Host {
    program: PathBuf,
}

impl Host {
    /// Compiles `text`, the source of `modules` or a mutant of it. What was compiled before is not compiled again.
    pub(crate) fn build(compiler: &str, name: &str, modules: &[Module], text: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels");
        fs::create_dir_all(&dir).unwrap();
        let (source, program) = (dir.join(format!("{name}.cpp")), dir.join(name));
        let kernels: Vec<String> = modules
            .iter()
            .flat_map(|m| m.kernels)
            .map(|k| format!("{{\"{k}\", host::kernel({k})}}"))
            .collect();
        let main = format!("int main() {{ return host::serve({{{}}}); }}", kernels.join(", "));
        // Another compiler or other flags make another program.
        let flags = FLAGS.join(" ");
        let all = format!("// {compiler} {flags}\n{}\n{text}\n{main}\n", include_str!("shim.hpp"));
        if program.exists() && fs::read_to_string(&source).is_ok_and(|old| old == all) {
            return Self { program };
        }
        let draft = dir.join(format!("{name}.{}.cpp", std::process::id()));
        fs::write(&draft, &all).unwrap();
        let done = Command::new(compiler).args(FLAGS).arg(&program).arg(&draft).output().unwrap();
        assert!(done.status.success(), "{name}:\n{}", String::from_utf8_lossy(&done.stderr));
        // The source appears under its name once there is a program of it.
        fs::rename(draft, source).unwrap();
        Self { program }
    }

    fn once(
        &self,
        launch: &Launch<usize>,
        buffers: &[Vec<u8>],
        backwards: bool,
        at_end: bool,
    ) -> Result<Buffers, String> {
        let request = request(launch, buffers, backwards, at_end);
        let mut child = Command::new(&self.program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut stdin = child.stdin.take().expect("piped");
        // It reads all of its request before it writes anything; one that dies early says why itself.
        match stdin.write_all(&request) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.to_string()),
            _ => drop(stdin),
        }
        let done = child.wait_with_output().map_err(|e| e.to_string())?;
        if !done.status.success() {
            return Err(format!("{}: {}", launch.kernel, String::from_utf8_lossy(&done.stderr).trim()));
        }
        let mut rest = done.stdout.as_slice();
        let mut take = |len: usize| {
            let (own, tail) = rest.split_at_checked(len).ok_or("an answer that is too short")?;
            rest = tail;
            Ok(own.to_vec())
        };
        buffers.iter().map(|b| take(b.len())).collect()
    }
}

/// In the order in which `host::serve` reads.
fn request(launch: &Launch<usize>, buffers: &[Vec<u8>], backwards: bool, at_end: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let u32 = |out: &mut Vec<u8>, x: u32| out.extend(x.to_le_bytes());
    u32(&mut out, launch.kernel.len() as u32);
    out.extend(launch.kernel.bytes());
    for x in [launch.grid, launch.block, u32::from(backwards), u32::from(at_end), buffers.len() as u32] {
        u32(&mut out, x);
    }
    for buffer in buffers {
        out.extend((buffer.len() as u64).to_le_bytes());
        out.extend(buffer);
    }
    u32(&mut out, launch.args.len() as u32);
    for arg in &launch.args {
        let (kind, bits) = match *arg {
            Arg::Buffer(idx) => (0, idx as u64),
            Arg::Null => (1, 0),
            Arg::U32(x) => (2, u64::from(x)),
            Arg::U64(x) => (2, x),
            Arg::F32(x) => (2, u64::from(x.to_bits())),
            Arg::F64(x) => (2, x.to_bits()),
        };
        u32(&mut out, kind);
        out.extend(bits.to_le_bytes());
    }
    out
}

impl Runner for Host {
    fn limits(&self) -> Limits {
        LIMITS
    }

    /// Threads forwards and backwards, with buffers that end at a forbidden page (and begin where that lets them): the
    /// same bits. Then buffers that begin at a page.
    fn run(&self, launch: &Launch<usize>, buffers: &[Vec<u8>]) -> Result<Vec<Buffers>, String> {
        let forwards = self.once(launch, buffers, false, true)?;
        if forwards != self.once(launch, buffers, true, true)? {
            return Err(format!("{}: the order of the threads changes bits", launch.kernel));
        }
        Ok(vec![forwards, self.once(launch, buffers, true, false)?])
    }
}
