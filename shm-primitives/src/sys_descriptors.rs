#![expect(unsafe_code, reason = "descriptors are closed by their numbers")]
//! Descriptors that a program was started with and did not ask for.

use rustix::io::Errno;

/// Closes every descriptor of this process but the standard three.
///
/// # Safety
/// Nothing in the process owns or borrows a descriptor above 2: it has just been started and has
/// opened nothing.
pub unsafe fn close_inherited() -> Result<(), Errno> {
    // SAFETY: the caller says that nobody uses what is closed here; no memory is touched.
    let outcome = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    if outcome == 0 {
        return Ok(());
    }
    // The call is of Linux 5.9, pidfds that can be sent are older by a little.
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOSYS))
}
