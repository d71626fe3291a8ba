//! Guards that keep a published slot readable.

use super::error::{LeaseError, Torn};
use super::{Guest, Inner};
use crate::control::SlotEntryView;
use crate::error::Corrupt;
use crate::format::{COLD_BYTES, NOTE_BYTES};
use onecopy_shm::LeaseCell;
use onecopy_shm::error::{LeaseError as NoLease, LeasesFull};
use onecopy_shm::{SlotRef, SlotWord};
use rustix::io::Errno;
use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::Ordering;

/// A published slot, leased: `Deref` to its bytes, in place. The bytes do not change and the slot is
/// not reused before the last clone is dropped, also when its block is deleted meanwhile, the host
/// dies or this guest attaches again.
///
/// `G` is how it keeps its guest: a handle of its own, or one that is borrowed, which saves counting
/// handles where every nanosecond counts.
pub struct SlotGuard<G: HoldsGuest = Guest> {
    pub(super) guest: G,
    leased: Leased,
}

/// What can keep a guest for a [`SlotGuard`]: [`Guest`] and [`Cow<Guest>`].
pub trait HoldsGuest: sealed::Sealed {
    /// The guest.
    fn guest(&self) -> &Guest;
}

/// Nobody else's types: a guard that is given another guest than it was made with would read elsewhere.
mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Guest {}
    impl Sealed for super::Cow<'_, super::Guest> {}
}

impl HoldsGuest for Guest {
    #[inline]
    fn guest(&self) -> &Guest {
        self
    }
}

impl HoldsGuest for Cow<'_, Guest> {
    #[inline]
    fn guest(&self) -> &Guest {
        self
    }
}

/// A lease and what it is of.
struct Leased {
    /// `None` once it was released, or handed on.
    cell: Option<LeaseCell>,
    slot: SlotRef,
    offset: u64,
    length_bytes: u64,
}

impl<G: HoldsGuest> SlotGuard<G> {
    /// Leases a slot if it is published in this generation; `None` when it is not there any more.
    ///
    /// # Errors
    /// As for [`Guest::lease`].
    #[inline]
    pub fn lease(guest: G, slot: SlotRef) -> Result<Option<SlotGuard<G>>, LeaseError> {
        guest.guest().check_process()?;
        let inner = &guest.guest().inner;
        let Some(entry) = inner.entry(slot.slot) else { return Ok(None) };
        let leased = inner.lease_entry(&entry, slot)?;
        Ok(leased.map(|leased| SlotGuard { guest, leased }))
    }

    /// Leases what is published in the slot of this number now, if `is_wanted` says so of its entry,
    /// which it sees after the lease was checked; `None` when nothing is, or something else.
    ///
    /// # Errors
    /// As for [`Guest::lease`].
    // r[impl guest.lease.current]
    #[inline]
    pub fn lease_current(
        guest: G,
        slot: u32,
        is_wanted: impl FnOnce(&SlotEntryView<'_>) -> bool,
    ) -> Result<Option<SlotGuard<G>>, LeaseError> {
        let inner = &guest.guest().inner;
        inner.enter()?;
        let Some((entry, slot)) = inner.published(slot) else { return Ok(None) };
        let Some(leased) = inner.lease_entry(&entry, slot)? else { return Ok(None) };
        if !is_wanted(&entry) {
            inner.let_go(leased);
            return Ok(None);
        }
        Ok(Some(SlotGuard { guest, leased }))
    }

    /// Which slot.
    #[inline]
    pub fn slot(&self) -> SlotRef {
        self.leased.slot
    }

    /// Where its bytes begin in the pool and how many they are.
    #[inline]
    pub(super) fn range(&self) -> (u64, u64) {
        (self.leased.offset, self.leased.length_bytes)
    }

    /// Whether every byte that was read through guards of this attach until now was the pool's, and
    /// every number the control area's: to be asked after reading, where a file of the segment may
    /// be cut. (A hole that was punched, and what a hostile writer stored, only a checksum tells.)
    ///
    /// # Errors
    /// [`Torn`]: a file was cut; take nothing that was read for data.
    // r[impl guest.torn]
    #[inline]
    pub fn check_intact(&self) -> Result<(), Torn> {
        self.inner().areas.check_intact()
    }

    /// The service's note on it.
    #[inline]
    pub fn note(&self) -> [u64; NOTE_BYTES / 8] {
        self.inner().control.slot_note(self.leased.slot.slot)
    }

    /// One word of the note, from 0.
    #[inline]
    pub fn note_word(&self, word: usize) -> u64 {
        self.inner().control.slot_note_word(self.leased.slot.slot, word)
    }

    /// The service's cold part of its entry.
    pub fn cold(&self) -> [u64; COLD_BYTES / 8] {
        self.inner().control.slot_cold(self.leased.slot.slot)
    }

    /// One word of the cold part, from 0.
    pub fn cold_word(&self, word: usize) -> u64 {
        self.inner().control.slot_cold_word(self.leased.slot.slot, word)
    }

    #[inline]
    fn inner(&self) -> &Inner {
        &self.guest.guest().inner
    }
}

impl<'a> SlotGuard<Cow<'a, Guest>> {
    /// The same lease with a handle of its own.
    pub fn into_owned(mut self) -> SlotGuard {
        let cell = self.leased.cell.take();
        let leased = Leased { cell, ..self.leased };
        SlotGuard { guest: self.guest.clone().into_owned(), leased }
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
        SlotGuard::lease(self.clone(), slot)
    }

