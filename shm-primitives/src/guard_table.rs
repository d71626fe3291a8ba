//! The ranges that are guarded, in private memory of the process: found by a signal handler, which
//! may run between any two instructions of whoever enters or takes out a range.
//!
//! Each entry has a sequence that is odd while its numbers change. A range does not change while
//! somebody may fault in it, so a reader that meets a change looks at the wrong entry and goes on.

use crate::sync::{AtomicU64, Ordering, fence};

/// A guarded range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub start: u64,
    pub end: u64,
    /// What is put in place at once, in bytes; the range is a whole number of them.
    pub page_bytes: u64,
    pub is_writable: bool,
    /// The process that mapped it: in a forked child something else may be there.
    pub process: u64,
}

/// Constant where atomics can be made so: those of the model checker cannot.
macro_rules! free_entry {
    ($(#[$doc:meta])* pub fn $($rest:tt)*) => {
        #[cfg(not(loom))]
        $(#[$doc])* pub const fn $($rest)*
        #[cfg(loom)]
        $(#[$doc])* pub fn $($rest)*
    };
}

/// One place for a range; free while `start` is 0.
#[repr(align(64))]
pub(crate) struct Entry {
    sequence: AtomicU64,
    start: AtomicU64,
    end: AtomicU64,
    page_bytes: AtomicU64,
    is_writable: AtomicU64,
    process: AtomicU64,
    torn_pages: AtomicU64,
}

impl Entry {
    free_entry! {
        /// A place where no range is.
        pub fn new() -> Entry {
            Entry {
                sequence: AtomicU64::new(0),
                start: AtomicU64::new(0),
                end: AtomicU64::new(0),
                page_bytes: AtomicU64::new(0),
                is_writable: AtomicU64::new(0),
                process: AtomicU64::new(0),
                torn_pages: AtomicU64::new(0),
            }
        }
    }

    /// Whether a range is entered.
    #[cfg(test)]
    pub fn is_taken(&self) -> bool {
        self.start.load(Ordering::Relaxed) != 0
    }

    /// The range, unless there is none or it changes right now.
    fn range(&self) -> Option<Range> {
        // edge: guard.entry
        let before = self.sequence.load(Ordering::Acquire);
        let range = Range {
            start: self.start.load(Ordering::Relaxed),
            end: self.end.load(Ordering::Relaxed),
            page_bytes: self.page_bytes.load(Ordering::Relaxed),
            is_writable: self.is_writable.load(Ordering::Relaxed) != 0,
            process: self.process.load(Ordering::Relaxed),
        };
        // edge: guard.change
        #[cfg(not(onecopy_mutant = "guard_read_without_fence"))]
        fence(Ordering::Acquire);
        let is_stable = before.is_multiple_of(2)
            && range.start != 0
            && self.sequence.load(Ordering::Relaxed) == before;
        is_stable.then_some(range)
    }

    /// Enters a range if the entry is free. One that an ancestor of this process left behind is.
    fn try_claim(&self, range: &Range) -> bool {
        // edge: guard.entry: what is found free below is so in this sequence.
        let sequence = self.sequence.load(Ordering::Acquire);
        let is_left_behind = self.process.load(Ordering::Relaxed) != range.process;
        let is_free = self.start.load(Ordering::Relaxed) == 0 || is_left_behind;
        if !sequence.is_multiple_of(2) || !is_free || !self.begin(sequence) {
            return false;
        }
        self.torn_pages.store(0, Ordering::Relaxed);
        self.end.store(range.end, Ordering::Relaxed);
        self.page_bytes.store(range.page_bytes, Ordering::Relaxed);
        self.is_writable.store(range.is_writable.into(), Ordering::Relaxed);
        self.process.store(range.process, Ordering::Relaxed);
        self.start.store(range.start, Ordering::Relaxed);
        self.finish(sequence);
        true
    }

    /// Makes the entry free; by whoever claimed it.
    pub fn release(&self) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        if self.begin(sequence) {
            self.start.store(0, Ordering::Relaxed);
            self.finish(sequence);
        }
    }

    /// Makes the sequence odd, if it still is what it was.
    fn begin(&self, sequence: u64) -> bool {
        let odd = sequence + 1;
        let begun =
            self.sequence.compare_exchange(sequence, odd, Ordering::Relaxed, Ordering::Relaxed);
        // edge: guard.change
        #[cfg(not(onecopy_mutant = "guard_write_without_fence"))]
        fence(Ordering::Release);
        begun.is_ok()
    }

    fn finish(&self, sequence: u64) {
        // edge: guard.entry
        #[cfg(not(onecopy_mutant = "guard_finish_relaxed"))]
        self.sequence.store(sequence + 2, Ordering::Release);
        #[cfg(onecopy_mutant = "guard_finish_relaxed")]
        self.sequence.store(sequence + 2, Ordering::Relaxed);
    }

    /// Counts a page that is put in place.
    pub fn add_torn_page(&self) {
        self.torn_pages.fetch_add(1, Ordering::Relaxed);
    }

    /// Pages that were put in place since the range was entered.
    #[inline]
    pub fn torn_pages(&self) -> u64 {
        self.torn_pages.load(Ordering::Relaxed)
    }
}

/// Enters a range in the first free entry; its number, if there is one.
pub(crate) fn claim(entries: &[Entry], range: &Range) -> Option<usize> {
    entries.iter().position(|entry| entry.try_claim(range))
}

/// The entry of the range with this address in it.
// r[impl memory.guard-registry]
pub(crate) fn find(entries: &[Entry], address: u64, process: u64) -> Option<(usize, Range)> {
    let ranges = entries.iter().enumerate();
    let mut ranges = ranges.filter_map(|(index, entry)| Some((index, entry.range()?)));
    ranges
        .find(|(_, range)| range.process == process && (range.start..range.end).contains(&address))
}

#[cfg(test)]
#[cfg(loom)]
mod loom;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
