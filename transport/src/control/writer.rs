//! Storing to the control area.

use super::places::{Places, header};
use super::{
    COLD_WORDS, ControlError, ControlReader, ExtentFields, NOTE_WORDS, PeerFields, Suspicion,
};
use crate::Serial;
use crate::edges::{EXTENT_STORE, HEADER_STORE, NOTE_STORE, PEER_STORE, PUBLISH_STORE, mutant};
use crate::format::{
    CONTROL_MAGIC, ExtentEntry, FORMAT_VERSION, HostState, PeerRow, PeerState, SegmentHeader,
    SlotCold, SlotEntry,
};
use crate::layout::Geometry;
use crate::memory::MemoryOptions;
use onecopy_shm::{Mapping, SlotWord, Word, Words};
use std::mem::offset_of;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use thiserror::Error;

/// Why a control area could not be laid out.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InitialiseError {
    /// Something is there already; it is never laid out anew.
    #[error("the control area already begins with {found:#018x}, expected 0")]
    NotEmpty {
        /// Its first word.
        found: u64,
    },
    /// The mapping or the geometry cannot be used.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// The control area, to load from and to store to. Only the host has one. It is a
/// [`ControlReader`] that may also store; clones store to the same words.
///
/// A store outside of a table is not made: all numbers come from the pool and the host, which
/// check them.
#[derive(Clone, Debug)]
pub struct ControlWriter {
    reader: ControlReader,
    words: Words,
    host_asleep: Word,
    #[cfg(test)]
    stores: Option<tests_support::StoreLog>,
}

impl Deref for ControlWriter {
    type Target = ControlReader;

    fn deref(&self) -> &ControlReader {
        &self.reader
    }
}

impl ControlWriter {
    /// The control area in a writable `mapping`, which has the layout of `geometry`.
    ///
    /// # Errors
    /// [`ControlError`]: as for [`ControlReader::new`], or the mapping is read-only.
    pub fn new(mapping: Arc<Mapping>, geometry: Geometry) -> Result<ControlWriter, ControlError> {
        let reader = ControlReader::new(Arc::clone(&mapping), geometry)?;
        let size_bytes = reader.layout().size_bytes;
        let region = mapping.region(0, size_bytes)?;
        Ok(ControlWriter {
            words: region.words(0, size_bytes / 8)?,
            host_asleep: region.word(offset_of!(SegmentHeader, host_asleep) as u64)?,
            reader,
            #[cfg(test)]
            stores: None,
        })
    }

    /// Lays out a zeroed control area: geometry and class table, the magic last. Before that it is
    /// no segment, and may be laid out again. The pool has 0 bytes until
    /// [`ControlWriter::set_pool_bytes`] says otherwise.
    ///
    /// # Errors
    /// [`InitialiseError`]: as for [`ControlWriter::new`], or there is something already.
    // r[impl control.magic-last]
    pub fn initialise(
        mapping: Arc<Mapping>,
        geometry: &Geometry,
        segment_id: u128,
    ) -> Result<ControlWriter, InitialiseError> {
        let control = ControlWriter::new(mapping, geometry.clone())?;
        let found = control.header(offset_of!(SegmentHeader, magic));
        if found != 0 {
            return Err(InitialiseError::NotEmpty { found });
        }
        control.lay_out(segment_id);
        Ok(control)
    }

