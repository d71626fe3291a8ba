//! Handing a descriptor to one child and to no other.
#![expect(unsafe_code, reason = "the close-on-exec flag is cleared between fork and exec")]

use rustix::io::{Errno, FdFlags, fcntl_setfd};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

/// Lets the program that this command starts inherit the descriptor, while the caller has it open.
/// It stays close-on-exec in this process, so that no other child gets it; the command does not
/// keep it open, and starts nothing any more once it is closed.
pub(super) fn inherit_in<'a>(
    program: &'a mut Command,
    descriptor: &Arc<OwnedFd>,
) -> &'a mut Command {
    let descriptor = Arc::downgrade(descriptor);
    let clear = move || {
        let descriptor = descriptor.upgrade().ok_or(Errno::BADF)?;
        Ok(fcntl_setfd(&*descriptor, FdFlags::empty())?)
    };
    // SAFETY: the closure runs in the forked child before exec. It counts the descriptor up and
    // down in memory of the child's own, which closes nothing because the caller of `spawn` has it
    // too, makes one system call and turns its result into an error that holds a number: no
    // allocation, no lock, nothing that a fork from a process with threads could have left half
    // done.
    unsafe { program.pre_exec(clear) }
}
