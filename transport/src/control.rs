//! The control area: every field of `format.rs`, by name. The one place that turns a table and a
//! number into a shared word, and (in [`ControlWriter`]) the one place that stores one.
//!
//! | edge | store | load |
//! | --- | --- | --- |
//! | control.publish | what it says about a slot, then the slot's word (Release) | the slot's word (Acquire), then the rest |
//! | control.note | that a slot is not published any more, then the words of its next note (Release each) | the words of its note, a fence (Acquire), then the slot's word again |
//! | control.extent | the numbers of an extent, then its slot size (Release) | its slot size (Acquire), then the rest |
//! | control.peer | the fields of a peer row, then its state (Release) | its state (Acquire), then the rest |
//! | control.sizes | the bytes made real, then the published size (Release) | the size (Acquire), then the bytes |
//! | control.magic | the geometry, then the magic (Release) | the magic (Acquire), then the geometry |

mod check;
mod entry;
mod places;
mod writer;

pub use check::{HeaderError, read_geometry};
pub use entry::SlotEntryView;
#[cfg(test)]
#[cfg(not(loom))]
pub(crate) use writer::tests_support::StoreLog;
pub use writer::{ControlWriter, InitialiseError};

use crate::Serial;
use crate::edges::{EXTENT_LOAD, HEADER_LOAD, PEER_LOAD, PUBLISH_LOAD};
use crate::error::{Corrupt, GeometryError};
use crate::format::{
    COLD_BYTES, ExtentEntry, HostState, NOTE_BYTES, PeerRow, PeerState, Role, SegmentHeader,
    SlotCold, SlotEntry, SuspectReason,
};
use crate::layout::{ControlLayout, Geometry};
use crate::memory::MemoryOptions;
use onecopy_shm::error::RegionError;
use onecopy_shm::{Mapping, ReadWord, ReadWords, Region};
use places::Places;
use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use thiserror::Error;

/// Words of a service's note in a slot's hot entry.
pub const NOTE_WORDS: usize = NOTE_BYTES / 8;
/// Words of a service's part of a slot's cold entry.
pub const COLD_WORDS: usize = COLD_BYTES / 8;

/// Why a mapping cannot be used as a control area.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The mapping is not as large as the tables are at their largest.
    #[error("the control area is mapped with {found_bytes} bytes, expected {expected_bytes}")]
    TooSmall {
        /// Bytes mapped.
        found_bytes: u64,
        /// Bytes that the geometry needs.
        expected_bytes: u64,
    },
    /// The geometry is none that a segment can have.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// A window could not be made: read-only memory where it has to be written.
    #[error(transparent)]
    Region(#[from] RegionError),
}

/// What the extent table says at one unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtentFields {
    /// Size of its slots in bytes; 0: no extent starts here, and the rest means nothing.
    pub slot_bytes: u64,
    /// Units it covers.
    pub unit_count: u64,
    /// Its first slot id.
    pub slot_first: u64,
    /// Number of its slots.
    pub slot_count: u64,
}

/// What a row of the peer table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerFields {
    /// Serial of this attach.
    pub serial: Serial,
    /// Where the peer stands.
    pub state: PeerState,
    /// Whether leases of this peer protect what they name.
    pub attached: bool,
    /// What it may do.
    pub role: Role,
    /// Process id in the host's PID namespace; 0 where it has none there.
    pub pid: u32,
    /// Inode of the process's pidfd, or 0 where the kernel has none.
    pub process_inode: u64,
    /// Clock ticks after boot at which the process started.
    pub start_time_ticks: u64,
    /// The machine's boot id.
    pub boot_id: u128,
    /// User id.
    pub uid: u32,
    /// Serial that names the lease table of the guest process.
    pub lease_serial: Serial,
    /// Why and since when it is suspect, if it is and that was stored.
    pub suspicion: Option<Suspicion>,
}

/// Why and since when a peer is suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspicion {
    /// Why.
    pub reason: SuspectReason,
    /// The coarse clock when it became so, in seconds.
    pub since_s: u64,
}

