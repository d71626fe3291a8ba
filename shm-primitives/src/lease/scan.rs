//! The host's side of a lease table: it reads, and believes nothing.

use crate::error::LeaseTableError;
use crate::format::LeaseTableHead;
use crate::region::{ReadWord, ReadWords, Region};
use crate::slot::SlotRef;
use crate::sync::{Ordering, fence};

/// Puts what the host stored (`Retired`, or `attached = 0`) before what it is about to read from
/// lease tables. One fence serves any number of slots and tables.
// r[impl lease.order]
#[inline]
pub fn fence_before_scan() {
    // edge: lease.check (host's side), lease.cut-off (host's side), lease.high-water (reader).
    #[cfg(not(onecopy_mutant = "lease_fence_scanner"))]
    fence(Ordering::SeqCst);
}

/// Looks through a lease table that another process writes.
#[derive(Debug, Clone)]
pub struct LeaseScan {
    high_water: ReadWord,
    cells: ReadWords,
    capacity: u32,
}

impl LeaseScan {
    /// Looks at the table of `capacity` cells at the start of `region`.
    ///
    /// # Errors
    /// [`LeaseTableError`]: the region is too small for the capacity.
    pub fn new(region: &Region, capacity: u32) -> Result<LeaseScan, LeaseTableError> {
        super::lines::check_capacity(region, capacity)?;
        let first = size_of::<LeaseTableHead>() as u64;
        Ok(LeaseScan {
            high_water: region.read_word(0)?,
            cells: region.read_words(first, u64::from(capacity))?,
            capacity,
        })
    }

    /// Over words that were checked for the capacity.
    pub(super) fn over(high_water: ReadWord, cells: ReadWords, capacity: u32) -> LeaseScan {
        LeaseScan { high_water, cells, capacity }
    }

    /// Cells in the table.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Whether the guest has cut the file of the table, as far as has been met: what was lost reads as
    /// free cells. The mapping has to be guarded.
    #[cfg(not(loom))]
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.high_water.mapping().is_torn()
    }

    /// Cells from here on have never been used, as the guest says, but never more than there are.
    // r[impl lease.hostile]
    #[must_use]
    pub fn high_water(&self) -> u32 {
        // Relaxed: that it is not too old is the fences' work (lease.high-water).
        let claimed = self.high_water.load(Ordering::Relaxed);
        u32::try_from(claimed).map_or(self.capacity, |claimed| claimed.min(self.capacity))
    }

    /// Calls `each` with every reference that a cell holds, at most once per cell. What a hostile
    /// guest wrote may name slots that do not exist, or one slot many times.
    ///
    /// A reference that is not among them is no longer read by this guest when this returns, if
    /// the host had stored what makes new readers turn away and called [`fence_before_scan`].
    // r[impl lease.release]
    // r[impl lease.hostile]
    pub fn for_each(&self, mut each: impl FnMut(SlotRef)) {
        for index in 0..u64::from(self.high_water()) {
            let Ok(bits) = self.cells.load(index, Ordering::Relaxed) else { break };
            if let Some(slot) = SlotRef::from_u64(bits) {
                each(slot);
            }
        }
        // edge: lease.release and lease.reuse: what readers did before they let go of a cell comes
        // before whatever the host does with the slot from here on. One fence for all the loads.
        #[cfg(not(onecopy_mutant = "lease_scan_relaxed"))]
        fence(Ordering::Acquire);
    }

    /// How many cells hold a reference.
    #[must_use]
    pub fn count(&self) -> u64 {
        let mut count = 0;
        self.for_each(|_| count += 1);
        count
    }

    /// Whether a cell names this very use of a slot.
    #[must_use]
    pub fn names(&self, slot: SlotRef) -> bool {
        let mut found = false;
        self.for_each(|named| found |= named == slot);
        found
    }
}
