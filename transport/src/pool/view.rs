//! What the pool tells about itself.

use super::classes::ClassIndex;
use super::owners::{Hold, Holding};
use super::slots::NO_SLOT;
use super::write_off::NOBODY;
use super::{VarSlotPool, slots::Slot};
use crate::Serial;
use crate::control::{COLD_WORDS, NOTE_WORDS};
use onecopy_shm::{SlotRef, SlotState};

/// One slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotView {
    /// Where it is in its life.
    pub state: SlotState,
    /// Who holds it; 0 is the host.
    pub owner: Serial,
    /// Its class.
    pub class: ClassIndex,
    /// Its offset in the pool, in bytes.
    pub offset: u64,
    /// Its size in bytes.
    pub slot_bytes: u64,
    /// Bytes published in it; 0 unless it is published or retired.
    pub length_bytes: u64,
}

/// Slots and bytes by what they are used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounts {
    /// Free slots.
    pub free: Holding,
    /// Slots that guests may fill.
    pub granted: Holding,
    /// Slots that can be found.
    pub published: Holding,
    /// Slots that wait for their last lease.
    pub retired: Holding,
    /// Slots whose last user is suspected and not proven dead.
    pub quarantined: Holding,
    /// Slots that nobody may ever use again.
    pub written_off: Holding,
    /// Bytes that belong to no class.
    pub bytes_uncarved: u64,
    /// Bytes that no slot can have: the first unit, what is left over at the end of each extent,
    /// and of the pool.
    pub bytes_unusable: u64,
    /// Bytes of the pool. The sum of all the others.
    pub pool_bytes: u64,
    /// Bytes the pool may ever have.
    pub pool_bytes_max: u64,
    /// Extents in use.
    pub extents: u64,
    /// Extents without a used slot.
    pub extents_empty: u64,
    /// Slot numbers that belong to no extent.
    pub slots_left: u64,
}

impl VarSlotPool {
    /// The slot, if the reference is of its present generation and it has memory.
    pub fn slot(&self, slot: SlotRef) -> Option<SlotView> {
        let entry = self.slots.get(slot.slot)?;
        (entry.word.generation() == slot.generation && entry.word.state() != SlotState::Uncarved)
            .then(|| self.view(slot.slot, entry))
    }

    fn view(&self, slot: u32, entry: &Slot) -> SlotView {
        let extent = self.extents.at(entry.extent);
        let slot_bytes = self.classes.slot_bytes(extent.class);
        SlotView {
            state: entry.word.state(),
            owner: entry.word.owner(),
            class: extent.class,
            offset: self.slot_offset(extent, slot),
            slot_bytes,
            length_bytes: entry.length_bytes,
        }
    }

    /// The reference of a slot that is published now.
    #[inline]
    pub fn published(&self, slot: u32) -> Option<SlotRef> {
        let word = self.slots.get(slot)?.word;
        (word.state() == SlotState::Published)
            .then_some(SlotRef { slot, generation: word.generation() })
    }

    /// Every published slot, by number.
    pub fn all_published(&self) -> impl Iterator<Item = SlotRef> + '_ {
        (1..=self.slots.last()).filter_map(|slot| self.published(slot))
    }

    /// The service's note on a slot: what was stored when it was last published.
    #[inline]
    pub fn note(&self, slot: u32) -> [u64; NOTE_WORDS] {
        self.control.slot_note(slot)
    }

    /// One word of the service's note, from 0.
    #[inline]
    pub fn note_word(&self, slot: u32, word: usize) -> u64 {
        self.control.slot_note_word(slot, word)
    }

    /// The service's cold part of a slot.
    pub fn cold(&self, slot: u32) -> [u64; COLD_WORDS] {
        self.control.slot_cold(slot)
    }

    /// Stores one word of the service's cold part of a slot, from 0. For figures that may be torn
    /// from the rest, as the time of last use; nothing if there is no such slot.
    pub fn set_cold_word(&mut self, slot: u32, word: usize, value: u64) {
        if self.slots.get(slot).is_some() {
            self.control.set_slot_cold_word(slot, word, value);
        }
    }

    /// Everybody to whom something is granted, or of whom something is quarantined. What is written
    /// off is nobody's.
    pub fn owners(&self) -> Vec<Serial> {
        let holds = |owner: &&super::owners::Owner| {
            let [granted, quarantined] = owner.holding;
            granted.slots > 0 || (owner.serial != NOBODY && quarantined.slots > 0)
        };
        self.owners.iter().map(|(_, owner)| owner).filter(holds).map(|owner| owner.serial).collect()
    }

    /// What is granted to an owner.
    #[inline]
    pub fn granted_to(&self, owner: Serial) -> Holding {
        self.holding(owner, Hold::Granted)
    }

    /// What of an owner is quarantined.
    pub fn quarantined_of(&self, owner: Serial) -> Holding {
        self.holding(owner, Hold::Quarantined)
    }

    /// How many slots of a class are granted to an owner.
    #[inline]
    pub fn granted_of_class(&self, owner: Serial, class: ClassIndex) -> u32 {
        let owner = self.owners.of(owner);
        owner.and_then(|owner| owner.granted_by_class.get(usize::from(class)).copied()).unwrap_or(0)
    }

    /// The slots granted to an owner, the last one first.
    pub fn granted_slots(&self, owner: Serial) -> impl Iterator<Item = SlotRef> + '_ {
        let row = self.owners.row(owner);
        row.into_iter()
            .flat_map(|row| self.owners.listed(&self.slots, row, Hold::Granted))
            .filter(|&slot| slot != NO_SLOT)
            .map(|slot| SlotRef { slot, generation: self.slots[slot].word.generation() })
    }

    fn holding(&self, owner: Serial, hold: Hold) -> Holding {
        self.owners.of(owner).map_or(Holding::default(), |owner| owner.holding[hold as usize])
    }

    /// Slots that the pool has in this class, whatever their state.
    #[inline]
    pub fn slots_of_class(&self, class: ClassIndex) -> u32 {
        self.extents.lists.get(usize::from(class)).map_or(0, |lists| lists.slots)
    }

    /// Retired slots that wait for their last lease.
    #[inline]
    pub fn limbo_len(&self) -> usize {
        self.limbo.len()
    }

    /// Slots and bytes by what they are used for.
    pub fn counts(&self) -> PoolCounts {
        let tally = |state: SlotState| self.tallies[state as usize];
        let units = self.unit_count * self.unit_bytes;
        let written_off = self.written_off();
        let first_unit = self.unit_bytes.min(units);
        PoolCounts {
            free: tally(SlotState::Free),
            granted: tally(SlotState::Granted),
            published: tally(SlotState::Published),
            retired: tally(SlotState::Retired),
            quarantined: tally(SlotState::Quarantined).without(written_off),
            written_off,
            bytes_uncarved: self.units.total() * self.unit_bytes,
            bytes_unusable: first_unit + self.tail_bytes + self.pool_bytes.saturating_sub(units),
            pool_bytes: self.pool_bytes,
            pool_bytes_max: self.control.geometry().pool_bytes_max,
            extents: self.extents.len(),
            extents_empty: self.extents.empty_count(),
            slots_left: self.ids.total(),
        }
    }
}
