#![expect(unsafe_code, reason = "fork, the end of one thread, a filter of system calls, mincore")]
//! What no safe interface offers, and only tests want.

use onecopy_shm::{Access, Mapping};
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Runs `answer` in a forked child and returns what the child exits with; `None` when it died
/// otherwise or not in time (it is killed then).
///
/// The child has none of the parent's other threads: `answer` must not wait for any.
pub fn in_forked_child(answer: impl FnOnce() -> i32, patience: Duration) -> Option<i32> {
    // SAFETY: the child runs `answer` and ends; whatever lock another thread held at the fork is
    // never given back there, which `answer` has to bear.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", io::Error::last_os_error());
    if child == 0 {
        exit_at_once(answer());
    }
    wait_for_child(child, Instant::now() + patience)
}

fn wait_for_child(child: i32, deadline: Instant) -> Option<i32> {
    let mut status = 0;
    loop {
        // SAFETY: asks for a child of our own; `status` is writable.
        let waited = unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) };
        if waited == child {
            return libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
        }
        if Instant::now() >= deadline {
            // SAFETY: the child is ours and not waited for yet, so its number is no other's.
            unsafe { libc::kill(child, libc::SIGKILL) };
            // SAFETY: as above.
            unsafe { libc::waitpid(child, &mut status, 0) };
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Ends the process with nothing run: no destructor, no handler, no flush.
pub fn exit_at_once(code: i32) -> ! {
    // SAFETY: it has no preconditions, and does not return.
    unsafe { libc::_exit(code) }
}

/// Ends the calling thread with nothing run; the process lives on while another thread does. To be
/// called by the main thread, whose stack nobody takes back.
pub fn end_main_thread() -> ! {
    loop {
        // SAFETY: ends this thread alone. Its stack stays mapped, so what others borrow from it
        // stays valid.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
}

/// Forbids the calling thread every system call but the end of the process: the first one kills
/// the whole process with SIGSYS.
pub fn forbid_system_calls() {
    filter(libc::SYS_exit_group, libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_KILL_PROCESS);
}

/// Has membarrier(2) fail with EPERM in the calling thread and those that it starts.
pub fn forbid_membarrier() {
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    filter(libc::SYS_membarrier, refused, libc::SECCOMP_RET_ALLOW);
}

/// What becomes of one system call, and of all others, in this thread and those that it starts.
fn filter(number: libc::c_long, its_own: u32, others: u32) {
    let step = |code: u32, k: u32, yes: u8, no: u8| libc::sock_filter {
        code: code as u16,
        jt: yes,
        jf: no,
        k,
    };
    // The number of the call is the first word of what a filter sees.
    let steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number as u32, 1, 0),
        step(libc::BPF_RET | libc::BPF_K, others, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, its_own, 0, 0),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_ptr().cast_mut() };
    // SAFETY: takes a right away and gives none.
    let alone = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(alone, 0, "no_new_privs: {}", io::Error::last_os_error());
    // SAFETY: the kernel copies the program, which lives until the call is over, and writes nothing.
    let set =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(set, 0, "seccomp: {}", io::Error::last_os_error());
}

/// Bytes of a file in shared memory between these offsets whose pages are there and zeroed or written:
/// what is only reserved is not.
pub fn resident_bytes(file: &Path, (from_bytes, to_bytes): (u64, u64)) -> u64 {
    let file = File::open(file).unwrap();
    let mapping = Mapping::map(&file, to_bytes, Access::ReadOnly).unwrap();
    let page_bytes = rustix::param::page_size();
    let start = mapping.base().wrapping_add(from_bytes as usize);
    let pages = ((to_bytes - from_bytes) as usize).div_ceil(page_bytes);
    let mut found = vec![0_u8; pages];
    // SAFETY: the range lies in `mapping`, which lives until the end, and `found` has a byte for each
    // of its pages. Nothing is touched.
    let told = unsafe { libc::mincore(start.cast(), pages * page_bytes, found.as_mut_ptr()) };
    assert_eq!(told, 0, "mincore: {}", io::Error::last_os_error());
    found.iter().filter(|&&page| page & 1 != 0).count() as u64 * page_bytes as u64
}
