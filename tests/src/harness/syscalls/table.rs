//! Which errors each system call is made to fail with: those that the kernel may really answer, of
//! memory, room, descriptors and signals that run out or come in between.

use libc::c_long;
use rustix::io::Errno;

/// A kind of system call: its number, its name, its errors.
type Row = (c_long, &'static str, &'static [Errno]);

/// Calls that are never failed and never counted, since no error of theirs can be met:
///
/// * `munmap`, `close`, `exit`: the kernel does them. `close` says EINTR only after it has closed.
/// * `futex`, `sched_yield`, `rseq`, `set_robust_list`: locks and threads of the standard library,
///   which take no error for an answer.
/// * `rt_sig*`, `sigaltstack`, `getpid` and its like, `clock_*`, `nanosleep`, `getrusage`,
///   `sched_getaffinity`: they fail on wrong arguments only, and sleeping goes on after a signal.
/// * `brk`, `mremap`, `madvise` of the allocator: Rust ends a process whose allocator has no memory,
///   which is so for every program and not for us to survive.
pub(super) const PASSING: &[c_long] = &[
    libc::SYS_munmap,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_geteuid,
    libc::SYS_getuid,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_sched_getaffinity,
    libc::SYS_brk,
    libc::SYS_mremap,
];

const OPEN: &[Errno] = &[Errno::MFILE, Errno::NOMEM, Errno::INTR, Errno::NFILE, Errno::NOSPC];
const MAKE: &[Errno] = &[Errno::NOSPC, Errno::NOMEM];
const LOOK: &[Errno] = &[Errno::NOMEM];
const DESCRIPTOR: &[Errno] = &[Errno::MFILE, Errno::NOMEM, Errno::NFILE];
const TRANSFER: &[Errno] = &[Errno::INTR, Errno::NOMEM];
const WAIT: &[Errno] = &[Errno::INTR];
const THREAD: &[Errno] = &[Errno::AGAIN, Errno::NOMEM];
/// Counted, and places to die, but without an error of these kinds.
const NONE: &[Errno] = &[];

const ROWS: &[Row] = &[
    (libc::SYS_openat, "openat", OPEN),
    (libc::SYS_mkdirat, "mkdirat", MAKE),
    (libc::SYS_renameat, "renameat", MAKE),
    (libc::SYS_unlinkat, "unlinkat", LOOK),
    (libc::SYS_ftruncate, "ftruncate", &[Errno::NOMEM, Errno::INTR]),
    (libc::SYS_fallocate, "fallocate", &[Errno::NOSPC, Errno::NOMEM, Errno::INTR]),
    (libc::SYS_fchmod, "fchmod", LOOK),
    (libc::SYS_fchmodat, "fchmodat", LOOK),
    (libc::SYS_fstat, "fstat", LOOK),
    (libc::SYS_newfstatat, "newfstatat", LOOK),
    (libc::SYS_statx, "statx", LOOK),
    (libc::SYS_fstatfs, "fstatfs", &[Errno::NOMEM, Errno::INTR]),
    (libc::SYS_statfs, "statfs", &[Errno::NOMEM, Errno::INTR]),
    (libc::SYS_readlinkat, "readlinkat", LOOK),
    (libc::SYS_getdents64, "getdents64", LOOK),
    (libc::SYS_flock, "flock", &[Errno::INTR, Errno::NOMEM, Errno::NOLCK]),
    (libc::SYS_fcntl, "fcntl", &[Errno::MFILE]),
    (libc::SYS_getrandom, "getrandom", WAIT),
    (libc::SYS_mmap, "mmap", LOOK),
    (libc::SYS_mprotect, "mprotect", LOOK),
    (libc::SYS_madvise, "madvise", &[Errno::NOMEM, Errno::AGAIN]),
    (libc::SYS_mbind, "mbind", &[Errno::NOMEM, Errno::PERM]),
    (libc::SYS_membarrier, "membarrier", &[Errno::NOMEM]),
    (libc::SYS_eventfd2, "eventfd2", DESCRIPTOR),
    (libc::SYS_epoll_create1, "epoll_create1", DESCRIPTOR),
    (libc::SYS_epoll_ctl, "epoll_ctl", MAKE),
    (libc::SYS_epoll_pwait, "epoll_pwait", WAIT),
    (libc::SYS_epoll_pwait2, "epoll_pwait2", WAIT),
    (libc::SYS_ppoll, "ppoll", TRANSFER),
    (libc::SYS_pidfd_open, "pidfd_open", DESCRIPTOR),
    (libc::SYS_socket, "socket", &[Errno::MFILE, Errno::NOMEM, Errno::NOBUFS, Errno::NFILE]),
    (libc::SYS_bind, "bind", MAKE),
    (libc::SYS_listen, "listen", LOOK),
    (libc::SYS_connect, "connect", TRANSFER),
    (libc::SYS_setsockopt, "setsockopt", LOOK),
    (libc::SYS_getsockopt, "getsockopt", LOOK),
    (libc::SYS_getpeername, "getpeername", &[Errno::NOBUFS]),
    (libc::SYS_accept4, "accept4", &[Errno::MFILE, Errno::NOMEM, Errno::INTR, Errno::NFILE]),
    (libc::SYS_sendmsg, "sendmsg", &[Errno::INTR, Errno::NOMEM, Errno::NOBUFS]),
    (libc::SYS_recvmsg, "recvmsg", TRANSFER),
    (libc::SYS_sendto, "sendto", &[Errno::INTR, Errno::NOMEM, Errno::NOBUFS]),
    (libc::SYS_recvfrom, "recvfrom", TRANSFER),
    (libc::SYS_read, "read", TRANSFER),
    (libc::SYS_pread64, "pread64", TRANSFER),
    (libc::SYS_pwrite64, "pwrite64", &[Errno::INTR, Errno::NOSPC, Errno::NOMEM]),
    // Of eventfds, and those say no more than that they are full.
    (libc::SYS_write, "write", NONE),
    (libc::SYS_clone3, "clone3", THREAD),
    (libc::SYS_clone, "clone", THREAD),
    (libc::SYS_pipe2, "pipe2", &[Errno::MFILE, Errno::NFILE]),
    (libc::SYS_wait4, "wait4", WAIT),
    (libc::SYS_waitid, "waitid", WAIT),
    (libc::SYS_prlimit64, "prlimit64", NONE),
    (libc::SYS_lseek, "lseek", NONE),
    (libc::SYS_kill, "kill", NONE),
    (libc::SYS_prctl, "prctl", NONE),
    (libc::SYS_pidfd_send_signal, "pidfd_send_signal", NONE),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_readlink, "readlink", LOOK),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_stat, "stat", LOOK),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, "poll", TRANSFER),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_epoll_wait, "epoll_wait", WAIT),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rmdir, "rmdir", LOOK),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, "unlink", LOOK),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, "mkdir", MAKE),
];

