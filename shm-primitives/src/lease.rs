//! Leases: which slots a guest process is reading, in a table that it alone writes and the host
//! looks through before it reuses a slot.
//!
//! These are hazard pointers across processes. A reader and the host that wants to reuse a slot
//! race like this, with a sequentially consistent fence on either side:
//!
//! ```text
//! reader                          host
//! store the lease                 store Retired
//! fence (SeqCst)                  fence (SeqCst)
//! load the slot's state           look through the leases
//! ```
//!
//! One of the fences comes first. If it is the reader's, the host sees the lease and lets the slot
//! wait. If it is the host's, the reader sees that the slot is not published and lets go. The same
//! two outcomes hold for cutting a guest off, with the word `attached` in place of the state.
//!
//! The reader's fence may be the host's to carry out, in the reader's threads: see
//! [`LeaseTable::fenced_by_host`].
//!
//! A table is an array of cells, one word each, a cache line of them to a thread. A lease never
//! moves to another cell. A summary says which lines may hold leases: it is what makes a look cost
//! what is leased now.
//!
//! | edge | from | to | so that |
//! | --- | --- | --- | --- |
//! | `lease.check` | the lease, a SeqCst fence, then the load of the slot's state | `Retired`, a SeqCst fence, then the look through the leases | one of the two sees the other |
//! | `lease.cut-off` | as above, with the load of `attached` | as above, with `attached` taken back | one of the two sees the other |
//! | `lease.listed` | the line listed, then the lease's SeqCst fence | the host's SeqCst fence, then the loads of the summary | the look reaches every lease that the fence orders before it |
//! | `lease.unlist` | 0 in all cells of the line (Acquire), then its bit taken back (Release), as is every later store in that word | the loads of the look, then its fence (Acquire) | a look that passes over the line comes after the former reads |
//! | `lease.emptied` | 0 in a cell, a SeqCst fence, then the look at the others | the same by another thread | the last lease of a line takes it off the list |
//! | `slot.publish` | what the writer and the host stored, then `Published` (Release) | the load of the slot's state (Acquire), then the bytes | a reader sees the whole block |
//! | `lease.release` | reads of the slot, then 0 in the cell (Release) | the loads of the look, then its fence (Acquire) | the slot is reused after the reads |
//! | `lease.reuse` | the 0 of the former lease (Acquire), then the next lease in the cell (Release) | as above | a look that finds the next lease comes after the former reads |
//! | `lease.part` | the line marked full, a SeqCst fence, then the look at its cells | 0 in a cell, a SeqCst fence, then the load of the mark | no free cell is lost |

mod free_cells;
mod held;
mod lines;
mod memory;
mod scan;
mod summary;

use crate::crash_point;
use crate::error::{LeaseError, LeaseTableError, LeasesFull, NoFence};
use crate::format::LEASE_CELLS_PER_LINE;
use crate::region::Region;
use crate::slot::{SlotRef, SlotWord};
use crate::sync::{Ordering, fence};
use core::sync::atomic::compiler_fence;
use std::num::NonZeroU32;

use free_cells::Holder;
use lines::Lines;
use memory::Memory;
pub use memory::{MakeReal, lease_table_fresh_bytes};
use summary::Shape;

pub use scan::{LeaseScan, fence_before_scan};

/// Cells of a lease table that is not made for a special purpose.
pub const LEASES_MAX: u32 = 524_288;

/// Bytes of a lease table of `capacity` cells, a whole number of cache lines.
#[must_use]
pub const fn lease_table_bytes(capacity: u32) -> u64 {
    let lines = capacity.div_ceil(LEASE_CELLS_PER_LINE) as u64;
    Shape::new(capacity).cells_offset + lines * LEASE_CELLS_PER_LINE as u64 * 8
}

