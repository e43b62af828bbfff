//! What a process cannot do, set up between `fork` and `exec`, so that not one instruction of the program runs without.
//!
//! In this order: a process group of its own, death with its parent, namespaces, resource limits, no privileges from
//! files, Landlock, and last the filter of system calls, which would not let the others pass.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, Scope,
};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use seccompiler::BpfProgram;

use super::layers::{NAMESPACES, has};
use crate::error::{Error, Result};
use crate::{Limits, ToolCall};

/// How much a scratch directory may hold.
pub(super) const SCRATCH_BYTES: u64 = 16 << 20;
/// How many files it may hold.
pub(super) const SCRATCH_FILES: usize = 256;

/// The newest version of Landlock whose rights are asked for; an older kernel gets those that it knows.
const NEWEST: ABI = ABI::V6;

/// What any program needs to start: libraries, their index, the time zone, and four harmless devices.
const SYSTEM: [&str; 12] = [
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/sbin",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/null",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
];

/// What all calls of one program have in common.
#[derive(Debug)]
pub(super) struct Confinement {
    readable: Vec<PathBuf>,
    filter: Option<Arc<BpfProgram>>,
    namespaces: bool,
    landlock: bool,
}

impl Confinement {
    /// For a program that may read itself, `read` and the system's libraries. Layers that the machine lacks are left out.
    pub(super) fn new(program: &Path, read: &[PathBuf]) -> Result<Self> {
        let mut readable: Vec<PathBuf> =
            SYSTEM.iter().map(PathBuf::from).filter(|path| path.exists()).collect();
        readable.push(program.into());
        for path in read {
            let real = path.canonicalize();
            readable.push(real.map_err(|source| Error::Read { path: path.clone(), source })?);
        }
        let filter = match has("seccomp") {
            true => Some(Arc::new(super::filter::program().map_err(|error| Error::Start {
                what: program.display().to_string(),
                reason: error.to_string(),
            })?)),
            false => None,
        };
        Ok(Self { readable, filter, namespaces: has("namespaces"), landlock: has("landlock") })
    }

    /// The command of one call, not yet started.
    pub(super) fn command(
        &self,
        program: &Path,
        args: &[String],
        scratch: &Path,
        call: &ToolCall,
        limits: &Limits,
    ) -> io::Result<Command> {
        let mut command = Command::new(program);
        command.args(args).current_dir(scratch).env_clear().process_group(0);
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8");
        command.env("HOME", scratch).env("TMPDIR", scratch);
        command.stdin(request(call)?).stdout(Stdio::piped()).stderr(Stdio::piped());

        let mut rules = match self.landlock {
            true => Some(self.rules(scratch).map_err(io::Error::other)?),
            false => None,
        };
        let (filter, namespaces, limits) =
            (self.filter.clone(), self.namespaces, resources(limits, self.namespaces));
        let confine = move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            close_others()?;
            if namespaces {
                unshare()?;
            }
            for (resource, most) in limits {
                if let Some(most) = most {
                    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
                }
            }
            rustix::thread::set_no_new_privs(true)?;
            if let Some(rules) = rules.take() {
                rules.restrict_self().map_err(|_| io::ErrorKind::PermissionDenied)?;
            }
            if let Some(filter) = &filter {
                seccompiler::apply_filter(filter).map_err(|_| io::ErrorKind::PermissionDenied)?;
            }
            Ok(())
        };
        #[expect(unsafe_code, reason = "a process has to be confined before its program runs, by itself")]
        // SAFETY: `confine` runs in the child, where no other thread exists. It makes system calls and frees nothing but a
        // file descriptor: rules, filter and limits were made by the parent, and its errors are plain numbers.
        unsafe {
            command.pre_exec(confine);
        }
        Ok(command)
    }

    /// Read and run: the system's libraries, the program, what the manifest names. Read, write, make and remove plain
    /// files: the scratch directory. No folder, link, socket or device can be made there. No port, no socket and no
    /// process outside can be reached.
    fn rules(
        &self,
        scratch: &Path,
    ) -> std::result::Result<RulesetCreated, Box<dyn std::error::Error + Send + Sync>> {
        let mut rules = Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?;
        for path in &self.readable {
            let mut access = match path.is_dir() {
                true => AccessFs::from_read(NEWEST),
                false => AccessFs::Execute | AccessFs::ReadFile,
            };
            if path == Path::new("/dev/null") {
                access |= AccessFs::WriteFile;
            }
            rules = rules.add_rule(PathBeneath::new(PathFd::new(path)?, access))?;
        }
        let own: BitFlags<AccessFs> = AccessFs::ReadFile
            | AccessFs::ReadDir
            | AccessFs::WriteFile
            | AccessFs::Truncate
            | AccessFs::MakeReg
            | AccessFs::RemoveFile;
        Ok(rules.add_rule(PathBeneath::new(PathFd::new(scratch)?, own))?)
    }
}

/// The call as a file that nobody can change, so that a program which does not read it keeps nobody waiting.
fn request(call: &ToolCall) -> io::Result<Stdio> {
    let fd = memfd_create("call", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(fd);
    serde_json::to_writer(io::BufWriter::new(&file), call)?;
    file.write_all(b"\n")?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(Stdio::from(file))
}

/// Resource limits of a process. Those of threads count for a whole user, so they are for a namespace of its own.
fn resources(limits: &Limits, namespaces: bool) -> [(Resource, Option<u64>); 8] {
    [
        (Resource::As, Some(limits.memory_bytes as u64)),
        (Resource::Cpu, Some(limits.millis / 1000 + 2)),
        (Resource::Fsize, Some(SCRATCH_BYTES)),
        (Resource::Nofile, Some(64)),
        (Resource::Core, Some(0)),
        (Resource::Memlock, Some(0)),
        (Resource::Msgqueue, Some(0)),
        (Resource::Nproc, namespaces.then_some(64)),
    ]
}

/// Whatever descriptors this program has open besides the three, the next one does not get.
fn close_others() -> io::Result<()> {
    #[expect(unsafe_code, reason = "rustix does not have this call")]
    // SAFETY: it marks descriptors to be closed at `exec`, and reads no memory.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn unshare() -> io::Result<()> {
    #[expect(unsafe_code, reason = "it changes what the whole process can see")]
    // SAFETY: the process is a fresh child with one thread, and none of these flags takes its memory or its files away.
    let done = unsafe { libc::unshare(NAMESPACES) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
