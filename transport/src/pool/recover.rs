//! Taking a pool over from an earlier life of the host, which may have died between any two of
//! its stores.
//!
//! All is read and checked before anything is stored. The only thing put right is what an
//! interrupted carving or giving back leaves: free slots outside of any extent become uncarved.

use super::classes::ClassIndex;
use super::error::RecoverError;
use super::extents::Extent;
use super::owners::Hold;
use super::plan::UNIT_COUNT_MAX;
use super::{SlotRef, SlotState, SlotWord, VarSlotPool};
use crate::Serial;
use crate::audit::AuditReport;
use crate::control::ControlWriter;
use crate::error::Corrupt;
use onecopy_shm::SERIAL_MAX;

/// The most that a count from 0 by single steps can have come to: from there it still goes on.
const COUNT_MAX: u64 = u64::MAX >> 1;

/// A slot that an earlier life left in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundSlot {
    /// Which use of which slot.
    pub slot: SlotRef,
    /// Granted, published, retired or quarantined.
    pub state: SlotState,
    /// Who holds it; 0 is the host.
    pub owner: Serial,
    /// Its class.
    pub class: ClassIndex,
}

/// What an interrupted life left half done, and recovery finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// Slots of an extent that was being carved or given back.
    pub slots_uncarved: u64,
}

impl VarSlotPool {
    /// Takes over what the extent and slot tables say. Published slots stay published, granted and
    /// quarantined ones stay with their owners until the host decides, retired ones wait in limbo.
    /// The caller has checked that the control area's file holds all entries that the header
    /// publishes.
    ///
    /// # Errors
    /// [`RecoverError`]: content that no host leaves. Nothing was stored then.
    // r[impl pool.recover]
    pub fn recover(control: ControlWriter) -> Result<(VarSlotPool, Vec<FoundSlot>), RecoverError> {
        check_sizes(&control)?;
        let mut pool = VarSlotPool::create(control);
        let extents = pool.find_extents()?;
        pool.slots.grow_to(pool.slots_ready as u32);
        pool.find_words()?;
        let mut in_extent = vec![false; pool.slots_ready as usize + 1];
        for extent in &extents {
            pool.check_extent_slots(extent)?;
            in_extent[extent.slot_first as usize..][..extent.slot_count as usize].fill(true);
        }
        let left_over = pool.find_left_over(&in_extent)?;
        let found = pool.take_up(&extents);
        pool.finish(&left_over);
        let mut report = AuditReport::new();
        pool.audit(&mut report);
        if report.is_clean() { Ok((pool, found)) } else { Err(RecoverError::Inconsistent(report)) }
    }

    /// What the life before left half done.
    pub fn unfinished(&self) -> Unfinished {
        self.unfinished
    }

    fn find_extents(&mut self) -> Result<Vec<Extent>, RecoverError> {
        let mut extents = Vec::new();
        for unit in 0..self.control.geometry().units_max() {
            if let Some(extent) = self.find_extent(unit)? {
                extents.push(extent);
            }
        }
        Ok(extents)
    }

    fn find_extent(&mut self, unit: u64) -> Result<Option<Extent>, RecoverError> {
        let fields = self.control.extent(unit);
        if fields.slot_bytes == 0 {
            return Ok(None);
        }
        let corrupt = |what, found, expected| Corrupt { what, number: unit, found, expected };
        let class = self.classes.class_of(fields.slot_bytes).ok_or_else(|| {
            corrupt("slot size in the extent at unit", fields.slot_bytes, "a size of a class")
        })?;
        // Units and numbers are taken from the free runs, so no two extents can have the same.
        let units = narrow(unit).zip(narrow(fields.unit_count));
        let units = units.filter(|&(first, count)| self.units.take_exactly(first, count));
        let (unit_first, unit_count) = units.filter(|&(_, count)| count > 0).ok_or_else(|| {
            let what = "unit count of the extent at unit";
            corrupt(what, fields.unit_count, "a run of the pool's units that no extent has")
        })?;
        let fits = u64::from(unit_count) * self.unit_bytes / fields.slot_bytes;
        let slot_count = narrow(fields.slot_count).filter(|&n| (1..=fits).contains(&n.into()));
        let slot_count = slot_count.ok_or_else(|| {
            let what = "slot count of the extent at unit";
            corrupt(what, fields.slot_count, "at least 1 and as many as fit into its units")
        })?;
        let slot_first =
            narrow(fields.slot_first).filter(|&n| self.ids.take_exactly(n, slot_count));
        let slot_first = slot_first.ok_or_else(|| {
            let what = "first slot of the extent at unit";
            corrupt(what, fields.slot_first, "a run of slot numbers that no extent has")
        })?;
        Ok(Some(Extent::new(class, (unit_first, unit_count), (slot_first, slot_count))))
    }