    /// What [`SlotGuard::lease_current`] and then [`Guest::note_use`] do, at the least cost and where
    /// nothing is out of the ordinary: something is published in the slot, it is wanted, this attach is not
    /// over, and there is a cell for the lease. `None` says nothing about the slot, and no lease stays.
    // r[impl guest.lease.current]
    // r[impl touch.note]
    #[inline]
    pub fn lease_for_use(
        &self,
        slot: u32,
        is_wanted: impl FnOnce(&SlotEntryView<'_>) -> bool,
    ) -> Option<SlotGuard<Cow<'_, Guest>>> {
        let leased = self.inner.lease_at_once(slot, is_wanted)?;
        self.inner.touches.note(leased.slot);
        Some(SlotGuard { guest: Cow::Borrowed(self), leased })
    }

    /// Whether the link is over as far as this process has noticed: one look at its own memory. Where
    /// nobody watches the socket only the calls notice.
    #[inline]
    pub fn is_known_over(&self) -> bool {
        self.inner.link.is_closed()
    }

    /// Whether all that was read of the segment until now was the files': see
    /// [`SlotGuard::check_intact`].
    ///
    /// # Errors
    /// [`Torn`]: a file was cut.
    #[inline]
    pub fn check_intact(&self) -> Result<(), Torn> {
        self.inner.areas.check_intact()
    }
}

impl Inner {
    /// The entry of a slot that exists.
    #[inline]
    fn entry(&self, slot: u32) -> Option<SlotEntryView<'_>> {
        if self.slot_exists(slot) { self.control.slot_entry(slot) } else { None }
    }

    /// What is published in a slot now, if anything is.
    #[inline]
    fn published(&self, slot: u32) -> Option<(SlotEntryView<'_>, SlotRef)> {
        let entry = self.entry(slot)?;
        let generation = SlotWord::published_generation(entry.word())?;
        Some((entry, SlotRef { slot, generation }))
    }

    #[inline]
    fn lease_at_once(
        &self,
        slot: u32,
        is_wanted: impl FnOnce(&SlotEntryView<'_>) -> bool,
    ) -> Option<Leased> {
        if self.link.is_over_or_superseded() || self.enter().is_err() {
            return None;
        }
        let (entry, slot) = self.published(slot)?;
        let cell = self.lease_published(&entry, slot).ok()?;
        let (offset, length_bytes) = (entry.offset(), entry.length_bytes());
        let is_told = offset.checked_add(length_bytes).is_some_and(|end| self.growth.has_told(end));
        let is_usable = is_told && !self.closing.is_begun() && self.areas.check_intact().is_ok();
        if !is_usable || !is_wanted(&entry) {
            self.leases.table.release(cell);
            return None;
        }
        Some(Leased { cell: Some(cell), slot, offset, length_bytes })
    }

    #[inline]
    fn lease_published(
        &self,
        entry: &SlotEntryView<'_>,
        slot: SlotRef,
    ) -> Result<LeaseCell, NoLease> {
        let attached = &self.link.attached;
        self.leases.table.lease_published(
            slot,
            |ordering| entry.load_word(ordering),
            |ordering| attached.load(ordering),
            attached.expected(),
        )
    }

    #[inline]
    fn lease_entry(
        &self,
        entry: &SlotEntryView<'_>,
        slot: SlotRef,
    ) -> Result<Option<Leased>, LeaseError> {
        self.locate(self.lease_published(entry, slot), entry, slot)
    }

    /// Ends a lease that nobody was told of.
    fn let_go(&self, leased: Leased) {
        if let Some(cell) = leased.cell {
            self.leases.table.release(cell);
        }
    }

    /// Finds the bytes of a slot that was leased, or lets it go.
    #[inline]
    fn locate(
        &self,
        leased: Result<LeaseCell, NoLease>,
        entry: &SlotEntryView<'_>,
        slot: SlotRef,
    ) -> Result<Option<Leased>, LeaseError> {
        let cell = match leased {
            Ok(cell) => cell,
            Err(error) => {
                // Zeroes in place of a slot table look like a block that has gone.
                self.areas.check_intact()?;
                return not_leased(error).map(|()| None);
            }
        };
        // From here on every way out that is no lease releases the cell.
        let range = self.range(entry, slot);
        match self.areas.check_intact().map_err(LeaseError::Torn).and(range) {
            Ok((offset, length_bytes)) => {
                Ok(Some(Leased { cell: Some(cell), slot, offset, length_bytes }))
            }
            Err(error) => {
                self.leases.table.release(cell);
                Err(error)
            }
        }
    }
}

impl Inner {
    /// Whether the slot table has this entry: a reference from elsewhere may say anything.
    #[inline]
    fn slot_exists(&self, slot: u32) -> bool {
        let number = u64::from(slot);
        // Relaxed: a count that is too old is read again.
        let is_known = number <= self.slots_seen.load(Ordering::Relaxed);
        number != 0 && (is_known || self.slot_is_new(number))
    }