/// The control area, to load from. What lies outside of a table reads as 0, which is "none" in all
/// of them; whoever takes a number from elsewhere compares it with the published sizes first.
#[derive(Clone, Debug)]
pub struct ControlReader {
    words: ReadWords,
    places: Places,
    geometry: Arc<Geometry>,
    host_asleep: ReadWord,
    area: Region,
    peers: Region,
    service: Region,
}

impl ControlReader {
    /// The control area in `mapping`, which has the layout of `geometry`.
    ///
    /// # Errors
    /// [`ControlError`]: a geometry that no segment has, a mapping smaller than its tables.
    pub fn new(mapping: Arc<Mapping>, geometry: Geometry) -> Result<ControlReader, ControlError> {
        geometry.check()?;
        let layout = ControlLayout::new(&geometry);
        if mapping.size_bytes() < layout.size_bytes {
            return Err(ControlError::TooSmall {
                found_bytes: mapping.size_bytes(),
                expected_bytes: layout.size_bytes,
            });
        }
        let region = mapping.region(0, layout.size_bytes)?;
        Ok(ControlReader {
            words: region.read_words(0, layout.size_bytes / 8)?,
            host_asleep: region.read_word(offset_of!(SegmentHeader, host_asleep) as u64)?,
            peers: region.subregion(layout.peers, layout.extents - layout.peers)?,
            service: region.subregion(layout.service, geometry.service_bytes)?,
            places: Places::new(&geometry, layout),
            geometry: Arc::new(geometry),
            area: region,
        })
    }

    /// The geometry as it was checked.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Where the tables lie.
    pub fn layout(&self) -> &ControlLayout {
        self.places.layout()
    }

    /// The whole area, to be copied. Beyond the published sizes it must not be touched.
    pub(crate) fn words(&self) -> &ReadWords {
        &self.words
    }

    /// A part of the area, to be populated. It must be real.
    pub(crate) fn part(&self, offset: u64, size_bytes: u64) -> Result<Region, RegionError> {
        self.area.subregion(offset, size_bytes)
    }

    /// The service's region. Writable where the mapping is.
    pub fn service_region(&self) -> Region {
        self.service.clone()
    }

    /// The host's doorbell word, for a waker.
    pub fn host_asleep(&self) -> ReadWord {
        self.host_asleep.clone()
    }

    /// The word of a peer row that holds the serial of the attach whose leases protect, or `None`
    /// beyond the table.
    pub fn attached(&self, row: u64) -> Option<ReadWord> {
        let offset = self.places.peer_offset(row)? + offset_of!(PeerRow, attached) as u64;
        self.peers.read_word(offset).ok()
    }

    /// The segment's random id.
    pub fn segment_id(&self) -> u128 {
        let low = self.header(offset_of!(SegmentHeader, segment_id_low));
        let high = self.header(offset_of!(SegmentHeader, segment_id_high));
        u128::from(high) << 64 | u128::from(low)
    }

    /// Which life of the host this is, from 1; 0 before the first.
    pub fn boot_epoch(&self) -> u64 {
        self.header(offset_of!(SegmentHeader, boot_epoch))
    }

    /// What this life of the host is doing; `None` before the first.
    ///
    /// # Errors
    /// [`Corrupt`]: a state that no host stores.
    pub fn host_state(&self) -> Result<Option<HostState>, Corrupt> {
        match self.header(offset_of!(SegmentHeader, host_state)) {
            0 => Ok(None),
            bits => match HostState::decode(bits) {
                Some(state) => Ok(Some(state)),
                None => {
                    Err(Corrupt { what: "host state", number: 0, found: bits, expected: "0 to 3" })
                }
            },
        }
    }

    /// The host's process id in its own PID namespace.
    pub fn host_pid(&self) -> u64 {
        self.header(offset_of!(SegmentHeader, host_pid))
    }

    /// How this life of the host takes memory.
    ///
    /// # Errors
    /// [`Corrupt`]: what no host stores.
    pub fn memory(&self) -> Result<MemoryOptions, Corrupt> {
        MemoryOptions::from_words([
            self.header(offset_of!(SegmentHeader, memory_flags)),
            self.header(offset_of!(SegmentHeader, numa_mode)),
            self.header(offset_of!(SegmentHeader, numa_nodes)),
        ])
    }

