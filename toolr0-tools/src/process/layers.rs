//! The layers of a process's confinement, and whether this machine has them.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// One layer of the confinement.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Layer {
    /// Its name.
    pub name: &'static str,
    /// What it keeps a tool from.
    pub against: &'static str,
    /// Whether this machine has it.
    pub there: bool,
    /// A version, or why it is missing.
    pub detail: String,
}

/// The namespaces that a process gets of its own: users, network, shared memory, host name.
pub(super) const NAMESPACES: i32 =
    libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// Every layer, asked of the kernel once.
///
/// # Examples
///
/// ```
/// # #[cfg(target_os = "linux")]
/// assert_eq!(toolr0_tools::process::layers().len(), 4);
/// ```
pub fn layers() -> &'static [Layer] {
    static LAYERS: OnceLock<Vec<Layer>> = OnceLock::new();
    LAYERS.get_or_init(|| vec![landlock(), seccomp(), limits(), namespaces()])
}

/// Whether the layer of this name is there.
pub(super) fn has(name: &str) -> bool {
    layers().iter().any(|layer| layer.name == name && layer.there)
}

fn layer(name: &'static str, against: &'static str, found: std::io::Result<String>) -> Layer {
    let there = found.is_ok();
    Layer { name, against, there, detail: found.unwrap_or_else(|error| error.to_string()) }
}

fn landlock() -> Layer {
    const VERSION: u32 = 1;
    #[expect(unsafe_code, reason = "the crate `landlock` does not tell the version")]
    // SAFETY: with this flag the kernel reads no memory of ours (landlock_create_ruleset(2)) and returns a number.
    let abi =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, VERSION) };
    // The first version cannot keep a file from being cut short; the third can.
    let found = match abi {
        3.. => Ok(format!("version {abi}")),
        1.. => Err(std::io::Error::other(format!("version {abi}, at least 3 is needed"))),
        _ => Err(std::io::Error::last_os_error()),
    };
    layer("landlock", "reading and writing files", found)
}

fn seccomp() -> Layer {
    let found = super::filter::program().map_err(std::io::Error::other).and_then(|program| {
        let mut command = Command::new("/proc/self/exe");
        #[expect(unsafe_code, reason = "a filter is for good, so it is tried on a process that ends")]
        // SAFETY: between fork and exec this makes two system calls and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                seccompiler::apply_filter(&program).map_err(|_| std::io::ErrorKind::Unsupported)?;
                // Enough is known; the program itself shall not run.
                Err(std::io::Error::from_raw_os_error(libc::ECANCELED))
            });
        }
        tried(command)
    });
    layer(
        "seccomp",
        "sockets, new processes, signals, most system calls",
        found.map(|()| "with filters".into()),
    )
}

fn limits() -> Layer {
    layer("rlimits", "memory, processor time, size and number of files", Ok("always there".into()))
}

fn namespaces() -> Layer {
    let mut command = Command::new("/proc/self/exe");
    #[expect(unsafe_code, reason = "whether a process may do it is only known by trying")]
    // SAFETY: between fork and exec this makes one system call and allocates nothing.
    unsafe {
        command.pre_exec(|| match libc::unshare(NAMESPACES) {
            0 => Err(std::io::Error::from_raw_os_error(libc::ECANCELED)),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let found = tried(command).map(|()| "users, network, shared memory, host name".into());
    layer("namespaces", "network devices, shared memory, privileges", found)
}

/// Whether everything before `exec` went well, told by the error that ends it there.
fn tried(mut command: Command) -> std::io::Result<()> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.spawn() {
        Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => Ok(()),
        Err(error) => Err(error),
        Ok(mut child) => {
            let _ = child.kill();
            child.wait().map(|_| ())
        }
    }
}
