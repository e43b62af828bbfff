//! One process from its start to its end: its output up to a cap, its deadline, its scratch directory, its death.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::confine::{SCRATCH_BYTES, SCRATCH_FILES};
use crate::Limits;

/// How often memory and scratch directory are looked at while nothing happens.
const TICK: Duration = Duration::from_millis(5);
/// What an answer may have around its value.
const ENVELOPE: usize = 1 << 10;
/// How much of stderr is kept, from its end.
const LAST_WORDS: usize = 2 << 10;

/// Why a process is no more.
#[derive(Debug)]
pub(super) enum Why {
    /// It exited, or died by a signal that was not ours.
    Exited(ExitStatus),
    /// Killed at its deadline.
    Late,
    /// Killed because it wrote too much to stdout.
    Flood,
    /// Killed because its scratch directory became too large.
    Full,
}

/// What is left of a process.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) why: Why,
    pub(super) stdout: Vec<u8>,
    /// The last line of stderr.
    pub(super) last_words: String,
    /// Whether it came near its memory limit, or said so.
    pub(super) starved: bool,
}

/// Kills the whole group when it goes out of scope, and leaves no zombie.
struct Group(Child);

impl Group {
    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.0.id().cast_signed())
    }

    fn end(&mut self) -> io::Result<ExitStatus> {
        // The leader is not reaped yet, so the number is still its own. It fails where nobody is left to kill.
        let _ = self.pid().map(|pid| kill_process_group(pid, Signal::KILL));
        self.0.wait()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Starts a process and stays with it. Its pipes must be stdout and stderr, and it must lead a group of its own.
pub(super) fn watch(
    mut command: Command,
    scratch: &Path,
    deadline: Instant,
    limits: &Limits,
) -> io::Result<Watched> {
    let mut group = Group(command.spawn()?);
    let pid = group.pid().ok_or(io::ErrorKind::InvalidData)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let (stdout, stderr) = (group.0.stdout.take(), group.0.stderr.take());
    let (Some(stdout), Some(stderr)) = (stdout, stderr) else { return Err(io::ErrorKind::BrokenPipe.into()) };
    for pipe in [stdout.as_fd(), stderr.as_fd()] {
        rustix::io::ioctl_fionbio(pipe, true)?;
    }
    let (mut out, mut words, mut open) = (Vec::new(), Vec::new(), [true; 2]);
    let (mut peak, mut next_look) = (0, Instant::now());
    let cap = limits.output_bytes.saturating_add(ENVELOPE);
    let why = loop {
        let now = Instant::now();
        if now >= deadline {
            break Some(Why::Late);
        }
        if now >= next_look {
            peak = peak.max(memory_peak(pid));
            if !is_small(scratch) {
                break Some(Why::Full);
            }
            next_look = now + TICK;
        }
        let exited = wait(
            &[(stdout.as_fd(), open[0]), (stderr.as_fd(), open[1])],
            pidfd.as_fd(),
            (deadline - now).min(TICK),
        )?;
        if open[0] {
            open[0] = drain(stdout.as_fd(), &mut out, cap)?;
        }
        if open[1] {
            // A flood of it is read and forgotten, until the deadline.
            open[1] = drain(stderr.as_fd(), &mut words, 16 * LAST_WORDS)?;
            let old = words.len().saturating_sub(LAST_WORDS);
            words.drain(..old);
        }
        if out.len() > cap {
            break Some(Why::Flood);
        }
        if exited {
            break None;
        }
    };
    let status = group.end()?;
    let text = String::from_utf8_lossy(&words);
    let said = ["memory allocation of", "MemoryError", "out of memory", "Cannot allocate memory"]
        .iter()
        .any(|text_of_it| text.contains(text_of_it));
    let starved = said || peak >= limits.memory_bytes as u64 / 4 * 3;
    let last_words = text.trim().lines().last().unwrap_or_default().to_owned();
    let why = why.unwrap_or(if is_small(scratch) { Why::Exited(status) } else { Why::Full });
    Ok(Watched { why, stdout: out, last_words, starved })
}

type Fd<'a> = std::os::fd::BorrowedFd<'a>;

/// Waits until an open pipe can be read or the process ends, and says whether it has ended.
fn wait(pipes: &[(Fd<'_>, bool)], pidfd: Fd<'_>, most: Duration) -> io::Result<bool> {
    let mut fds = vec![PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    fds.extend(
        pipes.iter().filter(|pipe| pipe.1).map(|pipe| PollFd::from_borrowed_fd(pipe.0, PollFlags::IN)),
    );
    let most = Timespec { tv_sec: 0, tv_nsec: most.as_nanos() as i64 };
    match poll(&mut fds, Some(&most)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(!fds[0].revents().is_empty()),
        Err(error) => Err(error.into()),
    }
}

/// Reads what is there, until `into` holds more than `cap` bytes, and says whether more may come.
fn drain(pipe: Fd<'_>, into: &mut Vec<u8>, cap: usize) -> io::Result<bool> {
    let mut buffer = [0; 16 << 10];
    while into.len() <= cap {
        match rustix::io::read(pipe, &mut buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => into.extend_from_slice(&buffer[..n]),
            Err(rustix::io::Errno::AGAIN) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// The most address space that a process has had, bytes; 0 once it has ended.
fn memory_peak(pid: Pid) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) << 10
}

/// Whether a scratch directory is within its bounds. It is flat, since no folder can be made in it.
fn is_small(scratch: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(scratch) else { return true };
    let (mut files, mut bytes) = (0, 0);
    for entry in entries.flatten() {
        files += 1;
        bytes += entry.metadata().map_or(0, |metadata| metadata.len());
        if files > SCRATCH_FILES || bytes > SCRATCH_BYTES {
            return false;
        }
    }
    true
}
