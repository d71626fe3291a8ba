//! Slots of many sizes in one pool. The host alone allocates: the truth stands in this process's
//! heap, the shared words are copies for readers and for the next life of the host.
//!
//! Memory goes from *units* to *extents* (runs of units that belong to a size class) to *slots*.
//! Taking and giving back a slot is a step in a list; no step on that path looks further than the
//! slot, its extent and its owner.

mod audit;
mod carve;
mod classes;
mod error;
mod extents;
mod limbo;
mod owners;
mod plan;
mod recover;
mod runs;
mod slots;
mod view;
mod write_off;

pub use classes::{ClassIndex, ClassTable, TooLarge};
pub use error::{GrantError, NoRoom, RecoverError, SlotError};
pub use limbo::{LeaseVisitor, Looked, Marks};
use onecopy_shm::crash_point;
pub use owners::Holding;
pub use recover::{FoundSlot, Unfinished};
pub use view::{PoolCounts, SlotView};

use crate::Serial;
use crate::control::{COLD_WORDS, ControlWriter, NOTE_WORDS};
use carve::legal;
use extents::{Extent, ExtentTable};
use onecopy_shm::{SERIAL_MAX, SlotRef, SlotState, SlotWord};
use owners::{Hold, OwnerTable};
use plan::{Plan, UNIT_COUNT_MAX};
use runs::Runs;
use slots::SlotTable;
pub(crate) use write_off::NOBODY;

/// The slots of a segment. Host only.
#[derive(Debug)]
pub struct VarSlotPool {
    control: ControlWriter,
    classes: ClassTable,
    /// The extent that each class is given where there is room.
    plans: Vec<Plan>,
    unit_bytes: u64,
    /// As last taken from the header.
    pool_bytes: u64,
    /// Whole units of the pool, the first one included.
    unit_count: u64,
    /// Slot numbers that may be used: 1 to this.
    slots_ready: u64,
    /// Units that belong to no class.
    units: Runs,
    /// Slot numbers that belong to no extent.
    ids: Runs,
    extents: ExtentTable,
    slots: SlotTable,
    owners: OwnerTable,
    /// Retired slots.
    limbo: Vec<u32>,
    /// Slots and bytes by state.
    tallies: [Holding; SlotState::ALL.len()],
    /// Bytes at the ends of extents that are in no slot.
    tail_bytes: u64,
    unfinished: Unfinished,
}

impl VarSlotPool {
    /// The pool of a segment that was just laid out. Its size is what the header publishes.
    pub fn create(control: ControlWriter) -> VarSlotPool {
        let mut pool = VarSlotPool::without_room(control);
        pool.grow();
        pool
    }

    fn without_room(control: ControlWriter) -> VarSlotPool {
        let geometry = control.geometry();
        let (classes, unit_bytes) =
            (ClassTable::of_geometry(&geometry.classes), geometry.unit_bytes);
        let plans = classes.sizes().iter().map(|&size| Plan::ideal(size, unit_bytes)).collect();
        VarSlotPool {
            plans,
            unit_bytes,
            pool_bytes: 0,
            unit_count: 0,
            slots_ready: 0,
            units: Runs::default(),
            ids: Runs::default(),
            extents: ExtentTable::new(classes.len()),
            slots: SlotTable::default(),
            owners: OwnerTable::new(classes.len()),
            limbo: Vec::new(),
            tallies: Default::default(),
            tail_bytes: 0,
            unfinished: Unfinished::default(),
            classes,
            control,
        }
    }

    /// Takes up the sizes that the header publishes now: call it after growth, once both areas are
    /// real and both sizes are stored. A size smaller than before is not taken.
    // r[impl pool.grow]
    // r[impl crash.g4]
    pub fn grow(&mut self) {
        let geometry = self.control.geometry();
        let pool_bytes = self.control.pool_bytes().min(geometry.pool_bytes_max);
        let slots_ready = self.control.slots_ready().min(geometry.slots_max);
        if pool_bytes > self.pool_bytes {
            let unit_count = (pool_bytes / self.unit_bytes).min(UNIT_COUNT_MAX);
            // Unit 0 has the pool's header.
            let first = self.unit_count.max(1);
            self.units.give(first as u32, unit_count.saturating_sub(first) as u32);
            (self.pool_bytes, self.unit_count) = (pool_bytes, unit_count);
        }
        if slots_ready > self.slots_ready {
            self.ids.give(self.slots_ready as u32 + 1, (slots_ready - self.slots_ready) as u32);
            self.slots_ready = slots_ready;
        }
    }

    /// The size classes.
    #[inline]
    pub fn classes(&self) -> &ClassTable {
        &self.classes
    }

