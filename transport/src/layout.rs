//! Where each table of the control area lies, computed from the geometry and nothing else.

use crate::error::GeometryError;
use crate::format::{
    CLASSES_MAX, ExtentEntry, PeerRow, RINGS_REQUEST_OFFSET, SegmentHeader, SlotCold, SlotEntry,
    TABLE_ALIGNMENT_BYTES, TOUCH_SHARDS, TouchShard,
};
use onecopy_shm::{LEASE_CELLS_PER_LINE, RingError, ring_layout};
use std::mem::size_of;

/// Smallest and largest granule, in bytes.
pub const GRANULE_BYTES_MIN: u64 = 64;
/// Largest granule, in bytes.
pub const GRANULE_BYTES_MAX: u64 = 2 << 20;
/// Granule where nothing else is asked for, in bytes.
pub const GRANULE_BYTES_DEFAULT: u64 = 4096;
/// Most slots a segment can have: slot ids are `u32` and start at 1; whole pages of entries.
pub const SLOTS_MAX: u64 = (1 << 32) - 64;
/// Most peer rows a segment can have.
pub const PEERS_MAX: u64 = 4096;

const GRANULES_PER_UNIT: u64 = 64;
const UNIT_BYTES_MIN: u64 = 64 << 10;

/// What never changes in the life of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Smallest slot in bytes; a power of two, 64 B to 2 MiB.
    pub granule_bytes: u64,
    /// Unit in which extents are carved, in bytes; a multiple of the granule.
    pub unit_bytes: u64,
    /// Largest size the pool can ever have, in bytes; a multiple of the unit.
    pub pool_bytes_max: u64,
    /// Entries of the slot table.
    pub slots_max: u64,
    /// Rows of the peer table.
    pub peers_max: u64,
    /// Bytes of the service's region.
    pub service_bytes: u64,
    /// Names the service that lays out the region and the notes.
    pub service_id: u64,
    /// Slot sizes in bytes, ascending; each a multiple of the granule.
    pub classes: Vec<u64>,
    /// Cells in each lease table.
    pub leases_max: u64,
}

impl Geometry {
    /// Extent unit for a granule, in bytes.
    pub fn unit_bytes_for(granule_bytes: u64) -> u64 {
        (granule_bytes * GRANULES_PER_UNIT).max(UNIT_BYTES_MIN)
    }

    /// Slot-table entries that go with a pool of this size: enough if all of it were granules.
    pub fn slots_for(&self, pool_bytes: u64) -> u64 {
        (pool_bytes / self.granule_bytes).min(self.slots_max)
    }

    /// Number of extent units in the largest pool.
    pub fn units_max(&self) -> u64 {
        self.pool_bytes_max / self.unit_bytes
    }

    /// Checks every number against its range. All other code trusts a checked geometry.
    // r[impl segment.geometry]
    pub fn check(&self) -> Result<(), GeometryError> {
        let in_range = |what, value: u64, min: u64, max: u64| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(GeometryError::OutOfRange { what, value, min, max })
            }
        };
        let granule = self.granule_bytes;
        in_range("granule_bytes", granule, GRANULE_BYTES_MIN, GRANULE_BYTES_MAX)?;
        if !granule.is_power_of_two() {
            return Err(GeometryError::NotAPowerOfTwo { what: "granule_bytes", value: granule });
        }
        in_range("unit_bytes", self.unit_bytes, granule, 1 << 40)?;
        multiple("unit_bytes", self.unit_bytes, granule)?;
        in_range("pool_bytes_max", self.pool_bytes_max, 2 * self.unit_bytes, 1 << 46)?;
        multiple("pool_bytes_max", self.pool_bytes_max, self.unit_bytes)?;
        in_range("slots_max", self.slots_max, 8, SLOTS_MAX)?;
        in_range("peers_max", self.peers_max, 1, PEERS_MAX)?;
        in_range("service_bytes", self.service_bytes, 0, 1 << 40)?;
        in_range("leases_max", self.leases_max, 8, 1 << 24)?;
        multiple("leases_max", self.leases_max, LEASE_CELLS_PER_LINE.into())?;
        in_range("class_count", self.classes.len() as u64, 1, CLASSES_MAX as u64)?;
        self.check_classes()
    }

    fn check_classes(&self) -> Result<(), GeometryError> {
        let mut previous = 0;
        for &slot_bytes in &self.classes {
            multiple("slot size", slot_bytes, self.granule_bytes)?;
            if slot_bytes <= previous {
                return Err(GeometryError::ClassesNotAscending { previous, slot_bytes });
            }
            previous = slot_bytes;
        }
        let room = self.pool_bytes_max - self.unit_bytes;
        if previous > room {
            return Err(GeometryError::SlotLargerThanPool { slot_bytes: previous, room });
        }
        Ok(())
    }
}

fn multiple(what: &'static str, value: u64, of: u64) -> Result<(), GeometryError> {
    if value.is_multiple_of(of) {
        Ok(())
    } else {
        Err(GeometryError::NotAMultiple { what, value, of })
    }
}

// r[impl segment.layout]
/// Offsets of the tables in the control area, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlLayout {
    /// Class table: one `u64` per class.
    pub classes: u64,
    /// Peer table.
    pub peers: u64,
    /// Extent table.
    pub extents: u64,
    /// The service's region.
    pub service: u64,
    /// Hot entries of the slot table; slot id 1 is element 0.
    pub slots: u64,
    /// Cold entries of the slot table.
    pub slots_cold: u64,
    /// Size of the whole area at its largest.
    pub size_bytes: u64,
}

