//! Guards that keep a published slot readable.

use super::error::{LeaseError, Torn};
use super::{Guest, Inner};
use crate::error::Corrupt;
use crate::format::{COLD_BYTES, NOTE_BYTES};
use onecopy_shm::LeaseCell;
use onecopy_shm::error::LeaseError as NoLease;
use onecopy_shm::{SlotRef, SlotWord};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A published slot, leased: `Deref` to its bytes, in place. The bytes do not change and the slot is
/// not reused before the last clone is dropped, also when its block is deleted meanwhile, the host
/// dies or this guest attaches again.
pub struct SlotGuard {
    pub(super) inner: Arc<Inner>,
    /// `None` once it was dropped.
    cell: Option<LeaseCell>,
    slot: SlotRef,
    pub(super) offset: u64,
    pub(super) length_bytes: u64,
}

impl SlotGuard {
    /// Which slot.
    #[inline]
    pub fn slot(&self) -> SlotRef {
        self.slot
    }

    /// Whether every byte that was read through guards of this attach until now was the pool's, and
    /// every number the control area's: to be asked after reading, where a file of the segment may
    /// be cut. (A hole that was punched, and what a hostile writer stored, only a checksum tells.)
    ///
    /// # Errors
    /// [`Torn`]: a file was cut; take nothing that was read for data.
    // r[impl guest.torn]
    pub fn check_intact(&self) -> Result<(), Torn> {
        self.inner.areas.check_intact()
    }

    /// The service's note on it.
    pub fn note(&self) -> [u64; NOTE_BYTES / 8] {
        self.inner.control.slot_note(self.slot.slot)
    }

    /// One word of the note, from 0.
    #[inline]
    pub fn note_word(&self, word: usize) -> u64 {
        self.inner.control.slot_note_word(self.slot.slot, word)
    }

    /// The service's cold part of its entry.
    pub fn cold(&self) -> [u64; COLD_BYTES / 8] {
        self.inner.control.slot_cold(self.slot.slot)
    }

    /// One word of the cold part, from 0.
    pub fn cold_word(&self, word: usize) -> u64 {
        self.inner.control.slot_cold_word(self.slot.slot, word)
    }
}

impl Guest {
    /// Leases a slot if it is published in this generation; `None` when it is not there any more.
    ///
    /// # Errors
    /// [`LeaseError`]: no lease left, this guest cut off or detached, a slot table that no host
    /// writes, a forked child.
    // r[impl guest.lease]
    pub fn lease(&self, slot: SlotRef) -> Result<Option<SlotGuard>, LeaseError> {
        self.check_process()?;
        let inner = &self.inner;
        if !inner.slot_exists(slot) {
            return Ok(None);
        }
        let attached = &inner.link.attached;
        let leased = inner.leases.table.lease_published(
            slot,
            |ordering| inner.control.load_slot_word(slot.slot, ordering),
            |ordering| attached.load(ordering),
            attached.expected(),
        );
        let cell = match leased {
            Ok(cell) => cell,
            Err(error) => {
                // Zeroes in place of a slot table look like a block that has gone.
                inner.areas.check_intact()?;
                return not_leased(error).map(|()| None);
            }
        };
        // From here on every way out that is no guard releases the cell.
        let located = inner.locate(slot);
        let located = inner.areas.check_intact().map_err(LeaseError::Torn).and(located);
        match located {
            Ok((offset, length_bytes)) => {
                let (inner, cell) = (Arc::clone(inner), Some(cell));
                Ok(Some(SlotGuard { inner, cell, slot, offset, length_bytes }))
            }
            Err(error) => {
                inner.leases.table.release(cell);
                Err(error)
            }
        }
    }
}

impl Inner {
    /// Whether the slot table has this entry: a reference from elsewhere may say anything.
    #[inline]
    fn slot_exists(&self, slot: SlotRef) -> bool {
        let number = u64::from(slot.slot);
        // Relaxed: a count that is too old is read again.
        if number > self.slots_seen.load(Ordering::Relaxed) {
            self.slots_seen.store(self.control.slots_ready(), Ordering::Relaxed);
        }
        number != 0 && number <= self.slots_seen.load(Ordering::Relaxed)
    }

    /// Offset and length in bytes of a slot that was leased just now.
    #[inline]
    fn locate(&self, slot: SlotRef) -> Result<(u64, u64), LeaseError> {
        if self.closing.is_begun() {
            return Err(LeaseError::Detached);
        }
        let offset = self.control.slot_offset(slot.slot);
        let length_bytes = self.control.slot_length(slot.slot);
        let end = offset.checked_add(length_bytes);
        if end.is_none_or(|end| !self.growth.covers(end)) {
            let pool_bytes = self.control.pool_bytes();
            let slot = slot.slot;
            return Err(LeaseError::OutsidePool { slot, offset, length_bytes, pool_bytes });
        }
        Ok((offset, length_bytes))
    }
}

/// Why there is no lease; a slot that is not there any more is no error.
#[cold]
fn not_leased(error: NoLease) -> Result<(), LeaseError> {
    match error {
        NoLease::Full(full) => Err(LeaseError::Full { capacity: full.capacity }),
        NoLease::NotPublished { bits, .. } if SlotWord::decode(bits).is_ok() => Ok(()),
        NoLease::NotPublished { slot, bits } => Err(LeaseError::Corrupt(Corrupt {
            what: "state word of slot",
            number: slot.slot.into(),
            found: bits,
            expected: "a state from 0 to 5 with its owner and generation",
        })),
        // `CutOff`, which is also the safe answer to whatever else there may be one day.
        _ => Err(LeaseError::CutOff),
    }
}

impl Clone for SlotGuard {
    fn clone(&self) -> SlotGuard {
        let cell = self.cell.as_ref().map(|cell| {
            // In a forked child nothing is counted: nothing is released there either.
            self.inner.leases.add_clone(cell);
            cell.same_lease()
        });
        SlotGuard { inner: Arc::clone(&self.inner), cell, ..*self }
    }
}

impl Drop for SlotGuard {
    // r[impl guest.lease.clones]
    // r[impl guest.fork]
    fn drop(&mut self) {
        let Some(cell) = self.cell.take() else { return };
        if self.inner.fork.is_this_process() && self.inner.leases.is_last(&cell) {
            self.inner.leases.table.release(cell);
        }
    }
}

impl fmt::Debug for SlotGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotGuard")
            .field("slot", &self.slot)
            .field("offset", &self.offset)
            .field("length_bytes", &self.length_bytes)
            .finish_non_exhaustive()
    }
}