    /// Grants a free slot to a guest (0: the host itself), to fill and publish or to give back.
    ///
    /// # Errors
    /// [`GrantError`]: no room, with the numbers that say where it is; a class or a serial that
    /// cannot be.
    // r[impl pool.grant]
    // r[impl crash.s1]
    // r[impl crash.s2]
    pub fn grant(&mut self, owner: Serial, class: ClassIndex) -> Result<SlotRef, GrantError> {
        if owner > SERIAL_MAX {
            return Err(GrantError::SerialTooLarge { serial: owner, serial_max: SERIAL_MAX });
        }
        if usize::from(class) >= self.classes.len() {
            return Err(GrantError::UnknownClass { class, class_count: self.classes.len() });
        }
        let extent = match self.extents.with_free(class) {
            Some(extent) => extent,
            None => self.make_free(class)?,
        };
        let slot = self.extents.take_free(extent, &self.slots);
        let word = self.slots[slot].word;
        self.hold(owner, Hold::Granted, slot);
        crash_point!("slot.grant.before");
        self.change(slot, legal(word.grant(owner), word));
        crash_point!("slot.grant.after");
        Ok(SlotRef { slot, generation: word.generation() })
    }

    /// Takes a granted slot back unused.
    ///
    /// # Errors
    /// [`SlotError`]: no such slot, another generation, not granted, not to this owner.
    pub fn give_back(&mut self, owner: Serial, slot: SlotRef) -> Result<(), SlotError> {
        let word = self.check_owned(owner, slot, SlotState::Granted)?;
        self.unhold(Hold::Granted, slot.slot);
        self.change(slot.slot, legal(word.give_back(), word));
        self.put_free(slot.slot);
        Ok(())
    }

    /// Publishes a granted slot: length, note and cold part first, then the word, in one store.
    ///
    /// # Errors
    /// [`SlotError`]: as for [`VarSlotPool::give_back`], or more bytes than the slot has.
    // r[impl pool.publish-order]
    // r[impl crash.s7]
    // r[impl crash.s8]
    pub fn publish(
        &mut self,
        owner: Serial,
        slot: SlotRef,
        length_bytes: u64,
        note: &[u64; NOTE_WORDS],
        cold: &[u64; COLD_WORDS],
    ) -> Result<(), SlotError> {
        let word = self.check_owned(owner, slot, SlotState::Granted)?;
        let (_, slot_bytes) = self.class_of(slot.slot);
        if length_bytes > slot_bytes {
            return Err(SlotError::TooLong { slot: slot.slot, length_bytes, slot_bytes });
        }
        self.unhold(Hold::Granted, slot.slot);
        self.slots[slot.slot].length_bytes = length_bytes;
        self.control.set_slot_publication(slot.slot, length_bytes, note, cold);
        crash_point!("slot.publish.noted");
        self.change(slot.slot, legal(word.publish(), word));
        crash_point!("slot.publish.stored");
        Ok(())
    }

    /// Takes back all slots granted to an owner and forgets the owner if nothing of it is
    /// quarantined. The cost is that of its slots. Doing it again does nothing.
    // r[impl pool.take-back]
    pub fn take_back(&mut self, owner: Serial) -> Holding {
        self.free_all(owner, Hold::Granted)
    }

    /// Moves all slots granted to an owner into quarantine: they are nobody's to use until
    /// [`VarSlotPool::release_quarantined`].
    // r[impl pool.quarantine]
    pub fn quarantine(&mut self, owner: Serial) -> Holding {
        // The host does not suspect itself, and what is quarantined of nobody is written off.
        if owner == NOBODY {
            return Holding::default();
        }
        let moved = self.granted_to(owner);
        while let Some(slot) = self.first_held(owner, Hold::Granted) {
            let word = self.slots[slot].word;
            self.unhold(Hold::Granted, slot);
            self.hold(owner, Hold::Quarantined, slot);
            self.change(slot, legal(word.quarantine(), word));
        }
        moved
    }

    /// Makes a slot that is granted to an owner, or quarantined as its, a grant of `heir`: the same
    /// process, which attached anew and still fills it.
    ///
    /// # Errors
    /// [`SlotError`]: as for [`VarSlotPool::give_back`].
    // r[impl pool.adopt]
    pub fn adopt(&mut self, owner: Serial, heir: Serial, slot: SlotRef) -> Result<(), SlotError> {
        // What is quarantined of nobody is written off.
        let is_quarantined = owner != NOBODY
            && self.slot(slot).is_some_and(|view| view.state == SlotState::Quarantined);
        let (state, hold) = match is_quarantined {
            true => (SlotState::Quarantined, Hold::Quarantined),
            false => (SlotState::Granted, Hold::Granted),
        };
        let word = self.check_owned(owner, slot, state)?;
        self.unhold(hold, slot.slot);
        self.hold(heir, Hold::Granted, slot.slot);
        self.change(slot.slot, legal(word.adopt(heir), word));
        Ok(())
    }