    /// Whether every look through leases begins with a fence in the threads that read.
    pub fn fences_readers(&self) -> bool {
        self.header(offset_of!(SegmentHeader, fences_readers)) != 0
    }

    /// Bytes of pool and control area that were found in huge pages when they were taken.
    pub fn huge_bytes(&self) -> u64 {
        self.header(offset_of!(SegmentHeader, huge_bytes))
    }

    /// The last serial that was given to an attach.
    pub fn serial_last(&self) -> u64 {
        self.header(offset_of!(SegmentHeader, serial_last))
    }

    /// Bytes of the pool that are real.
    pub fn pool_bytes(&self) -> u64 {
        self.header(offset_of!(SegmentHeader, pool_bytes))
    }

    /// Slot-table entries that are real.
    pub fn slots_ready(&self) -> u64 {
        self.header(offset_of!(SegmentHeader, slots_ready))
    }

    /// The host's heartbeat.
    pub fn host_heartbeat(&self) -> u64 {
        self.header(offset_of!(SegmentHeader, host_heartbeat))
    }

    /// Seconds since the segment was made.
    pub fn coarse_clock_s(&self) -> u64 {
        self.header(offset_of!(SegmentHeader, coarse_clock_s))
    }

    /// Unix time of the segment's making, in seconds.
    pub fn created_unix_s(&self) -> u64 {
        self.header(offset_of!(SegmentHeader, created_unix_s))
    }

    /// A row of the peer table, or `None` if it is vacant.
    ///
    /// # Errors
    /// [`Corrupt`]: a field that no host stores there.
    // r[impl control.peer-row]
    pub fn peer(&self, row: u64) -> Result<Option<PeerFields>, Corrupt> {
        let field = |offset| self.load(self.places.peer(row, offset), Ordering::Relaxed);
        let corrupt = |what, found, expected| Corrupt { what, number: row, found, expected };
        let small = |what, offset| {
            let found = field(offset);
            u32::try_from(found).map_err(|_| corrupt(what, found, "at most 32 bits"))
        };
        // edge: control.peer
        let bits = self.load(self.places.peer(row, offset_of!(PeerRow, state)), PEER_LOAD);
        let state =
            PeerState::decode(bits).ok_or_else(|| corrupt("state in peer row", bits, "0 to 3"))?;
        if state == PeerState::Vacant {
            return Ok(None);
        }
        let role = field(offset_of!(PeerRow, role));
        let attached = field(offset_of!(PeerRow, attached));
        let serial = small("serial in peer row", offset_of!(PeerRow, serial))?;
        if serial == 0 {
            return Err(corrupt("serial in peer row", 0, "a serial, from 1"));
        }
        let boot_id_low = field(offset_of!(PeerRow, boot_id_low));
        let boot_id_high = field(offset_of!(PeerRow, boot_id_high));
        Ok(Some(PeerFields {
            serial,
            state,
            attached: match attached {
                0 => false,
                _ if attached == u64::from(serial) => true,
                _ => {
                    let expected = "0 or the row's serial";
                    return Err(corrupt("attached in peer row", attached, expected));
                }
            },
            role: Role::decode(role).ok_or_else(|| corrupt("role in peer row", role, "1 or 2"))?,
            pid: small("pid in peer row", offset_of!(PeerRow, pid))?,
            process_inode: field(offset_of!(PeerRow, process_inode)),
            start_time_ticks: field(offset_of!(PeerRow, start_time_ticks)),
            boot_id: u128::from(boot_id_high) << 64 | u128::from(boot_id_low),
            uid: small("uid in peer row", offset_of!(PeerRow, uid))?,
            lease_serial: small("lease serial in peer row", offset_of!(PeerRow, lease_serial))?,
            suspicion: match state {
                PeerState::Suspect => self.suspicion(row)?,
                _ => None,
            },
        }))
    }

    // r[impl control.suspicion]
    fn suspicion(&self, row: u64) -> Result<Option<Suspicion>, Corrupt> {
        let field = |offset| self.load(self.places.peer(row, offset), Ordering::Relaxed);
        let found = field(offset_of!(PeerRow, suspect_reason));
        if found == 0 {
            return Ok(None);
        }
        let reason = SuspectReason::decode(found).ok_or(Corrupt {
            what: "reason for suspicion in peer row",
            number: row,
            found,
            expected: "0 to 4",
        })?;
        Ok(Some(Suspicion { reason, since_s: field(offset_of!(PeerRow, suspect_since_s)) }))
    }

