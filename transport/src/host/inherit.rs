//! Handing a descriptor to one child and to no other.
#![expect(unsafe_code, reason = "the close-on-exec flag is cleared between fork and exec")]

use rustix::io::{FdFlags, fcntl_setfd};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the programs that this command starts inherit the descriptor. It stays close-on-exec in
/// this process, so that no other child gets it; the command keeps it open.
pub(super) fn inherit_in(program: &mut Command, descriptor: OwnedFd) -> &mut Command {
    let clear = move || fcntl_setfd(&descriptor, FdFlags::empty()).map_err(std::io::Error::from);
    // SAFETY: the closure runs in the forked child before exec. It makes one system call and turns
    // its result into an error that holds a number: no allocation, no lock, nothing that a fork
    // from a process with threads could have left half done.
    unsafe { program.pre_exec(clear) }
}