    /// Makes all that is quarantined as an owner's quarantined as `heir`'s: another attach of the same
    /// process.
    pub fn quarantine_as(&mut self, owner: Serial, heir: Serial) {
        if owner == NOBODY {
            return;
        }
        while let Some(slot) = self.first_held(owner, Hold::Quarantined) {
            let word = self.slots[slot].word;
            let moved = word.adopt(heir).and_then(SlotWord::quarantine);
            self.unhold(Hold::Quarantined, slot);
            self.hold(heir, Hold::Quarantined, slot);
            self.change(slot, legal(moved, word));
        }
    }

    /// Frees what of an owner is quarantined: it is proven gone. Forgets the owner if nothing is
    /// granted to it. What is written off stays.
    pub fn release_quarantined(&mut self, owner: Serial) -> Holding {
        if owner == NOBODY {
            return Holding::default();
        }
        self.free_all(owner, Hold::Quarantined)
    }

    fn free_all(&mut self, owner: Serial, hold: Hold) -> Holding {
        let freed = self.owners.of(owner).map_or(Holding::default(), |o| o.holding[hold as usize]);
        while let Some(slot) = self.first_held(owner, hold) {
            let word = self.slots[slot].word;
            let moved = match hold {
                Hold::Granted => word.give_back(),
                Hold::Quarantined => word.release(),
            };
            self.unhold(hold, slot);
            self.change(slot, legal(moved, word));
            self.put_free(slot);
        }
        self.owners.forget(owner);
        freed
    }

    fn first_held(&self, owner: Serial, hold: Hold) -> Option<u32> {
        let slot = self.owners.of(owner)?.first[hold as usize];
        (slot != slots::NO_SLOT).then_some(slot)
    }

    /// The word of a slot that somebody names, if it is the one they mean and in this state.
    // r[impl pool.believe-nothing]
    #[inline]
    fn check(&self, slot: SlotRef, expected: SlotState) -> Result<SlotWord, SlotError> {
        let SlotRef { slot, generation } = slot;
        let Some(entry) = self.slots.get(slot) else {
            return Err(SlotError::OutOfRange { slot, slots: self.slots.last() });
        };
        let word = entry.word;
        if word.generation() != generation {
            let found = word.generation();
            return Err(SlotError::WrongGeneration { slot, found, expected: generation });
        }
        if word.state() != expected {
            return Err(SlotError::WrongState { slot, found: word.state(), expected });
        }
        Ok(word)
    }

    #[inline]
    fn check_owned(
        &self,
        owner: Serial,
        slot: SlotRef,
        expected: SlotState,
    ) -> Result<SlotWord, SlotError> {
        let word = self.check(slot, expected)?;
        if word.owner() == owner {
            Ok(word)
        } else {
            let found = word.owner();
            Err(SlotError::WrongOwner { slot: slot.slot, found, expected: owner })
        }
    }

    /// Class and size in bytes of a carved slot.
    #[inline]
    fn class_of(&self, slot: u32) -> (ClassIndex, u64) {
        let class = self.extents.at(self.slots[slot].extent).class;
        (class, self.classes.slot_bytes(class))
    }

    fn slot_offset(&self, extent: &Extent, slot: u32) -> u64 {
        let start = u64::from(extent.unit_first) * self.unit_bytes;
        start + u64::from(slot - extent.slot_first) * self.classes.slot_bytes(extent.class)
    }

    /// The one place where a carved slot changes its state: private word, counts, shared word.
    #[inline]
    fn change(&mut self, slot: u32, word: SlotWord) {
        let (_, slot_bytes) = self.class_of(slot);
        let before = std::mem::replace(&mut self.slots[slot].word, word);
        self.tallies[before.state() as usize].subtract(slot_bytes);
        self.tallies[word.state() as usize].add(slot_bytes);
        self.control.set_slot_word(slot, word);
    }

    #[inline]
    fn put_free(&mut self, slot: u32) {
        self.slots[slot].length_bytes = 0;
        let extent = self.slots[slot].extent;
        self.extents.give_free(extent, slot, &mut self.slots);
    }

    #[inline]
    fn hold(&mut self, owner: Serial, hold: Hold, slot: u32) {
        let class = self.class_of(slot);
        let row = self.owners.row_or_new(owner);
        self.owners.link(&mut self.slots, (row, hold), slot, class);
    }

    #[inline]
    fn unhold(&mut self, hold: Hold, slot: u32) {
        let class = self.class_of(slot);
        self.owners.unlink(&mut self.slots, hold, slot, class);
    }
}

#[cfg(test)]
mod tests;