/// The guest's side: the only writer of its table. Cheap to clone; clones are the same table, which
/// lives as long as one of them.
///
/// Each thread takes whole cache lines of the table for itself, so that a lease touches no memory
/// that another thread writes. It keeps a few of them for as long as it lives; more leases than fit
/// there are its own as well, but their lines go back to the process when they are released. The
/// lines of a thread that ends go back at once, also with leases in them, which then can be
/// released by any other thread.
///
/// Not for use in a forked child, which does not have the memory (see [`crate::ForkGuard`]), nor in a signal
/// handler, which may have interrupted a lease of the same thread.
#[derive(Debug, Clone)]
pub struct LeaseTable {
    lines: Lines,
    is_fenced_by_host: bool,
}

/// A lease that was taken: where in the table it stands.
///
/// Nothing happens when it is dropped: the lease stays until [`LeaseTable::release`]. It may be
/// released by another thread than the one that took it.
#[derive(Debug, PartialEq, Eq, Hash)]
#[must_use = "a lease that is not released stays for ever"]
pub struct LeaseCell {
    index: u32,
    /// Which table of this process.
    table: NonZeroU32,
    /// As whom it was taken.
    holder: Holder,
}

impl LeaseCell {
    /// Element number in the table, less than its capacity.
    #[must_use]
    #[inline]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The same lease once more, for those who share it and count themselves: only the last of them
    /// may release it.
    #[inline]
    pub fn same_lease(&self) -> LeaseCell {
        LeaseCell { index: self.index, table: self.table, holder: self.holder }
    }
}

impl LeaseTable {
    /// Takes a fresh table of `capacity` cells (a multiple of [`LEASE_CELLS_PER_LINE`], not 0) at
    /// the start of `region`, all of which has memory.
    ///
    /// # Errors
    /// [`LeaseTableError`]: capacity, a region that is too small or read-only, a table that was
    /// taken before.
    pub fn new(region: Region, capacity: u32) -> Result<LeaseTable, LeaseTableError> {
        let lines = Lines::new(&region, capacity, Memory::whole(capacity))?;
        Ok(LeaseTable { lines, is_fenced_by_host: false })
    }

    /// The same where memory was made real for [`lease_table_fresh_bytes`] only: `make_real` is asked
    /// for more, in order, when leases first need it.
    ///
    /// # Errors
    /// As for [`LeaseTable::new`].
    pub fn with_memory(
        region: Region,
        capacity: u32,
        make_real: MakeReal,
    ) -> Result<LeaseTable, LeaseTableError> {
        let memory = Memory::growing(capacity, Some(make_real));
        let lines = Lines::new(&region, capacity, memory)?;
        Ok(LeaseTable { lines, is_fenced_by_host: false })
    }

    /// The same table without a fence behind each lease, which costs a third of a lookup that hits: for a
    /// process whose threads carry out those of the host (`barrier::enlist`), which has every look through
    /// leases begin with one (`barrier::fence_everyone`). To be asked for before the first lease.
    // r[impl lease.fence]
    #[must_use]
    pub fn fenced_by_host(self) -> LeaseTable {
        LeaseTable { is_fenced_by_host: true, ..self }
    }

    /// Puts what this process stored that makes its own readers turn away before what it is about to read
    /// from the table.
    ///
    /// # Errors
    /// [`NoFence`]: the kernel had none for readers that are fenced by others.
    // r[impl lease.fence]
    pub fn fence_before_look(&self) -> Result<(), NoFence> {
        fence_before_scan();
        #[cfg(not(loom))]
        if self.is_fenced_by_host {
            crate::barrier::fence_everyone().map_err(|source| NoFence { source })?;
        }
        Ok(())
    }

    /// The fence behind a lease.
    #[inline]
    fn fence_behind_lease(&self) {
        if self.is_fenced_by_host {
            // edge: lease.check, lease.cut-off and lease.listed: the processor's part of it is done by the
            // fence that the host has carried out here.
            compiler_fence(Ordering::SeqCst);
        } else {
            // edge: lease.check, lease.cut-off and lease.listed.
            fence(Ordering::SeqCst);
        }
    }

