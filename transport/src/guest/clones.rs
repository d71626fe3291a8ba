//! The clones of guards: only the last one ends the lease that they share.

use crate::edges::{CLONES_LOAD, CLONES_SUBTRACT};
use crate::sync::{AtomicBool, AtomicU32, Ordering};
use onecopy_shm::{LeaseCell, LeaseTable};
use std::sync::OnceLock;

/// Leases whose clones are counted in one piece of memory.
const COUNTS_PER_PART: usize = if cfg!(loom) { 8 } else { 4096 };

/// The lease table of this process with the number of clones of each guard. It outlives an attach:
/// every later attach to the same segment goes on with it.
#[derive(Debug)]
pub(super) struct Leases {
    pub(super) table: LeaseTable,
    /// Clones beyond the first of the guard in each cell, made when the first clone is.
    clones: Vec<OnceLock<Box<[AtomicU32]>>>,
    /// A guard was cloned at some time: before that nothing has to be counted.
    has_clones: AtomicBool,
}

impl Leases {
    pub(super) fn new(table: LeaseTable) -> Leases {
        let parts = (table.capacity() as usize).div_ceil(COUNTS_PER_PART);
        let clones = (0..parts).map(|_| OnceLock::new()).collect();
        Leases { table, clones, has_clones: AtomicBool::new(false) }
    }

    /// Counts a clone.
    // r[impl guest.lease.clones]
    pub(super) fn add_clone(&self, cell: &LeaseCell) {
        let index = cell.index() as usize;
        let Some(part) = self.clones.get(index / COUNTS_PER_PART) else { return };
        // Relaxed: whoever drops one of two clones has come after the making of the second, as their
        // owner or by what handed it on.
        self.has_clones.store(true, Ordering::Relaxed);
        let part = part.get_or_init(|| (0..COUNTS_PER_PART).map(|_| AtomicU32::new(0)).collect());
        // Relaxed: the guard that is cloned keeps the lease meanwhile.
        part[index % COUNTS_PER_PART].fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the guard that is dropped is the last of its clones.
    #[inline]
    pub(super) fn is_last(&self, cell: &LeaseCell) -> bool {
        !self.has_clones.load(Ordering::Relaxed) || self.is_last_counted(cell)
    }

    fn is_last_counted(&self, cell: &LeaseCell) -> bool {
        let index = cell.index() as usize;
        let part = self.clones.get(index / COUNTS_PER_PART).and_then(OnceLock::get);
        let Some(clones) = part.and_then(|part| part.get(index % COUNTS_PER_PART)) else {
            return true;
        };
        // edge: guest.clones. At 0 there is no other clone, and nobody who could make
        // one.
        if clones.load(CLONES_LOAD) == 0 {
            return true;
        }
        // Two clones that go at once both see 1: the second one finds 0 here and is the last.
        // edge: guest.clones
        if clones.fetch_sub(1, CLONES_SUBTRACT) == 0 {
            clones.store(0, Ordering::Relaxed);
            return true;
        }
        false
    }
}
