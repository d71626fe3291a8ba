//! What each thread owns of the tables of its process: whole lines, in which nobody else stores leases.

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};

use super::free_cells::{self, Holder};
use super::lines::Shared;

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
    /// As whom it takes cells of `lines`.
    pub(super) holder: Holder,
    lines: [u32; LINES_PER_THREAD],
    /// How many of `lines` there are.
    count: usize,
    /// Which of `lines` makes room for the next.
    oldest: usize,
}

impl Held {
    pub(super) fn new(table: NonZeroU32, shared: &Arc<Shared>) -> Held {
        let (lines, shared) = ([0; LINES_PER_THREAD], Arc::downgrade(shared));
        Held { table, shared, holder: Holder::next(), lines, count: 0, oldest: 0 }
    }

    fn lines(&self) -> &[u32] {
        self.lines.get(..self.count).unwrap_or_default()
    }

    /// Lays every free cell of the lines at hand, the first on top.
    pub(super) fn lay_out(&self, shared: &Shared) {
        free_cells::begin(self.table, self.holder);
        for &line in self.lines().iter().rev() {
            self.lay_out_line(shared, line);
        }
    }

    fn lay_out_line(&self, shared: &Shared, line: u32) {
        for cell in shared.cells_of(line).rev().filter(|&cell| shared.is_free(cell)) {
            free_cells::push(cell, self.holder);
        }
    }

    /// Whether it is one of the lines.
    pub(super) fn owns(&self, line: u32) -> bool {
        self.lines().contains(&line)
    }

    /// Notes one more line, when no cell of the others is free, and lays out its cells. Returns the line it
    /// takes the place of: who took cells there is another holder.
    pub(super) fn add(&mut self, shared: &Shared, line: u32) -> Option<u32> {
        let parted = match self.lines.get_mut(self.count) {
            Some(place) => {
                *place = line;
                self.count += 1;
                None
            }
            None => {
                // What it frees in the line from now on may be another thread's, who finds it there.
                #[cfg(not(onecopy_mutant = "lease_holder_kept"))]
                {
                    self.holder = Holder::next();
                }
                let place = self.oldest;
                self.oldest = (place + 1) % LINES_PER_THREAD;
                Some(std::mem::replace(&mut self.lines[place], line))
            }
        };
        free_cells::begin(self.table, self.holder);
        self.lay_out_line(shared, line);
        parted
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
        free_cells::end(self.holder);
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