    /// Cells in the table.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.lines.capacity()
    }

    /// Leases `slot`, before anything is known about it.
    ///
    /// When this returns, a host that retires the slot, or cuts this guest off, and then looks
    /// through the table either sees the lease, or its store is seen by every load that the caller
    /// makes from now on. So the caller has to check *afterwards* that the slot is published and
    /// that it is attached; [`LeaseTable::lease_published`] does.
    ///
    /// # Errors
    /// [`LeasesFull`]: no cell is left for this thread, or no memory for one. Nothing has changed.
    // r[impl lease.order]
    #[inline]
    pub fn lease(&self, slot: SlotRef) -> Result<LeaseCell, LeasesFull> {
        let cell = self.lines.take(slot)?;
        // edge: lease.check (reader's side) and, for a line that was taken just now, lease.listed.
        #[cfg(not(onecopy_mutant = "lease_fence_reader"))]
        self.fence_behind_lease();
        #[cfg(onecopy_mutant = "lease_list_late")]
        self.lines.list_late(&cell);
        Ok(cell)
    }

    /// Leases `slot` if it is published and this guest is attached: from then until the release
    /// its bytes do not change and it is not reused.
    ///
    /// `state` loads the slot's state word with the ordering that it is given, wherever the caller has
    /// that word; `attached` loads the host's word about this guest, which says `attached_value` for
    /// as long as the host looks through the table on its behalf.
    ///
    /// # Errors
    /// [`LeaseError`]: the slot is not published in this generation, the guest was cut off, no cell
    /// is left. No lease is left behind.
    // r[impl lease.published]
    // r[impl crash.s11]
    // r[impl crash.l1]
    // r[impl crash.l2]
    #[inline]
    pub fn lease_published(
        &self,
        slot: SlotRef,
        state: impl FnOnce(Ordering) -> u64,
        attached: impl FnOnce(Ordering) -> u64,
        attached_value: u64,
    ) -> Result<LeaseCell, LeaseError> {
        #[cfg(onecopy_mutant = "lease_check_first")]
        check(slot, state, attached, attached_value)?;
        crash_point!("lease.before");
        let cell = self.lease(slot)?;
        crash_point!("lease.stored");
        #[cfg(not(onecopy_mutant = "lease_check_first"))]
        if let Err(refusal) = check(slot, state, attached, attached_value) {
            self.release(cell);
            return Err(refusal);
        }
        Ok(cell)
    }

    /// Ends a lease. The caller no longer touches the slot. A cell of another table is ignored.
    // r[impl lease.release]
    // r[impl crash.s12]
    #[inline]
    pub fn release(&self, cell: LeaseCell) {
        self.lines.give_back(&cell);
        crash_point!("lease.released");
    }

    /// Number of leases now: looks at every line that may hold one.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        let mut count = 0;
        self.scan().for_each(|_| count += 1);
        count
    }

    /// The table as the host sees it, for this process to list its own leases.
    #[must_use]
    pub fn scan(&self) -> LeaseScan {
        self.lines.scan()
    }
}

/// What a reader looks at once its lease stands.
#[inline]
fn check(
    slot: SlotRef,
    state: impl FnOnce(Ordering) -> u64,
    attached: impl FnOnce(Ordering) -> u64,
    attached_value: u64,
) -> Result<(), LeaseError> {
    // edge: slot.publish: what the writer stored before it published is visible from here on.
    let bits = state(Ordering::Acquire);
    if bits != SlotWord::published(slot.generation).bits() {
        return Err(LeaseError::NotPublished { slot, bits });
    }
    // Relaxed: the value alone counts; that it is not too old is the fences' work (lease.cut-off).
    let attached = attached(Ordering::Relaxed);
    if cfg!(not(onecopy_mutant = "lease_attached_unchecked")) && attached != attached_value {
        return Err(LeaseError::CutOff { attached, attached_value });
    }
    Ok(())
}

#[cfg(test)]
#[cfg(loom)]
mod loom;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
