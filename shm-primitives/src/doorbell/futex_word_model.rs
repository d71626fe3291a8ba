//! A futex as the model checker has it; the interface is that of `futex_word.rs`. The kernel compares
//! and goes to sleep under one mutex of its own, and wakes under it.

use crate::sync::{AtomicU32, Ordering};
use core::time::Duration;
use loom::sync::{Condvar, Mutex, MutexGuard};
use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError};

#[derive(Clone)]
pub(super) struct FutexWord {
    shared: Arc<Shared>,
}

struct Shared {
    word: AtomicU32,
    kernel: Mutex<()>,
    sleepers: Condvar,
}

impl fmt::Debug for FutexWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FutexWord").finish_non_exhaustive()
    }
}

impl FutexWord {
    /// A fresh one. Clones are views of the same word.
    pub(super) fn model() -> FutexWord {
        let word = AtomicU32::new(0);
        let shared = Shared { word, kernel: Mutex::new(()), sleepers: Condvar::new() };
        FutexWord { shared: Arc::new(shared) }
    }

    pub(super) fn load(&self) -> u32 {
        self.shared.word.load(Ordering::Relaxed)
    }

    pub(super) fn store(&self, value: u32) {
        self.shared.word.store(value, Ordering::Relaxed);
    }

    /// Sleeps without a time limit: a wake-up that is lost is a deadlock, which loom reports.
    pub(super) fn wait(&self, expected: u32, _at_most: Duration) -> io::Result<()> {
        let kernel = self.kernel();
        if self.load() == expected {
            drop(self.shared.sleepers.wait(kernel));
        }
        Ok(())
    }

    pub(super) fn wake(&self) {
        let _kernel = self.kernel();
        self.shared.sleepers.notify_one();
    }

    /// The kernel's mutex, which nobody leaves half done.
    fn kernel(&self) -> MutexGuard<'_, ()> {
        self.shared.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