impl ControlLayout {
    /// Offset of the class table, which every geometry has in the same place, in bytes.
    pub const CLASSES_OFFSET: u64 = TABLE_ALIGNMENT_BYTES;

    /// Bytes that hold the header and the class table, whatever the geometry.
    pub const HEADER_BYTES: u64 = Self::CLASSES_OFFSET + TABLE_ALIGNMENT_BYTES;

    /// The layout for a checked geometry.
    pub fn new(geometry: &Geometry) -> ControlLayout {
        let mut end = size_of::<SegmentHeader>() as u64;
        let mut table = |size_bytes: u64| {
            let start = end.next_multiple_of(TABLE_ALIGNMENT_BYTES);
            end = start + size_bytes;
            start
        };
        let classes = table(CLASSES_MAX as u64 * 8);
        let peers = table(geometry.peers_max * size_of::<PeerRow>() as u64);
        let extents = table(geometry.units_max() * size_of::<ExtentEntry>() as u64);
        let service = table(geometry.service_bytes);
        let slots = table(geometry.slots_max * size_of::<SlotEntry>() as u64);
        let slots_cold = table(geometry.slots_max * size_of::<SlotCold>() as u64);
        let size_bytes = end.next_multiple_of(TABLE_ALIGNMENT_BYTES);
        ControlLayout { classes, peers, extents, service, slots, slots_cold, size_bytes }
    }

    /// Hash of the offsets and entry sizes: two builds that disagree refuse each other's segments.
    pub fn fingerprint(&self) -> u64 {
        let numbers = [
            self.classes,
            self.peers,
            self.extents,
            self.service,
            self.slots,
            self.slots_cold,
            self.size_bytes,
            size_of::<PeerRow>() as u64,
            size_of::<ExtentEntry>() as u64,
            size_of::<SlotEntry>() as u64,
            size_of::<SlotCold>() as u64,
        ];
        // FNV-1a over words: stable across builds, which std's hashers do not promise.
        numbers.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &number| {
            (hash ^ number).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }

    /// Control bytes that hold everything before the parts that grow: real from the start.
    pub fn fixed_bytes(&self) -> u64 {
        self.service
    }

    /// Where those parts are that grow, as offset and size in bytes.
    pub fn growing(&self, ready: TablesReady) -> [(u64, u64); 3] {
        let entries = |entry_bytes: usize| ready.slots.saturating_mul(entry_bytes as u64);
        [
            (self.service, ready.service_bytes),
            (self.slots, entries(size_of::<SlotEntry>())),
            (self.slots_cold, entries(size_of::<SlotCold>())),
        ]
    }

    /// Control bytes that are real once so much of what grows is.
    pub fn real_bytes(&self, ready: TablesReady) -> u64 {
        let growing = self.growing(ready);
        growing.iter().fold(self.fixed_bytes(), |sum, &(_, bytes)| sum.saturating_add(bytes))
    }
}

/// How much is real of what grows with the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TablesReady {
    /// Entries of the slot table.
    pub slots: u64,
    /// Bytes of the service's region, from its start.
    pub service_bytes: u64,
}

impl TablesReady {
    /// Where nothing is real yet.
    pub const NOTHING: TablesReady = TablesReady { slots: 0, service_bytes: 0 };
}

/// Where the rings and the touch log lie in `rings/<serial>`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingsLayout {
    /// The ring from the guest to the host.
    pub requests: u64,
    /// The ring from the host to the guest.
    pub replies: u64,
    /// Size of either ring.
    pub ring_bytes: u64,
    /// The touch log.
    pub touches: u64,
    /// Size of the whole area.
    pub size_bytes: u64,
}

impl RingsLayout {
    /// The layout for rings of this capacity in bytes, and a touch log with so many entries in each
    /// shard.
    ///
    /// # Errors
    /// [`RingError`]: no ring has this capacity.
    // r[impl touch.layout]
    pub fn new(capacity_bytes: u32, touch_entries: u32) -> Result<RingsLayout, RingError> {
        let ring_bytes = ring_layout(capacity_bytes.into())?.size_bytes;
        let stride = ring_bytes.next_multiple_of(TABLE_ALIGNMENT_BYTES);
        let requests = RINGS_REQUEST_OFFSET;
        let replies = requests + stride;
        let touches = replies + stride;
        let touch_bytes = touch_shard_bytes(touch_entries) * TOUCH_SHARDS as u64;
        let size_bytes = touches + touch_bytes.next_multiple_of(TABLE_ALIGNMENT_BYTES);
        Ok(RingsLayout { requests, replies, ring_bytes, touches, size_bytes })
    }
}

/// Bytes of a shard of the touch log with so many entries.
pub(crate) fn touch_shard_bytes(touch_entries: u32) -> u64 {
    size_of::<TouchShard>() as u64 + 8 * u64::from(touch_entries)
}

const _: () = assert!(size_of::<SegmentHeader>() as u64 <= ControlLayout::CLASSES_OFFSET);
const _: () = assert!(CLASSES_MAX as u64 * 8 <= TABLE_ALIGNMENT_BYTES);

#[cfg(test)]
mod tests;
