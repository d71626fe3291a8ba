//! Tells a forked child that it is not the process that opened what it holds.
//!
//! One page of the process is wiped by the kernel in a forked child (MADV_WIPEONFORK). It holds a
//! number for the process; a child finds 0 there and takes a number of its own when it first needs
//! one. The numbers come from ordinary memory, which a child inherits, so no process ever gets the
//! number of one of its ancestors.
#![expect(unsafe_code, reason = "the wiped page is used through a reference of static lifetime")]

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::OnceLock;

use crate::error::ForkGuardError;

/// Remembers the process that made it.
///
/// Cheap to copy, one load to ask. Processes made with `vfork` share all memory with their parent
/// and are taken for it.
// r[impl memory.fork-guard]
#[derive(Debug, Clone, Copy)]
pub struct ForkGuard {
    word: &'static AtomicU64,
    process: u64,
}

impl ForkGuard {
    /// Remembers this process.
    ///
    /// # Errors
    /// The page that is wiped on fork cannot be made; asked again, it is tried again.
    pub fn new() -> Result<ForkGuard, ForkGuardError> {
        let word = wiped_word()?;
        Ok(ForkGuard { word, process: process_number(word) })
    }

    /// Whether the caller runs in the process that made this guard: false in a forked child.
    #[inline]
    #[must_use]
    pub fn is_this_process(&self) -> bool {
        // Relaxed: the word only changes on fork, and a child starts with one thread.
        self.word.load(Ordering::Relaxed) == self.process
    }
}

/// The number of this process; 0 where none was given out yet, as in a forked child. For signal
/// handlers too: one load.
pub(crate) fn current_process() -> u64 {
    WORD.get().map_or(0, |word| word.load(Ordering::Relaxed))
}

/// The word on the wiped page, once it was made.
static WORD: OnceLock<&'static AtomicU64> = OnceLock::new();

/// The number of this process, given out at the first call in it.
fn process_number(word: &AtomicU64) -> u64 {
    /// Numbers given out so far, in this process and its ancestors up to their fork.
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    let known = word.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let fresh = NUMBERS.fetch_add(1, Ordering::Relaxed) + 1;
    match word.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => fresh,
        // Another thread of this process was faster; the number it stored is the process's.
        Err(stored) => stored,
    }
}

/// The word on the wiped page, made at the first call.
fn wiped_word() -> Result<&'static AtomicU64, ForkGuardError> {
    if let Some(word) = WORD.get() {
        return Ok(word);
    }
    let fresh = make_wiped_word()?;
    // A thread that was slower leaves a page unused: it is not given back because it cannot happen
    // more often than there are threads at the first call.
    Ok(WORD.get_or_init(|| fresh))
}

#[cfg(not(miri))]
fn make_wiped_word() -> Result<&'static AtomicU64, ForkGuardError> {
    use crate::sys;

    let size_bytes = sys::page_size_bytes();
    let page = sys::map_private_page()
        .map_err(|errno| ForkGuardError::Map { size_bytes, source: errno.into() })?;
    // SAFETY: `page` came from `map_private_page` just now.
    unsafe { sys::wipe_on_fork(page) }
        .map_err(|errno| ForkGuardError::WipeOnFork { source: errno.into() })?;
    let word = page.cast::<AtomicU64>();
    // SAFETY: the page is aligned for the word, holds zeroes, which are a word, is never unmapped,
    // and is used through this type alone.
    Ok(unsafe { word.as_ref() })
}

/// Miri knows no fork: a word that nobody wipes.
#[cfg(miri)]
fn make_wiped_word() -> Result<&'static AtomicU64, ForkGuardError> {
    static WORD: AtomicU64 = AtomicU64::new(0);
    Ok(&WORD)
}

#[cfg(test)]
#[cfg(not(any(loom, miri)))]
pub(crate) mod tests;
