#![expect(unsafe_code, reason = "a filter of system calls, and what the kernel tells of them")]
//! What the kernel offers for watching the system calls of another process: a filter in that
//! process, and a descriptor on which each call is told and waits for an answer.

use rustix::io::Errno;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A system call that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub id: u64,
    /// The thread that makes it.
    pub thread: u32,
    pub number: i64,
    pub arguments: [u64; 6],
}

/// Has every system call of this thread, and of those that it starts, told on the descriptor that
/// this returns; but for those of these numbers, which pass.
pub(super) fn install(passing: &[i64]) -> io::Result<OwnedFd> {
    let step = |code: u32, k: u32, yes: u8, no: u8| libc::sock_filter {
        code: code as u16,
        jt: yes,
        jf: no,
        k,
    };
    // The number of the call is the first word of what a filter sees.
    let mut steps = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for (index, number) in passing.iter().enumerate() {
        // Over the rest of the list and the answer that follows it.
        let jump = (passing.len() - index) as u8;
        steps.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, *number as u32, jump, 0));
    }
    steps.push(step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF, 0, 0));
    steps.push(step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0));
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: takes a right away and gives none.
    let alone = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if alone != 0 {
        return Err(io::Error::last_os_error());
    }
    let (operation, flags) =
        (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    // SAFETY: the kernel copies the program, which lives until the call is over.
    let listener =
        unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, &raw const program) };
    if listener < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(listener as i32) })
}

/// The next call, which waits; `None` when the process or the thread went away meanwhile.
pub(super) fn receive(listener: &OwnedFd) -> io::Result<Option<Told>> {
    // SAFETY: the kernel wants zeroes here, and all of its fields are integers.
    let mut told: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one notification into `told`.
    let outcome =
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut told) };
    if outcome != 0 {
        return match Errno::from_io_error(&io::Error::last_os_error()) {
            Some(Errno::NOENT | Errno::INTR) => Ok(None),
            _ => Err(io::Error::last_os_error()),
        };
    }
    let number = i64::from(told.data.nr);
    Ok(Some(Told { id: told.id, thread: told.pid, number, arguments: told.data.args }))
}

/// Lets a call go on, or has it fail. A process that is gone by now needs no answer.
pub(super) fn answer(listener: &OwnedFd, told: &Told, failure: Option<Errno>) {
    let mut answer = libc::seccomp_notif_resp {
        id: told.id,
        val: 0,
        error: failure.map_or(0, |errno| -errno.raw_os_error()),
        flags: if failure.is_some() { 0 } else { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 },
    };
    // SAFETY: the kernel reads one answer from there.
    let _ = unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer)
    };
}
