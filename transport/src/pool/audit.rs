//! Looking through everything the pool knows: is every granule in exactly one place, and do the
//! shared words say the same?

use super::extents::{Extent, Fill, NO_EXTENT};
use super::owners::{Hold, Owner};
use super::slots::{NO_SLOT, Slot};
use super::{Holding, PoolCounts, SlotState, SlotWord, VarSlotPool};
use crate::audit::AuditReport;

/// The one list that a slot is met in; each is met once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    FreeList,
    GrantedList,
    QuarantinedList,
    Limbo,
}

impl Place {
    /// Where a slot in this state belongs.
    fn of(state: SlotState) -> Place {
        match state {
            SlotState::Free => Place::FreeList,
            SlotState::Granted => Place::GrantedList,
            SlotState::Quarantined => Place::QuarantinedList,
            SlotState::Retired => Place::Limbo,
            SlotState::Uncarved | SlotState::Published => Place::Nowhere,
        }
    }
}

/// What was met so far.
struct Walk<'a> {
    pool: &'a VarSlotPool,
    report: &'a mut AuditReport,
    places: Vec<Place>,
    /// Whether a slot is in an extent.
    carved: Vec<bool>,
}

impl VarSlotPool {
    /// Adds what is wrong with the pool: every granule is in one place, every slot in the list its
    /// state says and in no other, counts add up, shared words equal the private ones.
    // r[impl pool.audit]
    pub fn audit(&self, report: &mut AuditReport) {
        let slots = self.slots.last() as usize + 1;
        let (places, carved) = (vec![Place::Nowhere; slots], vec![false; slots]);
        let mut walk = Walk { pool: self, report, places, carved };
        walk.units();
        walk.extents();
        walk.class_lists();
        walk.owners();
        walk.limbo();
        walk.slots();
        walk.totals();
    }
}