    pub(super) fn lay_out(&self, segment_id: u128) {
        let geometry = Arc::clone(&self.reader.geometry);
        if mutant!("control_magic_first") {
            self.set_header(offset_of!(SegmentHeader, magic), CONTROL_MAGIC);
        }
        let fields = [
            (offset_of!(SegmentHeader, layout_fingerprint), self.layout().fingerprint()),
            (offset_of!(SegmentHeader, segment_id_low), segment_id as u64),
            (offset_of!(SegmentHeader, segment_id_high), (segment_id >> 64) as u64),
            (offset_of!(SegmentHeader, granule_bytes), geometry.granule_bytes),
            (offset_of!(SegmentHeader, unit_bytes), geometry.unit_bytes),
            (offset_of!(SegmentHeader, pool_bytes_max), geometry.pool_bytes_max),
            (offset_of!(SegmentHeader, slots_max), geometry.slots_max),
            (offset_of!(SegmentHeader, peers_max), geometry.peers_max),
            (offset_of!(SegmentHeader, service_bytes), geometry.service_bytes),
            (offset_of!(SegmentHeader, class_count), geometry.classes.len() as u64),
            (offset_of!(SegmentHeader, service_id), geometry.service_id),
            (offset_of!(SegmentHeader, leases_max), geometry.leases_max),
            (offset_of!(SegmentHeader, format_version), FORMAT_VERSION),
        ];
        for (offset, value) in fields {
            self.set_header(offset, value);
        }
        let table = self.layout().classes / 8;
        for (class, &slot_bytes) in (0..).zip(&geometry.classes) {
            self.store(Some(table + class), slot_bytes, Ordering::Relaxed);
        }
        // edge: control.magic
        self.set_header(offset_of!(SegmentHeader, magic), CONTROL_MAGIC);
    }

    /// The same area, to load from only.
    pub fn reader(&self) -> &ControlReader {
        &self.reader
    }

    /// The host's doorbell word, for its sleeper.
    pub fn host_asleep_word(&self) -> Word {
        self.host_asleep.clone()
    }

    /// Stores which life of the host this is.
    pub fn set_boot_epoch(&self, epoch: u64) {
        self.set_header(offset_of!(SegmentHeader, boot_epoch), epoch);
    }

    /// Stores what this life of the host is doing.
    pub fn set_host_state(&self, state: HostState) {
        self.set_header(offset_of!(SegmentHeader, host_state), state.bits());
    }

    /// Stores the host's process id.
    pub fn set_host_pid(&self, pid: u64) {
        self.set_header(offset_of!(SegmentHeader, host_pid), pid);
    }

    /// Stores whether every look through leases begins with a fence in the threads that read, for as long as
    /// a guest lives that may have seen it.
    pub fn set_fences_readers(&self, fences_readers: bool) {
        self.set_header(offset_of!(SegmentHeader, fences_readers), fences_readers.into());
    }

    /// Stores how this life of the host takes memory.
    pub fn set_memory(&self, memory: &MemoryOptions) {
        let [flags, mode, nodes] = memory.words();
        self.set_header(offset_of!(SegmentHeader, memory_flags), flags);
        self.set_header(offset_of!(SegmentHeader, numa_mode), mode);
        self.set_header(offset_of!(SegmentHeader, numa_nodes), nodes);
    }

    /// Stores how much of pool and control area was found in huge pages.
    pub fn set_huge_bytes(&self, huge_bytes: u64) {
        self.set_header(offset_of!(SegmentHeader, huge_bytes), huge_bytes);
    }

    /// Stores the last serial given out; before the serial is used for anything.
    pub fn set_serial_last(&self, serial: Serial) {
        self.set_header(offset_of!(SegmentHeader, serial_last), serial.into());
    }

    /// Publishes how many bytes of the pool are real; never fewer than before.
    pub fn set_pool_bytes(&self, size_bytes: u64) {
        // edge: control.sizes
        self.set_header(offset_of!(SegmentHeader, pool_bytes), size_bytes);
    }

    /// Publishes how many slot-table entries are real; never fewer than before.
    pub fn set_slots_ready(&self, count: u64) {
        // edge: control.sizes
        self.set_header(offset_of!(SegmentHeader, slots_ready), count);
    }

    /// Stores the host's heartbeat.
    pub fn set_host_heartbeat(&self, beat: u64) {
        self.set_header(offset_of!(SegmentHeader, host_heartbeat), beat);
    }

    /// Stores the seconds since the segment was made.
    pub fn set_coarse_clock_s(&self, seconds: u64) {
        self.set_header(offset_of!(SegmentHeader, coarse_clock_s), seconds);
    }

