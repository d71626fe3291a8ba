//! The host's own eventfd: lets its other threads wake the loop. No guest ever holds it.

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Wakes the host's loop from any thread.
#[derive(Clone, Debug)]
pub(super) struct WakeHandle(Arc<OwnedFd>);

impl WakeHandle {
    pub fn new() -> Result<WakeHandle, Errno> {
        eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map(|fd| WakeHandle(Arc::new(fd)))
    }

    pub fn wake(&self) {
        // The only failure is a counter that is full, which wakes just as well.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }

    /// Takes the wake-ups back before the loop looks at what they were for.
    pub fn reset(&self) {
        let mut count = [0; 8];
        // EAGAIN: there was none.
        let _ = rustix::io::read(&*self.0, &mut count);
    }
}

impl AsFd for WakeHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
