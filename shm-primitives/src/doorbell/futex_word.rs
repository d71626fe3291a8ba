#![expect(unsafe_code, reason = "a futex is a word of 32 bits in shared memory")]
//! One futex in shared memory.

use crate::error::RegionError;
use crate::fault::shared_store;
use crate::region::Region;
use crate::sync::{AtomicU32, Ordering};
use core::ptr::NonNull;
use core::time::Duration;
use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, Timespec};
use std::io;

/// Shared between processes: not `PRIVATE`.
const SHARED: Flags = Flags::empty();

/// A word that its one writer bumps and the other side sleeps on.
#[derive(Debug)]
pub(super) struct FutexWord {
    word: NonNull<AtomicU32>,
    /// Keeps `word` mapped.
    _region: Region,
}

// SAFETY: the pointer leads into `_region`, which may be used from any thread; access is atomic.
unsafe impl Send for FutexWord {}

impl FutexWord {
    pub(super) fn new(region: &Region, offset: u64) -> Result<FutexWord, RegionError> {
        let region = region.subregion(offset, 8)?;
        // Taken for what it proves: writable, eight bytes, aligned.
        region.word(0)?;
        let outside = RegionError::Misaligned { offset, alignment_bytes: 8 };
        let word = NonNull::new(region.address()).ok_or(outside)?.cast();
        Ok(FutexWord { word, _region: region })
    }

    pub(super) fn load(&self) -> u32 {
        // Relaxed: the fences of the doorbell order it, and the kernel compares it again.
        self.atomic().load(Ordering::Relaxed)
    }

    pub(super) fn store(&self, value: u32) {
        shared_store();
        // Relaxed: the system call behind it orders it before the wake.
        self.atomic().store(value, Ordering::Relaxed);
    }

    /// Sleeps while the word holds `expected`, at most this long. May end early.
    pub(super) fn wait(&self, expected: u32, at_most: Duration) -> io::Result<()> {
        let timeout = Timespec::try_from(at_most).ok();
        match futex::wait(self.atomic(), SHARED, expected, timeout.as_ref()) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }

    /// Wakes who sleeps on the word.
    pub(super) fn wake(&self) {
        // Fails only for an address that is no futex, and this one is mapped and aligned.
        let _woken = futex::wake(self.atomic(), SHARED, 1);
    }

    fn atomic(&self) -> &AtomicU32 {
        // SAFETY: inside the region and aligned, as `new` checked; mapped as long as `self`; accessed
        // as 32-bit atomics alone.
        unsafe { self.word.as_ref() }
    }
}