    /// What the extent table says at `unit`.
    pub fn extent(&self, unit: u64) -> ExtentFields {
        let field = |offset, ordering| self.load(self.places.extent(unit, offset), ordering);
        ExtentFields {
            // edge: control.extent
            slot_bytes: field(offset_of!(ExtentEntry, slot_bytes), EXTENT_LOAD),
            unit_count: field(offset_of!(ExtentEntry, unit_count), Ordering::Relaxed),
            slot_first: field(offset_of!(ExtentEntry, slot_first), Ordering::Relaxed),
            slot_count: field(offset_of!(ExtentEntry, slot_count), Ordering::Relaxed),
        }
    }

    /// State word of a slot.
    #[inline]
    pub fn slot_word(&self, slot: u32) -> u64 {
        // edge: control.publish
        self.load_slot_word(slot, PUBLISH_LOAD)
    }

    /// State word of a slot, for a protocol that says with which ordering.
    #[inline]
    pub(crate) fn load_slot_word(&self, slot: u32, ordering: Ordering) -> u64 {
        self.load(self.places.slot(slot, offset_of!(SlotEntry, word)), ordering)
    }

    /// Offset of a slot in the pool, in bytes.
    #[inline]
    pub fn slot_offset(&self, slot: u32) -> u64 {
        self.load(self.places.slot(slot, offset_of!(SlotEntry, offset)), Ordering::Relaxed)
    }

    /// Bytes published in a slot.
    #[inline]
    pub fn slot_length(&self, slot: u32) -> u64 {
        self.load(self.places.slot(slot, offset_of!(SlotEntry, length_bytes)), Ordering::Relaxed)
    }

    /// One word of the service's note on a slot, from 0.
    #[inline]
    pub fn slot_note_word(&self, slot: u32, word: usize) -> u64 {
        let offset = offset_of!(SlotEntry, note) + (word % NOTE_WORDS) * 8;
        self.load(self.places.slot(slot, offset), Ordering::Relaxed)
    }

    /// The service's note on a slot.
    #[inline]
    pub fn slot_note(&self, slot: u32) -> [u64; NOTE_WORDS] {
        std::array::from_fn(|word| self.slot_note_word(slot, word))
    }

    /// The hot entry of a slot; `None` beyond the table.
    #[inline]
    pub fn slot_entry(&self, slot: u32) -> Option<SlotEntryView<'_>> {
        let line = self.words.line(self.places.slot(slot, 0)?).ok()?;
        Some(SlotEntryView { line })
    }

    /// Tells the processor that the hot entry of a slot will be read soon.
    #[inline]
    pub fn prefetch_slot(&self, slot: u32) {
        if let Some(word) = self.places.slot(slot, offset_of!(SlotEntry, word)) {
            self.words.prefetch(word);
        }
    }

    /// Size of a slot in bytes.
    pub fn slot_bytes(&self, slot: u32) -> u64 {
        self.load(self.places.cold(slot, offset_of!(SlotCold, slot_bytes)), Ordering::Relaxed)
    }

    /// One word of the service's cold part of a slot, from 0.
    #[inline]
    pub fn slot_cold_word(&self, slot: u32, word: usize) -> u64 {
        let offset = offset_of!(SlotCold, service) + (word % COLD_WORDS) * 8;
        self.load(self.places.cold(slot, offset), Ordering::Relaxed)
    }

    /// The service's cold part of a slot.
    pub fn slot_cold(&self, slot: u32) -> [u64; COLD_WORDS] {
        std::array::from_fn(|word| self.slot_cold_word(slot, word))
    }

    fn header(&self, offset: usize) -> u64 {
        // edge: control.sizes for the two sizes; for the rest it costs nothing and saves a table
        self.load(Some(places::header(offset)), HEADER_LOAD)
    }

    #[inline]
    fn load(&self, word: Option<u64>, ordering: Ordering) -> u64 {
        match word {
            Some(word) => self.words.load(word, ordering).unwrap_or(0),
            None => 0,
        }
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
