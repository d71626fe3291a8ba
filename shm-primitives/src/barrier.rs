//! A fence of one side of a race that serves the other side too.
//!
//! Where two sides each store and then look at what the other stored, both need a fence. If one of them
//! comes by a thousand times as often, its fences are the dear ones. The kernel can have every thread of
//! every process that asked for it carry out a fence now (membarrier(2), `MEMBARRIER_CMD_GLOBAL_EXPEDITED`,
//! since Linux 4.16): then the other side needs none, as long as the compiler keeps its order. It costs the
//! caller an interrupt of each core on which such a process runs.

use rustix::io::Errno;
use rustix::thread::{MembarrierCommand, membarrier};

/// Whether [`fence_everyone`] may be relied on here: nowhere, until it is known why the test that races it
/// beside others has seen rounds without a fence. So every reader fences itself.
#[must_use]
pub fn is_available() -> bool {
    false
}

/// Has the threads of this process carry out the fences of [`fence_everyone`], whoever calls it. For the
/// life of this process; asked for again, it changes nothing.
///
/// # Errors
/// [`Errno`]: the kernel does not know it, or a filter does not let it through.
pub fn enlist() -> Result<(), Errno> {
    membarrier(MembarrierCommand::RegisterGlobalExpedited)
}

/// A sequentially consistent fence in every thread of every process that is enlisted, between the begin and
/// the end of this call; in the caller too.
///
/// # Errors
/// [`Errno`]: there was none.
pub fn fence_everyone() -> Result<(), Errno> {
    // The expedited one may be out of memory. The other one takes milliseconds, and no memory.
    membarrier(MembarrierCommand::GlobalExpedited)
        .or_else(|_| membarrier(MembarrierCommand::Global))
}

#[cfg(test)]
pub(crate) mod tests;
