#![expect(unsafe_code, reason = "takes over a descriptor that was inherited by number")]
//! Claiming a place that the host reserved for a process it spawned.

use super::attach::AttachError;
use super::{Guest, GuestOptions};
use rustix::fd::{FromRawFd, OwnedFd, RawFd};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Environment variable that tells a spawned guest the number of its inherited socket.
pub const ATTACH_FD_VARIABLE: &str = "ONECOPY_ATTACH_FD";

impl Guest {
    /// Attaches over the inherited socket whose number stands in [`ATTACH_FD_VARIABLE`]. Works once
    /// in a process: the descriptor is taken over.
    ///
    /// # Errors
    /// [`AttachError::NothingToClaim`] when there is no such number or it was claimed already; else
    /// as for [`Guest::attach`].
    // r[impl guest.claim]
    pub fn claim_from_environment(options: GuestOptions) -> Result<Guest, AttachError> {
        static CLAIMED: AtomicBool = AtomicBool::new(false);
        let found = std::env::var(ATTACH_FD_VARIABLE).ok();
        let number = found.as_deref().and_then(|number| number.parse::<RawFd>().ok());
        let nothing = AttachError::NothingToClaim { variable: ATTACH_FD_VARIABLE, found };
        // Standard input, output and error are never it.
        let Some(number) = number.filter(|&number| number > 2) else { return Err(nothing) };
        if CLAIMED.swap(true, Ordering::Relaxed) {
            return Err(nothing);
        }
        // SAFETY: whoever spawned this process made the descriptor for it alone and says so in the
        // environment; `CLAIMED` lets nobody but us take it over. `claim` looks what it is.
        let socket = unsafe { OwnedFd::from_raw_fd(number) };
        keep_from_exec(&socket)?;
        Guest::claim(socket, options)
    }
}

fn keep_from_exec(socket: &OwnedFd) -> Result<(), AttachError> {
    let flags = fcntl_getfd(socket).map_err(AttachError::KeepFromExec)?;
    fcntl_setfd(socket, flags | FdFlags::CLOEXEC).map_err(AttachError::KeepFromExec)
}
