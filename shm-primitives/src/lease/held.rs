//! What each thread owns of the tables of its process: whole lines, in which nobody else stores leases.

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};

use super::lines::Shared;
use crate::format::LEASE_CELLS_PER_LINE;

/// Lines that a thread keeps for itself: enough for a batch of 64. Beyond that it parts with one for
/// each that it takes.
pub(super) const LINES_PER_THREAD: usize = if cfg!(loom) { 1 } else { 8 };

#[cfg(not(loom))]
std::thread_local! {
    /// What this thread owns, of any number of tables.
    pub(super) static HELD: RefCell<Vec<Held>> = const { RefCell::new(Vec::new()) };
}
#[cfg(loom)]
loom::thread_local! {
    pub(super) static HELD: RefCell<Vec<Held>> = RefCell::new(Vec::new());
}

/// The lines of one table that this thread owns.
pub(super) struct Held {
    pub(super) table: NonZeroU32,
    pub(super) shared: Weak<Shared>,
    lines: [u32; LINES_PER_THREAD],
    /// How many of `lines` there are.
    count: usize,
    /// Which of `lines` to look at first: the one that last had room.
    current: usize,
    /// A cell of one of `lines`, and the first to look at: the one that became free last, or the one
    /// behind that which was taken last.
    likely: u32,
}

impl Held {
    pub(super) fn new(table: NonZeroU32, shared: &Arc<Shared>) -> Held {
        let (lines, shared) = ([0; LINES_PER_THREAD], Arc::downgrade(shared));
        Held { table, shared, lines, count: 0, current: 0, likely: 0 }
    }

    fn lines(&self) -> &[u32] {
        self.lines.get(..self.count).unwrap_or_default()
    }

    /// A free cell in one of the lines.
    #[inline]
    pub(super) fn find(&mut self, shared: &Shared) -> Option<u32> {
        if self.count > 0 && shared.is_free(self.likely) {
            return Some(self.likely);
        }
        self.search(shared)
    }

    fn search(&mut self, shared: &Shared) -> Option<u32> {
        for step in 0..self.count {
            let place = (self.current + step) % self.count;
            let cell = self.lines().get(place).and_then(|&line| shared.free_cell(line));
            if cell.is_some() {
                self.current = place;
                return cell;
            }
        }
        None
    }

    /// A lease was stored in this cell, which `find` gave.
    #[inline]
    pub(super) fn note_taken(&mut self, index: u32) {
        let behind = (index + 1) % LEASE_CELLS_PER_LINE;
        self.likely = if behind == 0 { index } else { index + 1 };
    }

    /// A lease in this cell ended; whether it is in one of the lines.
    #[inline]
    pub(super) fn note_free(&mut self, index: u32) -> bool {
        let line = index / LEASE_CELLS_PER_LINE;
        let is_own = line == self.likely / LEASE_CELLS_PER_LINE || self.lines().contains(&line);
        if is_own && self.count > 0 {
            self.likely = index;
            return true;
        }
        false
    }

    /// Notes one more line and makes it the current one; returns the line it takes the place of.
    pub(super) fn add(&mut self, line: u32) -> Option<u32> {
        self.likely = line * LEASE_CELLS_PER_LINE;
        if self.count < LINES_PER_THREAD {
            self.current = self.count;
            self.count += 1;
            self.lines[self.current] = line;
            return None;
        }
        // The one after the current one has been looked at, and left, the longest time ago.
        self.current = (self.current + 1) % self.count;
        Some(std::mem::replace(&mut self.lines[self.current], line))
    }
}

impl Drop for Held {
    // r[impl lease.thread-end]
    fn drop(&mut self) {
        // A model that fails drops what its threads had when it is no longer running.
        #[cfg(loom)]
        if std::thread::panicking() {
            return;
        }
        let Some(shared) = self.shared.upgrade() else { return };
        // A forked child does not have the cells, and its end is not the end of our thread.
        if self.count == 0 || !shared.process.is_this_process() {
            return;
        }
        let mut pool = shared.lock();
        for &line in self.lines() {
            shared.part(&mut pool, line);
        }
    }
}