    fn find_words(&mut self) -> Result<(), Corrupt> {
        let serial_last = self.control.serial_last();
        for slot in 1..=self.slots.last() {
            let bits = self.control.slot_word(slot);
            let word = SlotWord::decode(bits)
                .map_err(|_| corrupt_slot("word of slot", slot, bits, "a slot state word"))?;
            if u64::from(word.owner()) > serial_last {
                let what = "owner of slot";
                return Err(corrupt_slot(what, slot, word.owner().into(), "a serial given out"));
            }
            self.slots[slot].word = word;
        }
        Ok(())
    }

    fn check_extent_slots(&mut self, extent: &Extent) -> Result<(), Corrupt> {
        let slot_bytes = self.classes.slot_bytes(extent.class);
        for slot in extent.slots() {
            let word = self.slots[slot].word;
            if word.state() == SlotState::Uncarved {
                let what = "word of a slot in an extent,";
                return Err(corrupt_slot(what, slot, word.bits(), "the word of a carved slot"));
            }
            let offset = self.control.slot_offset(slot);
            if offset != self.slot_offset(extent, slot) {
                return Err(corrupt_slot(
                    "offset of slot",
                    slot,
                    offset,
                    "its place in its extent",
                ));
            }
            let found = self.control.slot_bytes(slot);
            if found != slot_bytes {
                return Err(corrupt_slot(
                    "size of slot",
                    slot,
                    found,
                    "that of its extent's class",
                ));
            }
            if matches!(word.state(), SlotState::Published | SlotState::Retired) {
                let length_bytes = self.control.slot_length(slot);
                if length_bytes > slot_bytes {
                    let expected = "at most the slot's size";
                    return Err(corrupt_slot("length of slot", slot, length_bytes, expected));
                }
                self.slots[slot].length_bytes = length_bytes;
            }
        }
        Ok(())
    }

    /// Slots outside of all extents that are not uncarved.
    fn find_left_over(&self, in_extent: &[bool]) -> Result<Vec<u32>, Corrupt> {
        let mut left_over = Vec::new();
        for slot in (1..=self.slots.last()).filter(|&slot| !in_extent[slot as usize]) {
            let word = self.slots[slot].word;
            match word.state() {
                SlotState::Uncarved => {}
                SlotState::Free => left_over.push(slot),
                _ => {
                    let what = "word of a slot outside of all extents,";
                    let expected = "an uncarved or free slot's word";
                    return Err(corrupt_slot(what, slot, word.bits(), expected));
                }
            }
        }
        Ok(left_over)
    }

    fn take_up(&mut self, extents: &[Extent]) -> Vec<FoundSlot> {
        let mut found = Vec::new();
        for extent in extents {
            self.add_extent(*extent);
            for slot in extent.slots() {
                let word = self.slots[slot].word;
                match word.state() {
                    SlotState::Uncarved | SlotState::Free => continue,
                    SlotState::Granted => self.hold(word.owner(), Hold::Granted, slot),
                    SlotState::Quarantined => self.hold(word.owner(), Hold::Quarantined, slot),
                    SlotState::Retired => self.limbo.push(slot),
                    SlotState::Published => {}
                }
                found.push(FoundSlot {
                    slot: SlotRef { slot, generation: word.generation() },
                    state: word.state(),
                    owner: word.owner(),
                    class: extent.class,
                });
            }
        }
        found
    }

    // r[impl pool.recover-finish]
    fn finish(&mut self, left_over: &[u32]) {
        for &slot in left_over {
            let word = self.slots[slot].word;
            self.slots[slot].word = super::legal(word.uncarve(), word);
            self.control.set_slot_word(slot, self.slots[slot].word);
        }
        self.unfinished.slots_uncarved = left_over.len() as u64;
    }
}

fn check_sizes(control: &ControlWriter) -> Result<(), RecoverError> {
    let geometry = control.geometry();
    let header = |what, found, max| {
        let corrupt =
            Corrupt { what, number: 0, found, expected: "at most the largest there can be" };
        if found <= max { Ok(()) } else { Err(corrupt) }
    };
    header("pool size", control.pool_bytes(), geometry.pool_bytes_max)?;
    header("number of slots", control.slots_ready(), geometry.slots_max)?;
    header("last serial", control.serial_last(), SERIAL_MAX.into())?;
    header("boot epoch", control.boot_epoch(), COUNT_MAX)?;
    header("coarse clock", control.coarse_clock_s(), COUNT_MAX)?;
    let units = geometry.units_max();
    if units > UNIT_COUNT_MAX { Err(RecoverError::TooManyUnits { units }) } else { Ok(()) }
}

fn narrow(number: u64) -> Option<u32> {
    u32::try_from(number).ok()
}

fn corrupt_slot(what: &'static str, slot: u32, found: u64, expected: &'static str) -> Corrupt {
    Corrupt { what, number: slot.into(), found, expected }
}