    /// Stores the Unix time of the segment's making.
    pub fn set_created_unix_s(&self, seconds: u64) {
        self.set_header(offset_of!(SegmentHeader, created_unix_s), seconds);
    }

    /// Fills a vacant peer row. Its state is stored last: before that the row reads as vacant.
    pub fn set_peer(&self, row: u64, peer: &PeerFields) {
        let fields = [
            (offset_of!(PeerRow, serial), peer.serial.into()),
            (offset_of!(PeerRow, role), peer.role.bits()),
            (offset_of!(PeerRow, pid), peer.pid.into()),
            (offset_of!(PeerRow, process_inode), peer.process_inode),
            (offset_of!(PeerRow, start_time_ticks), peer.start_time_ticks),
            (offset_of!(PeerRow, boot_id_low), peer.boot_id as u64),
            (offset_of!(PeerRow, boot_id_high), (peer.boot_id >> 64) as u64),
            (offset_of!(PeerRow, uid), peer.uid.into()),
            (offset_of!(PeerRow, lease_serial), peer.lease_serial.into()),
        ];
        for (offset, value) in fields {
            self.store(self.places().peer(row, offset), value, Ordering::Relaxed);
        }
        self.set_attached(row, if peer.attached { peer.serial } else { 0 });
        self.set_suspicion(row, peer.suspicion);
        self.set_peer_state(row, peer.state);
    }

    /// Stores why and since when a peer is suspect; before the state that says that it is.
    pub fn set_suspicion(&self, row: u64, suspicion: Option<Suspicion>) {
        let reason = suspicion.map_or(0, |suspicion| suspicion.reason.bits());
        let since_s = suspicion.map_or(0, |suspicion| suspicion.since_s);
        for (offset, value) in [
            (offset_of!(PeerRow, suspect_reason), reason),
            (offset_of!(PeerRow, suspect_since_s), since_s),
        ] {
            self.store(self.places().peer(row, offset), value, Ordering::Relaxed);
        }
    }

    /// Makes a peer row vacant: the state first, so that the rest means nothing any more.
    pub fn clear_peer(&self, row: u64) {
        self.set_peer_state(row, PeerState::Vacant);
        self.set_attached(row, 0);
        let serial = self.places().peer(row, offset_of!(PeerRow, serial));
        self.store(serial, 0, Ordering::Relaxed);
    }

    /// Stores where a peer stands.
    pub fn set_peer_state(&self, row: u64, state: PeerState) {
        let word = self.places().peer(row, offset_of!(PeerRow, state));
        // edge: control.peer
        self.store(word, state.bits(), PEER_STORE);
    }

    /// Stores the serial of the attach whose leases protect what they name, or 0 for none. Whoever
    /// cuts a peer off fences (SeqCst) after this, before it looks through the leases.
    pub fn set_attached(&self, row: u64, serial: Serial) {
        let word = self.places().peer(row, offset_of!(PeerRow, attached));
        // Relaxed: in a row that is filled the state follows; a cut-off is ordered by its fence
        // (lease.cut-off).
        self.store(word, serial.into(), Ordering::Relaxed);
    }

    /// Stores the entry of an extent that starts at `unit`; its slot size last.
    pub fn set_extent(&self, unit: u64, extent: &ExtentFields) {
        let fields = [
            (offset_of!(ExtentEntry, unit_count), extent.unit_count),
            (offset_of!(ExtentEntry, slot_first), extent.slot_first),
            (offset_of!(ExtentEntry, slot_count), extent.slot_count),
        ];
        for (offset, value) in fields {
            self.store(self.places().extent(unit, offset), value, Ordering::Relaxed);
        }
        self.set_extent_slot_bytes(unit, extent.slot_bytes);
    }

    /// Says that no extent starts at `unit`: one store, its slot size.
    pub fn clear_extent(&self, unit: u64) {
        self.set_extent_slot_bytes(unit, 0);
    }

