//! Which part of the control area's growing tables is real: what a pool of that size needs, and not
//! what the largest would.

use crate::format::{ExtentEntry, SlotCold, SlotEntry, TABLE_ALIGNMENT_BYTES};
use crate::layout::{ControlLayout, Geometry};
use crate::segment::{Backing, GrowError};
use crate::service::Service;
use std::mem::size_of;
use std::os::fd::OwnedFd;

/// In what steps the file gets real.
const STEP_BYTES: u64 = TABLE_ALIGNMENT_BYTES;

/// Elements and bytes from the start of each table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RealTables {
    units: u64,
    slots: u64,
    service_bytes: u64,
}

impl RealTables {
    /// What goes with a pool of this size.
    // r[impl segment.real_tables]
    pub fn of(geometry: &Geometry, service: &dyn Service, pool_bytes: u64) -> RealTables {
        let slots = geometry.slots_for(pool_bytes);
        let service_bytes = service.region_bytes_ready(geometry, slots);
        RealTables {
            units: pool_bytes.div_ceil(geometry.unit_bytes).min(geometry.units_max()),
            slots,
            service_bytes: service_bytes.min(geometry.service_bytes),
        }
    }

    /// Bytes of all tables together, at most.
    pub fn size_bytes(self) -> u64 {
        let slot_bytes = (size_of::<SlotEntry>() + size_of::<SlotCold>()) as u64;
        let units_bytes = self.units * size_of::<ExtentEntry>() as u64;
        units_bytes + self.service_bytes + self.slots * slot_bytes + 4 * STEP_BYTES
    }

    /// Makes them real in the control area's file, where `from` is already.
    pub fn reserve(
        self,
        from: RealTables,
        control: &OwnedFd,
        backing: &Backing,
        layout: &ControlLayout,
    ) -> Result<(), GrowError> {
        for (table, from, to, element_bytes) in [
            (layout.extents, from.units, self.units, size_of::<ExtentEntry>()),
            (layout.service, from.service_bytes, self.service_bytes, 1),
            (layout.slots, from.slots, self.slots, size_of::<SlotEntry>()),
            (layout.slots_cold, from.slots, self.slots, size_of::<SlotCold>()),
        ] {
            // Whole steps: every table begins with one and no two share one.
            let end = |count: u64| (count * element_bytes as u64).next_multiple_of(STEP_BYTES);
            if end(to) > end(from) {
                backing.reserve(control, table + end(from), table + end(to))?;
            }
        }
        Ok(())
    }
}