impl Walk<'_> {
    /// Every unit is free, in one extent, or the first one; the shared table says the same.
    fn units(&mut self) {
        let pool = self.pool;
        for (name, runs) in [("unit", &pool.units), ("slot number", &pool.ids)] {
            if let Some(fault) = runs.faults() {
                self.report.find("pool.runs", format_args!("{name}: {fault}"));
            }
        }
        let mut used: Vec<(u64, u64, bool)> = pool
            .extents
            .iter()
            .map(|(_, extent)| (extent.unit_first.into(), extent.unit_count.into(), true))
            .chain(pool.units.iter().map(|(first, count)| (first.into(), count.into(), false)))
            .collect();
        used.sort_unstable();
        let mut end = 1.min(pool.unit_count);
        for (first, count, is_extent) in used {
            if first != end {
                let text = format_args!("units {end} to {first} are in two places or in none");
                self.report.find("pool.units", text);
            }
            end = first + count;
            let inside = if is_extent { first + 1..end } else { first..end };
            self.no_extent_at(inside);
        }
        self.no_extent_at(0..1);
        self.no_extent_at(pool.unit_count.max(1)..pool.control.geometry().units_max());
        self.report.expect_equal("pool.units", "end of the last unit", end, pool.unit_count);
    }

    fn no_extent_at(&mut self, units: std::ops::Range<u64>) {
        for unit in units {
            let found = self.pool.control.extent(unit).slot_bytes;
            if found != 0 {
                let text = format_args!("slot size {found} at unit {unit}, where no extent starts");
                self.report.find("pool.extent", text);
            }
        }
    }

    fn extents(&mut self) {
        let mut ids: Vec<(u64, u64)> =
            self.pool.ids.iter().map(|(first, count)| (first.into(), count.into())).collect();
        for (number, extent) in self.pool.extents.iter() {
            ids.push((extent.slot_first.into(), extent.slot_count.into()));
            self.extent_entry(extent);
            self.extent_slots(number, extent);
            self.free_list(extent);
        }
        ids.sort_unstable();
        let mut end = 1;
        for (first, count) in ids {
            if first != end {
                let text = format_args!("slots {end} to {first} are in two extents or in none");
                self.report.find("pool.extent", text);
            }
            end = first + count;
        }
        let last = self.pool.slots_ready;
        self.report.expect_equal("pool.extent", "last slot number", end - 1, last);
    }

    fn extent_entry(&mut self, extent: &Extent) {
        let fields = self.pool.control.extent(extent.unit_first.into());
        let slot_bytes = self.pool.classes.slot_bytes(extent.class);
        for (what, found, expected) in [
            ("slot size", fields.slot_bytes, slot_bytes),
            ("unit count", fields.unit_count, extent.unit_count.into()),
            ("first slot", fields.slot_first, extent.slot_first.into()),
            ("slot count", fields.slot_count, extent.slot_count.into()),
        ] {
            if found != expected {
                let unit = extent.unit_first;
                let text = format_args!("{what} at unit {unit} is {found}, expected {expected}");
                self.report.find("pool.extent", text);
            }
        }
    }

    fn extent_slots(&mut self, number: u32, extent: &Extent) {
        let pool = self.pool;
        let slot_bytes = pool.classes.slot_bytes(extent.class);
        for slot in extent.slots() {
            let Some(entry) = pool.slots.get(slot) else {
                self.report.find("pool.slot", format_args!("slot {slot} is not in the table"));
                continue;
            };
            self.carved[slot as usize] = true;
            let offset = pool.slot_offset(extent, slot);
            for (what, found, expected) in [
                ("extent", entry.extent.into(), number.into()),
                ("shared offset", pool.control.slot_offset(slot), offset),
                ("shared size", pool.control.slot_bytes(slot), slot_bytes),
            ] {
                self.slot_equal(slot, what, found, expected);
            }
            if entry.word.state() == SlotState::Uncarved {
                let text = format_args!("slot {slot} is uncarved, but in extent {number}");
                self.report.find("pool.slot", text);
            }
        }
    }

    fn free_list(&mut self, extent: &Extent) {
        let follow = |&slot: &u32| self.pool.slots.get(slot).map(|entry| entry.next);
        let listed: Vec<u32> = std::iter::successors(Some(extent.free_first), follow)
            .take_while(|&slot| slot != NO_SLOT)
            .take(extent.slot_count as usize + 1)
            .collect();
        for &slot in &listed {
            if !extent.slots().contains(&slot) {
                let unit = extent.unit_first;
                let text =
                    format_args!("slot {slot} is in the free list of another extent, {unit}");
                self.report.find("pool.free", text);
            }
            self.meet(slot, Place::FreeList);
        }
        let (found, expected) = (listed.len() as u64, extent.free_count.into());
        self.report.expect_equal("pool.free", "length of a free list", found, expected);
    }

    /// Every extent with free slots is in the one list of its class that it belongs in.
    fn class_lists(&mut self) {
        let pool = self.pool;
        let mut listed = vec![Fill::Full; pool.extents.extents.len()];
        for class in 0..pool.classes.len() {
            for fill in [Fill::Partial, Fill::Empty] {
                self.class_list(class, fill, &mut listed);
            }
        }
        let mut empty = 0;
        let mut slots = vec![0; pool.classes.len()];
        for (number, extent) in pool.extents.iter() {
            slots[usize::from(extent.class)] += extent.slot_count;
            let (found, expected) = (listed[number as usize], extent.fill());
            empty += u64::from(expected == Fill::Empty);
            if found != expected {
                let text =
                    format_args!("extent {number} is listed as {found:?}, expected {expected:?}");
                self.report.find("pool.class", text);
            }
        }
        self.report.expect_equal("pool.class", "empty extents", pool.extents.empty_count(), empty);
        for (class, slots) in (0..).zip(slots) {
            let found = pool.slots_of_class(class);
            self.report.expect_equal("pool.class", "slots of a class", found.into(), slots.into());
        }
    }

    fn class_list(&mut self, class: usize, fill: Fill, listed: &mut [Fill]) {
        let mut previous = NO_EXTENT;
        for number in self.pool.extents.listed(class, fill) {
            let extent = self.pool.extents.get(number);
            let right = extent.is_some_and(|extent| {
                extent.in_use && usize::from(extent.class) == class && extent.previous == previous
            });
            let new = listed.get(number as usize) == Some(&Fill::Full);
            if !right || !new {
                let text = format_args!("extent {number} does not belong in a list of {class}");
                self.report.find("pool.class", text);
            }
            let Some(place) = listed.get_mut(number as usize).filter(|_| new) else { break };
            *place = fill;
            previous = number;
        }
    }

    fn owners(&mut self) {
        let pool = self.pool;
        for (row, owner) in pool.owners.iter() {
            let found = pool.owners.row(owner.serial).unwrap_or(u32::MAX);
            self.report.expect_equal("pool.owner", "row of an owner", found.into(), row.into());
            let by_class = self.owner_list(row, owner, Hold::Granted, Place::GrantedList);
            if by_class != owner.granted_by_class {
                let text = format_args!("counts of {} by class are wrong", owner.serial);
                self.report.find("pool.owner", text);
            }
            self.owner_list(row, owner, Hold::Quarantined, Place::QuarantinedList);
        }
    }

    /// Follows one list of an owner. Returns how many slots of each class are in it.
    fn owner_list(&mut self, row: u32, owner: &Owner, hold: Hold, place: Place) -> Vec<u32> {
        let pool = self.pool;
        let mut by_class = vec![0_u32; pool.classes.len()];
        let mut holding = Holding::default();
        let mut previous = NO_SLOT;
        for slot in pool.owners.listed(&pool.slots, row, hold) {
            self.meet(slot, place);
            let Some(entry) = pool.slots.get(slot) else { break };
            self.slot_equal(slot, "owner", entry.word.owner().into(), owner.serial.into());
            self.slot_equal(slot, "link back", entry.previous.into(), previous.into());
            previous = slot;
            if let Some(extent) = pool.extents.get(entry.extent) {
                holding.add(pool.classes.slot_bytes(extent.class));
                by_class[usize::from(extent.class)] += 1;
            }
        }
        let found = owner.holding[hold as usize];
        if found != holding {
            let serial = owner.serial;
            let text = format_args!("{serial} holds {holding:?} {hold:?}, counted {found:?}");
            self.report.find("pool.owner", text);
        }
        by_class
    }

    fn limbo(&mut self) {
        for &slot in &self.pool.limbo {
            self.meet(slot, Place::Limbo);
            let mark = self.pool.slots.get(slot).map_or(0, |entry| entry.previous);
            self.slot_equal(slot, "mark of a look", mark.into(), super::limbo::UNSEEN.into());
        }
    }

    /// Every slot was met where its state says; its shared words are copies of the private ones.
    fn slots(&mut self) {
        let pool = self.pool;
        for slot in 1..=pool.slots_ready as u32 {
            let entry = pool.slots.get(slot).copied().unwrap_or(Slot::UNCARVED);
            self.slot_word(slot, &entry);
            let carved = self.carved.get(slot as usize) == Some(&true);
            if !carved && entry.word.state() != SlotState::Uncarved {
                let state = entry.word.state();
                let text = format_args!("slot {slot} is {state}, but in no extent");
                self.report.find("pool.slot", text);
            }
            let met = self.places.get(slot as usize).copied().unwrap_or(Place::Nowhere);
            let expected = Place::of(entry.word.state());
            if met != expected {
                let text = format_args!("slot {slot} is in place {met:?}, expected {expected:?}");
                self.report.find("pool.slot", text);
            }
        }
    }

    fn slot_word(&mut self, slot: u32, entry: &Slot) {
        let bits = self.pool.control.slot_word(slot);
        if SlotWord::decode(bits) != Ok(entry.word) {
            let expected = entry.word.bits();
            let text =
                format_args!("shared word of slot {slot} is {bits:#x}, expected {expected:#x}");
            self.report.find("pool.slot", text);
        }
        if matches!(entry.word.state(), SlotState::Published | SlotState::Retired) {
            let length_bytes = self.pool.control.slot_length(slot);
            self.slot_equal(slot, "shared length", length_bytes, entry.length_bytes);
        } else {
            self.slot_equal(slot, "length", entry.length_bytes, 0);
        }
    }

    /// Counts by state add up, together with what no slot has, to the size of the pool.
    fn totals(&mut self) {
        let pool = self.pool;
        let mut tallies = [Holding::default(); SlotState::ALL.len()];
        let mut tail_bytes = 0;
        for (_, extent) in pool.extents.iter() {
            tail_bytes += pool.tail_of(extent);
            for entry in extent.slots().filter_map(|slot| pool.slots.get(slot)) {
                tallies[entry.word.state() as usize].add(pool.classes.slot_bytes(extent.class));
            }
        }
        self.report.expect_equal("pool.count", "bytes at ends", pool.tail_bytes, tail_bytes);
        for state in SlotState::ALL {
            let (found, expected) = (pool.tallies[state as usize], tallies[state as usize]);
            if found != expected {
                let text = format_args!("{state} slots are {expected:?}, counted {found:?}");
                self.report.find("pool.count", text);
            }
        }
        let counts = pool.counts();
        let PoolCounts { free, granted, published, retired, quarantined, written_off, .. } = counts;
        let states = [free, granted, published, retired, quarantined, written_off];
        let bytes = states.iter().map(|holding| holding.bytes).sum::<u64>();
        let found = bytes + counts.bytes_uncarved + counts.bytes_unusable;
        self.report.expect_equal("pool.count", "sum of all bytes", found, counts.pool_bytes);
        let header = pool.control.pool_bytes();
        if header < counts.pool_bytes {
            let text = format_args!("{} bytes, published {header}", counts.pool_bytes);
            self.report.find("pool.count", text);
        }
        for (name, value) in [
            ("pool.pool_bytes", counts.pool_bytes),
            ("pool.slots_free", counts.free.slots),
            ("pool.slots_granted", counts.granted.slots),
            ("pool.slots_published", counts.published.slots),
            ("pool.slots_retired", counts.retired.slots),
            ("pool.slots_quarantined", counts.quarantined.slots),
            ("pool.slots_written_off", counts.written_off.slots),
            ("pool.bytes_uncarved", counts.bytes_uncarved),
            ("pool.extents", counts.extents),
        ] {
            self.report.count(name, value);
        }
    }

    fn meet(&mut self, slot: u32, place: Place) {
        match self.places.get_mut(slot as usize) {
            Some(met) if *met == Place::Nowhere => *met = place,
            Some(met) => {
                let text = format_args!("slot {slot} is in places {met:?} and {place:?}");
                self.report.find("pool.slot", text);
            }
            None => {
                let text = format_args!("slot {slot} in place {place:?} is not in the table");
                self.report.find("pool.slot", text);
            }
        }
    }

    fn slot_equal(&mut self, slot: u32, what: &str, found: u64, expected: u64) {
        if found != expected {
            let text = format_args!("{what} of slot {slot} is {found}, expected {expected}");
            self.report.find("pool.slot", text);
        }
    }
}
