//! Giving memory to a class, and taking it back when it is empty.
//!
//! The order of the stores makes every prefix recoverable. Carving stores the places and words of
//! all slots first and the extent entry last; giving back clears the extent entry first. So an
//! extent that the table names is whole, and slots that are free outside of any extent are what a
//! host left that died in between: `recover` makes them uncarved.

use super::VarSlotPool;
use super::classes::ClassIndex;
use super::error::NoRoom;
use super::extents::Extent;
use super::plan::Plan;
use crate::control::ExtentFields;
use onecopy_shm::crash_point;
use onecopy_shm::{SlotState, SlotWord};

impl VarSlotPool {
    /// Makes free slots of a class that has none. Room comes from what belongs to no class; then
    /// empty extents of other classes are given back until a whole extent fits; then a shorter
    /// one will do.
    // r[impl pool.rooms]
    #[cold]
    pub(super) fn make_free(&mut self, class: ClassIndex) -> Result<u32, NoRoom> {
        let ideal = self.plans[usize::from(class)];
        let slot_bytes = self.classes.slot_bytes(class);
        loop {
            let (units, ids) = (self.units.longest(), self.ids.longest());
            let plan = ideal.fit(slot_bytes, self.unit_bytes, units, ids);
            if plan != Some(ideal)
                && let Some(extent) = self.extents.any_empty()
            {
                self.uncarve(extent);
                continue;
            }
            let extent = plan.and_then(|plan| self.carve(class, plan));
            return extent.ok_or_else(|| self.no_room(class));
        }
    }

    fn no_room(&self, class: ClassIndex) -> NoRoom {
        let limbo = self.tallies[SlotState::Retired as usize];
        NoRoom {
            class,
            slot_bytes: self.classes.slot_bytes(class),
            free_bytes_elsewhere: self.tallies[SlotState::Free as usize].bytes,
            uncarved_bytes: self.units.total() * self.unit_bytes,
            limbo_slots: limbo.slots,
            limbo_bytes: limbo.bytes,
            slots_left: self.ids.total(),
            growable_bytes: self.control.geometry().pool_bytes_max - self.pool_bytes,
        }
    }

    // r[impl pool.carve-order]
    // r[impl crash.h.carve]
    fn carve(&mut self, class: ClassIndex, plan: Plan) -> Option<u32> {
        let unit_first = self.units.take(plan.units)?;
        let Some(slot_first) = self.ids.take(plan.slots) else {
            self.units.give(unit_first, plan.units);
            return None;
        };
        let slot_bytes = self.classes.slot_bytes(class);
        let extent = Extent::new(class, (unit_first, plan.units), (slot_first, plan.slots));
        self.slots.grow_to(slot_first + plan.slots - 1);
        for slot in extent.slots() {
            let entry = &mut self.slots[slot];
            entry.word = legal(entry.word.carve(), entry.word);
            let word = entry.word;
            self.control.set_slot_place(slot, self.slot_offset(&extent, slot), slot_bytes);
            self.control.set_slot_word(slot, word);
        }
        crash_point!("host.carve.words_stored");
        self.control.set_extent(
            unit_first.into(),
            &ExtentFields {
                slot_bytes,
                unit_count: plan.units.into(),
                slot_first: slot_first.into(),
                slot_count: plan.slots.into(),
            },
        );
        Some(self.add_extent(extent))
    }

    /// Takes up an extent whose slots are free, or will be moved on by `recover`: tables, free
    /// list, counts. No shared store.
    pub(super) fn add_extent(&mut self, extent: Extent) -> u32 {
        let slot_bytes = self.classes.slot_bytes(extent.class);
        let number = self.extents.add(extent);
        // The lowest slot is given last, and so is taken first.
        for slot in extent.slots().rev() {
            self.slots[slot].extent = number;
            if self.slots[slot].word.state() == SlotState::Free {
                self.extents.give_free(number, slot, &mut self.slots);
            }
            self.tallies[self.slots[slot].word.state() as usize].add(slot_bytes);
        }
        self.tail_bytes += self.tail_of(&extent);
        number
    }

    // r[impl pool.give-back-order]
    // r[impl crash.h.uncarve]
    fn uncarve(&mut self, number: u32) {
        let extent = *self.extents.at(number);
        let slot_bytes = self.classes.slot_bytes(extent.class);
        self.extents.remove(number);
        self.control.clear_extent(extent.unit_first.into());
        crash_point!("host.uncarve.extent_cleared");
        for slot in extent.slots() {
            let entry = &mut self.slots[slot];
            entry.word = legal(entry.word.uncarve(), entry.word);
            self.control.set_slot_word(slot, entry.word);
            self.tallies[SlotState::Free as usize].subtract(slot_bytes);
        }
        self.tail_bytes -= self.tail_of(&extent);
        self.units.give(extent.unit_first, extent.unit_count);
        self.ids.give(extent.slot_first, extent.slot_count);
    }

    pub(super) fn tail_of(&self, extent: &Extent) -> u64 {
        let plan = Plan { units: extent.unit_count, slots: extent.slot_count };
        plan.waste_bytes(self.classes.slot_bytes(extent.class), self.unit_bytes)
    }
}

/// A transition that the lists say is legal. Where the private table contradicts them the word
/// stays as it is, and `audit` says so.
pub(super) fn legal<E>(moved: Result<SlotWord, E>, before: SlotWord) -> SlotWord {
    debug_assert!(moved.is_ok(), "{before:?} is in a list of slots in another state");
    moved.unwrap_or(before)
}
