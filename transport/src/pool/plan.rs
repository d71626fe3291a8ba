//! How long the run of units is that a class is given at a time.

/// Most units of a pool.
pub(super) const UNIT_COUNT_MAX: u64 = u32::MAX as u64;
/// An extent has at least this many slots, as long as they fit in [`EXTENT_BYTES_MAX`].
const SLOTS_MIN: u64 = 8;
/// Slots of which [`SLOTS_MIN`] take more than this many bytes get a run of their own.
const EXTENT_BYTES_MAX: u64 = 16 << 20;
/// A run is made longer until at most one part in this many is waste.
const WASTE_PARTS: u64 = 32;
/// A run is made at most this many units longer than it has to be.
const LONGER_UNITS: u64 = 8;

/// Units and slots of one extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) units: u32,
    pub(super) slots: u32,
}

impl Plan {
    /// The extent that a class is given where there is room.
    // r[impl pool.extent-size]
    pub(super) fn ideal(slot_bytes: u64, unit_bytes: u64) -> Plan {
        let slots = if SLOTS_MIN * slot_bytes > EXTENT_BYTES_MAX { 1 } else { SLOTS_MIN };
        let units_min = (slots * slot_bytes).div_ceil(unit_bytes);
        let plan = |units: u64| Plan {
            units: units as u32,
            slots: (units * unit_bytes / slot_bytes) as u32,
        };
        if slots == 1 {
            return Plan { units: units_min as u32, slots: 1 };
        }
        let waste = |units: u64| units * unit_bytes % slot_bytes;
        let candidates = units_min..=units_min + LONGER_UNITS;
        let small =
            candidates.clone().find(|&units| waste(units) * WASTE_PARTS <= units * unit_bytes);
        // Waste per unit, compared without division: a / b < c / d as a * d < c * b.
        let least =
            candidates.reduce(
                |best, units| {
                    if waste(units) * best < waste(best) * units { units } else { best }
                },
            );
        plan(small.or(least).unwrap_or(units_min))
    }

    /// The extent nearest to this one that fits in runs of so many units and slot numbers.
    pub(super) fn fit(
        self,
        slot_bytes: u64,
        unit_bytes: u64,
        units: u32,
        slots: u32,
    ) -> Option<Plan> {
        if self.units <= units && self.slots <= slots {
            return Some(self);
        }
        let units = self.units.min(units);
        let slots = (u64::from(units) * unit_bytes / slot_bytes).min(slots.min(self.slots).into());
        let units = (slots * slot_bytes).div_ceil(unit_bytes);
        (slots > 0).then_some(Plan { units: units as u32, slots: slots as u32 })
    }

    /// Bytes of the run that are in no slot.
    pub(super) fn waste_bytes(self, slot_bytes: u64, unit_bytes: u64) -> u64 {
        u64::from(self.units) * unit_bytes - u64::from(self.slots) * slot_bytes
    }
}

#[cfg(test)]
mod tests;