    fn set_extent_slot_bytes(&self, unit: u64, slot_bytes: u64) {
        let word = self.places().extent(unit, offset_of!(ExtentEntry, slot_bytes));
        // edge: control.extent
        self.store(word, slot_bytes, EXTENT_STORE);
    }

    /// Stores the state word of a slot.
    #[inline]
    pub fn set_slot_word(&self, slot: u32, word: SlotWord) {
        let place = self.places().slot(slot, offset_of!(SlotEntry, word));
        // edge: control.publish
        self.store(place, word.bits(), PUBLISH_STORE);
    }

    /// Stores where a slot lies. Only while its word says `Uncarved`.
    pub fn set_slot_place(&self, slot: u32, offset: u64, slot_bytes: u64) {
        let hot = self.places().slot(slot, offset_of!(SlotEntry, offset));
        self.store(hot, offset, Ordering::Relaxed);
        let cold = self.places().cold(slot, offset_of!(SlotCold, slot_bytes));
        self.store(cold, slot_bytes, Ordering::Relaxed);
    }

    /// Stores what is published with a slot: before its word says `Published`.
    #[inline]
    pub fn set_slot_publication(
        &self,
        slot: u32,
        length_bytes: u64,
        note: &[u64; NOTE_WORDS],
        cold: &[u64; COLD_WORDS],
    ) {
        let entry = self.places().slot(slot, offset_of!(SlotEntry, length_bytes));
        self.store(entry, length_bytes, Ordering::Relaxed);
        self.store_row(self.places().slot(slot, offset_of!(SlotEntry, note)), note);
        self.store_row(self.places().cold(slot, offset_of!(SlotCold, service)), cold);
    }

    /// Stores one word of the service's cold part of a slot, from 0.
    #[inline]
    pub fn set_slot_cold_word(&self, slot: u32, word: usize, value: u64) {
        let offset = offset_of!(SlotCold, service) + (word % COLD_WORDS) * 8;
        self.store(self.places().cold(slot, offset), value, Ordering::Relaxed);
    }

    fn places(&self) -> &Places {
        &self.reader.places
    }

    fn set_header(&self, offset: usize, value: u64) {
        // edge: control.sizes and control.magic; for the rest it costs nothing and saves a table
        self.store(Some(header(offset)), value, HEADER_STORE);
    }

    #[inline]
    fn store_row(&self, first: Option<u64>, values: &[u64]) {
        let words = first.into_iter().flat_map(|first| first..);
        for (word, &value) in words.zip(values) {
            // edge: control.note
            self.store(Some(word), value, NOTE_STORE);
        }
    }

    /// Every store to the control area that is not the service's own.
    // r[impl control.one-store]
    #[inline]
    fn store(&self, word: Option<u64>, value: u64, ordering: Ordering) {
        let stored = word.is_some_and(|word| self.words.store(word, value, ordering).is_ok());
        debug_assert!(stored, "a store of {value:#x} outside of the control area's tables");
        #[cfg(test)]
        if let (Some(log), Some(word)) = (&self.stores, word) {
            log.push(word, value);
        }
    }
}

/// Listening to the stores, for tests that stop a host between any two of them.
#[cfg(test)]
pub(crate) mod tests_support {
    use super::ControlWriter;
    use std::sync::{Arc, Mutex};

    /// Word number and value of every store, in program order.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct StoreLog(Arc<Mutex<Vec<(u64, u64)>>>);

    impl StoreLog {
        pub(super) fn push(&self, word: u64, value: u64) {
            self.0.lock().unwrap().push((word, value));
        }

        /// Takes what was stored since the last time.
        pub(crate) fn take(&self) -> Vec<(u64, u64)> {
            std::mem::take(&mut *self.0.lock().unwrap())
        }
    }

    impl ControlWriter {
        /// The same area, with its stores logged from now on (not those of earlier clones).
        pub(crate) fn logged(mut self) -> (ControlWriter, StoreLog) {
            let log = StoreLog::default();
            self.stores = Some(log.clone());
            (self, log)
        }
    }
}
