//! The host's side of a lease table: it reads, and believes nothing.

use super::summary::{Shape, SummaryReader};
use crate::error::LeaseTableError;
use crate::format::LEASE_CELLS_PER_LINE;
use crate::region::{ReadWords, Region};
use crate::slot::SlotRef;
use crate::sync::{Ordering, fence};

/// Puts what the host stored (`Retired`, or `attached = 0`) before what it is about to read from
/// lease tables. One fence serves any number of slots and tables.
// r[impl lease.order]
#[inline]
pub fn fence_before_scan() {
    // edge: lease.check (host's side), lease.cut-off (host's side), lease.listed (reader).
    #[cfg(not(onecopy_mutant = "lease_fence_scanner"))]
    fence(Ordering::SeqCst);
}

/// Looks through a lease table that another process writes.
#[derive(Debug, Clone)]
pub struct LeaseScan {
    summary: SummaryReader,
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
        let shape = Shape::new(capacity);
        Ok(LeaseScan {
            summary: SummaryReader::new(region.read_words(0, shape.words())?, shape),
            cells: region.read_words(shape.cells_offset, u64::from(capacity))?,
            capacity,
        })
    }

    /// Over words that were checked for the capacity.
    pub(super) fn over(summary: SummaryReader, cells: ReadWords, capacity: u32) -> LeaseScan {
        LeaseScan { summary, cells, capacity }
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
        self.cells.mapping().is_torn()
    }

    /// Calls `each` with every reference that a cell holds, at most once per cell. What a hostile
    /// guest wrote may name slots that do not exist, or one slot many times. Returns how many words it
    /// read for that, cells and words of the summary together.
    ///
    /// A reference that is not among them is no longer read by this guest when this returns, if
    /// the host had stored what makes new readers turn away and called [`fence_before_scan`].
    // r[impl lease.release]
    // r[impl lease.listed]
    // r[impl lease.hostile]
    pub fn for_each(&self, mut each: impl FnMut(SlotRef)) -> u64 {
        let mut cells_read = 0;
        let summary_read = self.summary.for_each(&mut |line| {
            let first = line * u64::from(LEASE_CELLS_PER_LINE);
            for index in first..first + u64::from(LEASE_CELLS_PER_LINE) {
                let Ok(bits) = self.cells.load(index, Ordering::Relaxed) else { break };
                if let Some(slot) = SlotRef::from_u64(bits) {
                    each(slot);
                }
            }
            cells_read += u64::from(LEASE_CELLS_PER_LINE);
        });
        // edge: lease.release, lease.reuse and lease.unlist: what readers did before they let go of a
        // cell comes before whatever the host does with the slot from here on. One fence for all the
        // loads.
        #[cfg(not(onecopy_mutant = "lease_scan_relaxed"))]
        fence(Ordering::Acquire);
        summary_read + cells_read
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