    #[cold]
    fn slot_is_new(&self, number: u64) -> bool {
        let ready = self.control.slots_ready();
        self.slots_seen.store(ready, Ordering::Relaxed);
        number <= ready
    }

    /// Offset and length in bytes of a slot that was leased just now.
    #[inline]
    fn range(&self, entry: &SlotEntryView<'_>, slot: SlotRef) -> Result<(u64, u64), LeaseError> {
        if self.closing.is_begun() {
            return Err(LeaseError::Detached);
        }
        let (offset, length_bytes) = (entry.offset(), entry.length_bytes());
        let end = offset.checked_add(length_bytes);
        if end.is_none_or(|end| !self.growth.covers(end)) {
            let pool_bytes = self.control.pool_bytes();
            let slot = slot.slot;
            return Err(LeaseError::OutsidePool { slot, offset, length_bytes, pool_bytes });
        }
        Ok((offset, length_bytes))
    }
}

// r[impl lease.memory]
#[cold]
fn no_cell(full: LeasesFull) -> LeaseError {
    match full {
        LeasesFull::Taken { capacity } => LeaseError::Full { capacity },
        LeasesFull::NoMemory { cells, capacity, source: Errno::OPNOTSUPP } => {
            LeaseError::KernelTooOld { held: cells, capacity }
        }
        LeasesFull::NoMemory { cells, capacity, source } => {
            LeaseError::NoMemory { held: cells, capacity, source }
        }
    }
}

/// Why there is no lease; a slot that is not there any more is no error.
#[cold]
fn not_leased(error: NoLease) -> Result<(), LeaseError> {
    match error {
        NoLease::Full(full) => Err(no_cell(full)),
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

impl<G: HoldsGuest + Clone> Clone for SlotGuard<G> {
    fn clone(&self) -> SlotGuard<G> {
        let cell = self.leased.cell.as_ref().map(|cell| {
            // In a forked child nothing is counted: nothing is released there either.
            self.inner().leases.add_clone(cell);
            cell.same_lease()
        });
        SlotGuard { guest: self.guest.clone(), leased: Leased { cell, ..self.leased } }
    }
}

impl<G: HoldsGuest> Drop for SlotGuard<G> {
    // r[impl guest.lease.clones]
    // r[impl guest.fork]
    #[inline]
    fn drop(&mut self) {
        let Some(cell) = self.leased.cell.take() else { return };
        let inner = self.inner();
        if inner.fork.is_this_process() && inner.leases.is_last(&cell) {
            inner.leases.table.release(cell);
        }
    }
}

impl<G: HoldsGuest> fmt::Debug for SlotGuard<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotGuard")
            .field("slot", &self.leased.slot)
            .field("offset", &self.leased.offset)
            .field("length_bytes", &self.leased.length_bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // r[verify lease.memory]
    #[test]
    fn a_kernel_that_cannot_give_a_table_memory_is_told_apart_from_having_none() {
        let refused = |source| no_cell(LeasesFull::NoMemory { cells: 256, capacity: 1000, source });
        let too_old = refused(Errno::OPNOTSUPP);
        assert_eq!(too_old, LeaseError::KernelTooOld { held: 256, capacity: 1000 });
        assert!(too_old.to_string().contains("Linux 5.14"), "{too_old}");
        let source = Errno::NOSPC;
        assert_eq!(refused(source), LeaseError::NoMemory { held: 256, capacity: 1000, source });
    }
}
