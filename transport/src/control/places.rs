//! Which word of the control area a field of a table entry is.

use crate::format::{ExtentEntry, PeerRow, SlotCold, SlotEntry};
use crate::layout::{ControlLayout, Geometry};
use std::mem::size_of;

/// Number of a header field's word.
pub(super) const fn header(offset: usize) -> u64 {
    offset as u64 / 8
}

/// Where the tables lie and how many entries they have.
#[derive(Clone, Debug)]
pub(super) struct Places {
    layout: ControlLayout,
    peers: u64,
    units: u64,
    slots: u64,
}

impl Places {
    pub(super) fn new(geometry: &Geometry, layout: ControlLayout) -> Places {
        let (peers, slots) = (geometry.peers_max, geometry.slots_max);
        Places { layout, peers, units: geometry.units_max(), slots }
    }

    pub(super) fn layout(&self) -> &ControlLayout {
        &self.layout
    }

    /// Offset of a peer row in its table, in bytes.
    pub(super) fn peer_offset(&self, row: u64) -> Option<u64> {
        (row < self.peers).then_some(row.wrapping_mul(size_of::<PeerRow>() as u64))
    }

    /// Word of the field at `offset` in a peer row.
    pub(super) fn peer(&self, row: u64, offset: usize) -> Option<u64> {
        Some((self.layout.peers + self.peer_offset(row)? + offset as u64) / 8)
    }

    /// Word of the field at `offset` in the extent entry of a unit.
    pub(super) fn extent(&self, unit: u64, offset: usize) -> Option<u64> {
        let table = self.layout.extents + offset as u64;
        (unit < self.units).then(|| (table + unit * size_of::<ExtentEntry>() as u64) / 8)
    }

    /// Word of the field at `offset` in the hot entry of a slot.
    #[inline]
    pub(super) fn slot(&self, slot: u32, offset: usize) -> Option<u64> {
        let element = self.element(slot)?;
        Some((self.layout.slots + element * size_of::<SlotEntry>() as u64 + offset as u64) / 8)
    }

    /// Word of the field at `offset` in the cold entry of a slot.
    #[inline]
    pub(super) fn cold(&self, slot: u32, offset: usize) -> Option<u64> {
        let element = self.element(slot)?;
        Some((self.layout.slots_cold + element * size_of::<SlotCold>() as u64 + offset as u64) / 8)
    }

    /// Slot ids start at 1; element 0 is slot 1.
    #[inline]
    fn element(&self, slot: u32) -> Option<u64> {
        let element = u64::from(slot).checked_sub(1)?;
        (element < self.slots).then_some(element)
    }
}
