//! A doorbell of its own: the protocol with a futex as what wakes.
//!
//! The waker has a sequence that it alone writes and that the sleeper sleeps on. The sleeper reads it
//! before it says "asleep": a ring that comes between its second look and its sleep has then changed
//! the sequence, and the kernel does not let it sleep.

use super::futex_word::FutexWord;
use super::{Sleeper, Waker};
#[cfg(not(loom))]
use crate::error::RegionError;
#[cfg(not(loom))]
use crate::region::Region;
use std::io;
use std::time::Instant;
use thiserror::Error;

/// Bytes of a futex doorbell: the sleeper's word and the waker's sequence, a cache line each.
pub const FUTEX_DOORBELL_BYTES: u64 = 128;
#[cfg(not(loom))]
const SLEEPER_OFFSET: u64 = 0;
#[cfg(not(loom))]
const SEQUENCE_OFFSET: u64 = 64;

/// Why a wait ended without an answer.
#[derive(Debug, Error)]
pub enum FutexWaitError {
    /// The kernel refused to sleep.
    #[error("futex wait failed: {source}")]
    Wait {
        /// What the kernel said.
        source: io::Error,
    },
}

/// The end that waits.
#[derive(Debug)]
pub struct FutexSleeper {
    sleeper: Sleeper,
    sequence: FutexWord,
}

impl FutexSleeper {
    /// The waiting end of the doorbell in the first [`FUTEX_DOORBELL_BYTES`] of `region`.
    ///
    /// # Errors
    /// When the region is too small or not writable.
    #[cfg(not(loom))]
    pub fn new(region: &Region) -> Result<FutexSleeper, RegionError> {
        let sequence = FutexWord::new(region, SEQUENCE_OFFSET)?;
        Ok(FutexSleeper::over(Sleeper::new(region.word(SLEEPER_OFFSET)?), sequence))
    }

    pub(super) fn over(sleeper: Sleeper, sequence: FutexWord) -> FutexSleeper {
        FutexSleeper { sleeper, sequence }
    }

    /// Waits until `ready` says so, asked at once and after every ring, or until the deadline.
    /// Returns whether it was ready.
    ///
    /// # Errors
    /// When the kernel refuses to sleep.
    // r[impl doorbell.deadline]
    pub fn wait(
        &mut self,
        deadline: Instant,
        mut ready: impl FnMut() -> bool,
    ) -> Result<bool, FutexWaitError> {
        loop {
            let turn = self.sleep_once(deadline, &mut ready);
            self.sleeper.awake();
            if let Some(was_ready) = turn? {
                return Ok(was_ready);
            }
        }
    }

    /// One sleep at most; `None` when it is to be tried again.
    // r[impl doorbell.sequence]
    fn sleep_once(
        &mut self,
        deadline: Instant,
        ready: &mut impl FnMut() -> bool,
    ) -> Result<Option<bool>, FutexWaitError> {
        let mut sequence = self.sequence.load();
        self.sleeper.prepare();
        if ready() {
            return Ok(Some(true));
        }
        if cfg!(onecopy_mutant = "doorbell_sequence_read_late") {
            sequence = self.sequence.load();
        }
        let Some(left) = deadline.checked_duration_since(Instant::now()) else {
            return Ok(Some(false));
        };
        self.sequence.wait(sequence, left).map_err(|source| FutexWaitError::Wait { source })?;
        Ok(None)
    }
}

/// The end that wakes.
#[derive(Debug)]
pub struct FutexWaker {
    waker: Waker,
    sequence: FutexWord,
    /// What the sequence holds. Private.
    value: u32,
}

impl FutexWaker {
    /// The waking end of the doorbell in the first [`FUTEX_DOORBELL_BYTES`] of `region`.
    ///
    /// # Errors
    /// When the region is too small or not writable.
    #[cfg(not(loom))]
    pub fn new(region: &Region) -> Result<FutexWaker, RegionError> {
        let sequence = FutexWord::new(region, SEQUENCE_OFFSET)?;
        Ok(FutexWaker::over(Waker::new(region.read_word(SLEEPER_OFFSET)?), sequence))
    }

    pub(super) fn over(waker: Waker, sequence: FutexWord) -> FutexWaker {
        let value = sequence.load();
        FutexWaker { waker, sequence, value }
    }

    /// Wakes the other side, if it sleeps, for what this side has done before the call. Returns whether
    /// it rang; no system call when it did not.
    pub fn signal(&mut self) -> bool {
        let ring = self.waker.should_ring();
        if ring {
            self.value = self.value.wrapping_add(1);
            self.sequence.store(self.value);
            self.sequence.wake();
        }
        ring
    }
}
