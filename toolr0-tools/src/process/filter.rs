//! The system calls that a confined process has. All others fail with `ENOSYS`, as on a kernel that never had them.
//!
//! A list of what is allowed, since a list of what is not would be out of date with the next kernel. What is missing on
//! purpose: sockets, new processes (threads are there), signals to others, tracing, mounts, timers that outlive a call,
//! `io_uring`, and folders, links and devices in the scratch directory.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Allowed whatever the arguments.
const ANY: &[i64] = &[
    // To start, and to end.
    libc::SYS_execve,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    // Memory, which a resource limit bounds.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    // Files, which Landlock bounds.
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_ftruncate,
    libc::SYS_truncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fadvise64,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_utimensat,
    libc::SYS_umask,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    // Waiting.
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    // Its own signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Who am I, and what time is it.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getcpu,
    libc::SYS_sched_getaffinity,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_times,
    libc::SYS_gettimeofday,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
];

/// Older names of the same, which only this architecture has.
#[cfg(target_arch = "x86_64")]
const OLD: &[i64] = &[
    libc::SYS_arch_prctl,
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_getpgrp,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[i64] = &[];

/// Allowed with these values of one argument: `(call, argument, mask, value)`.
const SOME: &[(i64, u8, u64, u64)] = &[
    // A thread, but no process.
    (libc::SYS_clone, 0, libc::CLONE_THREAD as u64, libc::CLONE_THREAD as u64),
    // Its own limits, but nobody else's.
    (libc::SYS_prlimit64, 0, u32::MAX as u64, 0),
    // Is this a terminal, and a few questions about the descriptor itself; nothing that types into a terminal.
    (libc::SYS_ioctl, 1, u32::MAX as u64, libc::TCGETS),
    (libc::SYS_ioctl, 1, u32::MAX as u64, libc::FIONBIO),
    (libc::SYS_ioctl, 1, u32::MAX as u64, libc::FIONREAD),
    (libc::SYS_ioctl, 1, u32::MAX as u64, libc::FIOCLEX),
    // Names of threads and of memory.
    (libc::SYS_prctl, 0, u32::MAX as u64, libc::PR_SET_NAME as u64),
    (libc::SYS_prctl, 0, u32::MAX as u64, libc::PR_GET_NAME as u64),
    (libc::SYS_prctl, 0, u32::MAX as u64, libc::PR_SET_VMA as u64),
];

/// The filter, ready for the kernel.
///
/// # Errors
///
/// On an architecture that the crate `seccompiler` does not know.
pub(super) fn program() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ANY.iter().chain(OLD).map(|call| (*call, Vec::new())).collect();
    for &(call, argument, mask, value) in SOME {
        let operator = SeccompCmpOp::MaskedEq(mask);
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value)?;
        rules.entry(call).or_default().push(SeccompRule::new(vec![condition])?);
    }
    let missing = SeccompAction::Errno(libc::ENOSYS as u32);
    let filter =
        SeccompFilter::new(rules, missing, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)?;
    filter.try_into()
}