/// A system call as the table knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// What it is called.
    pub name: &'static str,
    /// Its number, for one that the table does not know.
    pub number: i64,
    /// What it may be made to fail with.
    pub failures: &'static [Errno],
}

/// Looks a call up. One that the table does not know is counted and never failed.
pub(super) fn look_up(number: i64, arguments: &[u64; 6]) -> Call {
    let row = ROWS.iter().find(|row| row.0 == number);
    let (name, failures) = row.map_or(("?", NONE), |row| (row.1, row.2));
    let may_fail = match number {
        libc::SYS_mmap => is_our_mapping(arguments),
        libc::SYS_mprotect => false,
        libc::SYS_madvise => is_our_advice(arguments[2]),
        libc::SYS_fcntl => is_duplication(arguments[1]),
        // Creating a file takes room, opening one does not.
        _ => true,
    };
    let creates = arguments[2] & libc::O_CREAT as u64 != 0;
    let failures = match number {
        libc::SYS_openat if !creates => &failures[..failures.len() - 1],
        _ => failures,
    };
    Call { name, number, failures: if may_fail { failures } else { NONE } }
}

/// Whether it is one of the library's: a file, or one private page. Others are the allocator's, and
/// stacks of threads, for which the standard library takes no error either.
fn is_our_mapping(arguments: &[u64; 6]) -> bool {
    let is_anonymous = arguments[3] & libc::MAP_ANONYMOUS as u64 != 0;
    !is_anonymous || arguments[1] == rustix::param::page_size() as u64
}

/// The allocator advises as well, with MADV_DONTNEED and the like.
fn is_our_advice(advice: u64) -> bool {
    const OURS: [i32; 4] =
        [libc::MADV_DONTDUMP, libc::MADV_DONTFORK, libc::MADV_WIPEONFORK, MADV_POPULATE_WRITE];
    OURS.iter().any(|ours| *ours as u64 == advice)
}

/// Of asm-generic/mman-common.h (Linux 5.14).
const MADV_POPULATE_WRITE: i32 = 23;

fn is_duplication(command: u64) -> bool {
    [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC].iter().any(|it| *it as u64 == command)
}
