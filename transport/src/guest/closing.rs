//! The end of an attach against leases that are taken meanwhile.
//!
//! Whoever leases looks here afterwards, whoever ends the attach looks through the leases afterwards,
//! with a sequentially consistent fence on either side, or one of the second carried out in both: one of the
//! two sees the other.

use crate::edges::mutant;
use crate::sync::{AtomicBool, Ordering};
use onecopy_shm::LeaseTable;
use onecopy_shm::error::NoFence;

/// Whether a goodbye is under way.
#[derive(Debug)]
pub(super) struct Closing(AtomicBool);

impl Closing {
    /// It is not.
    pub(super) fn new() -> Closing {
        Closing(AtomicBool::new(false))
    }

    /// From here on nobody new leases; how many leases there are.
    ///
    /// # Errors
    /// [`NoFence`]: there may be leases that are not seen.
    pub(super) fn begin(&self, leases: &LeaseTable) -> Result<u32, NoFence> {
        self.0.store(true, Ordering::Relaxed);
        if !mutant!("guest_closing_without_fence") {
            // edge: guest.closing: either a thread that leases sees this, or its lease is seen here.
            leases.fence_before_look()?;
        }
        Ok(leases.in_use())
    }

    /// It came to nothing.
    pub(super) fn give_up(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// For whoever has a lease just now: not to be used then.
    #[inline]
    pub(super) fn is_begun(&self) -> bool {
        // Relaxed: what orders it is the fence behind the lease, whoever carries it out (guest.closing).
        !mutant!("guest_closing_unchecked") && self.0.load(Ordering::Relaxed)
    }
}
