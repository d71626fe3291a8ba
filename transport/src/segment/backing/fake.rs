//! A backing that fails when a test wants it to.

use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Lets so many steps of reservations succeed, then fails each with the same error. Clones count
/// together.
#[derive(Clone, Debug)]
pub struct FakeBacking {
    steps_left: Arc<AtomicU32>,
    error: Errno,
}

impl FakeBacking {
    /// Fails every step after the first `steps`, as if the system had said `error`.
    pub fn failing_after(steps: u32, error: Errno) -> FakeBacking {
        FakeBacking { steps_left: Arc::new(AtomicU32::new(steps)), error }
    }

    /// Lets `steps` more steps succeed.
    pub fn allow(&self, steps: u32) {
        // A plain counter of a test: no other memory depends on it.
        self.steps_left.store(steps, Ordering::Relaxed);
    }

    pub(super) fn step(&self) -> Result<(), Errno> {
        let left = self.steps_left.load(Ordering::Relaxed);
        let Some(left) = left.checked_sub(1) else { return Err(self.error) };
        self.steps_left.store(left, Ordering::Relaxed);
        Ok(())
    }
}
