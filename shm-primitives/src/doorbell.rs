//! The doorbell: how one side sleeps without missing what the other side does.
//!
//! This is the protocol only. What wakes in the end is the caller's: an eventfd, a byte on a socket,
//! or the futex of [`FutexSleeper`]. The sleeper has one shared word that it alone writes: odd while it
//! sleeps, and every sleep has an odd value of its own.
//!
//! ```text
//! sleeper                               waker
//!   prepare(): store odd                  commit
//!              fence (SeqCst)             should_ring(): fence (SeqCst)
//!   look again; work: awake()                            load the word
//!   sleep in the kernel                   odd and new: wake through the kernel
//!   awake(): store even
//! ```
//!
//! Of the two fences one comes first in the single order of all SeqCst fences. If it is the
//! sleeper's, the waker loads the odd value and rings; if it is the waker's, the sleeper's second
//! look finds the commit. So never do both sides go away.
//!
//! | edge | from | to | so that |
//! | --- | --- | --- | --- |
//! | `doorbell.sleep` | SeqCst fence behind the odd store, or behind the commit | the other's SeqCst fence | one of the two sees the other |

use crate::crash_point;
use crate::region::{ReadWord, Word};
use crate::sync::{Ordering, fence};

mod futex;
#[cfg(not(loom))]
mod futex_word;
#[cfg(loom)]
#[path = "doorbell/futex_word_model.rs"]
mod futex_word;
#[cfg(test)]
#[cfg(loom)]
mod loom;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;

pub use futex::{FUTEX_DOORBELL_BYTES, FutexSleeper, FutexWaitError, FutexWaker};

/// The side that sleeps: the only writer of its word.
#[derive(Debug)]
pub struct Sleeper {
    word: Word,
    /// What the word holds. Private; the shared word is not asked for it again.
    value: u64,
}

impl Sleeper {
    /// Takes over a sleeper's word, awake. A value left by an earlier owner is not used again.
    pub fn new(word: Word) -> Sleeper {
        // Relaxed: the word is this side's own.
        let left = word.load(Ordering::Relaxed);
        let mut sleeper = Sleeper { word, value: left };
        sleeper.awake();
        sleeper
    }

    /// Says "asleep". The caller must then look for work once more, and only if there is none go to
    /// sleep in the kernel; on every way out it calls [`Sleeper::awake`].
    // r[impl doorbell.prepare]
    // r[impl crash.p6]
    pub fn prepare(&mut self) {
        self.value = if cfg!(onecopy_mutant = "doorbell_value_reused") {
            1
        } else {
            self.value.wrapping_add(1) | 1
        };
        // Relaxed: the fence orders it.
        self.word.store(self.value, Ordering::Relaxed);
        crash_point!("doorbell.asleep.stored");
        if !cfg!(onecopy_mutant = "doorbell_prepare_without_fence") {
            // edge: doorbell.sleep
            fence(Ordering::SeqCst);
        }
    }

    /// Says "awake".
    pub fn awake(&mut self) {
        // The next even value: one that was even already is told again.
        self.value = self.value.wrapping_add(self.value & 1);
        // Relaxed: a waker that sees it late rings once too often.
        self.word.store(self.value, Ordering::Relaxed);
    }
}

/// The side that wakes.
#[derive(Debug)]
pub struct Waker {
    word: ReadWord,
    /// The sleep for which this waker rang last; even before the first.
    rung: u64,
}

impl Waker {
    /// Watches a sleeper's word.
    pub fn new(word: ReadWord) -> Waker {
        Waker { word, rung: 0 }
    }

    /// Whether the other side sleeps and has to be woken now, through the kernel, for what this side
    /// has committed before the call. True once for each sleep: who gets `true` must ring.
    // r[impl doorbell.ring]
    // r[impl doorbell.once]
    #[inline]
    pub fn should_ring(&mut self) -> bool {
        if !cfg!(onecopy_mutant = "doorbell_ring_without_fence") {
            // edge: doorbell.sleep
            fence(Ordering::SeqCst);
        }
        // Relaxed: the fence orders it.
        let value = self.word.load(Ordering::Relaxed);
        let asleep = value & 1 == 1;
        let new = value != self.rung || cfg!(onecopy_mutant = "doorbell_ring_every_time");
        if asleep && new {
            self.rung = value;
        }
        asleep && new
    }
}
