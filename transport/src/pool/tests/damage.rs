//! What an audit must find, and what must not be recovered.

use super::*;
use crate::control::ExtentFields;
use onecopy_shm::{Region, Word};
use proptest::prelude::*;
use std::sync::atomic::Ordering;

/// A pool with something of everything, and a way to write over its shared words.
struct Patient {
    pool: VarSlotPool,
    control: ControlWriter,
    memory: Region,
    granted: SlotRef,
    published: SlotRef,
    retired: SlotRef,
    free: u32,
}

impl Patient {
    fn new() -> Patient {
        let geometry = geometry();
        let mapping = Mapping::heap(ControlLayout::new(&geometry).size_bytes).unwrap();
        let memory = mapping.region(0, mapping.size_bytes()).unwrap();
        let control = ControlWriter::initialise(mapping, &geometry, 5).unwrap();
        control.set_serial_last(9);
        control.set_slots_ready(geometry.slots_max);
        control.set_pool_bytes(16 * geometry.unit_bytes);
        let mut pool = VarSlotPool::create(control.clone());
        let [granted, published, retired, free, _] = [(); 5].map(|()| pool.grant(1, 0).unwrap());
        for slot in [published, retired] {
            publish(&mut pool, 1, slot);
        }
        pool.retire(retired).unwrap();
        pool.give_back(1, free).unwrap();
        for class in [1, 1] {
            pool.grant(2, class).unwrap();
        }
        pool.quarantine(2);
        pool.grant(3, 2).unwrap();
        pool.take_back(3);
        assert!(pool.extents.empty_count() > 0);
        assert_clean(&pool);
        let free = free.slot;
        Patient { pool, control, memory, granted, published, retired, free }
    }

    /// The shared word at an offset in the control area.
    fn word(&self, offset: u64) -> Word {
        self.memory.word(offset).unwrap()
    }

    /// The word of a field in the hot entry of a slot, by its number.
    fn hot(&self, slot: u32, field: u64) -> Word {
        self.word(self.control.layout().slots + (u64::from(slot) - 1) * 64 + field * 8)
    }

    fn snapshot(&self) -> Vec<u64> {
        let count = self.memory.size_bytes() / 8;
        let words = self.memory.read_words(0, count).unwrap();
        (0..count).map(|word| words.load(word, Ordering::Relaxed).unwrap()).collect()
    }
}

type Damage = fn(&mut Patient);

fn change_extent(patient: &Patient, unit: u64, change: fn(&mut ExtentFields)) {
    let mut fields = patient.control.extent(unit);
    change(&mut fields);
    patient.control.set_extent(unit, &fields);
}

fn store(word: &Word, value: u64) {
    word.store(value, Ordering::Relaxed);
}

// r[verify pool.audit]
#[test]
fn damage_to_shared_words_is_found() {
    let damages: &[(&str, Damage)] = &[
        ("word", |p| store(&p.hot(p.published.slot, 0), 1 << 32 | 1 << 28)),
        ("generation", |p| {
            let word = p.hot(p.published.slot, 0);
            store(&word, word.load(Ordering::Relaxed) + (1 << 32));
        }),
        ("unknown state", |p| store(&p.hot(p.free, 0), 9 << 28)),
        ("uncarved word", |p| store(&p.hot(96, 0), 1 << 32 | 1 << 28)),
        ("offset", |p| store(&p.hot(p.granted.slot, 1), 64)),
        ("length", |p| store(&p.hot(p.published.slot, 2), 11)),
        ("length of a retired slot", |p| store(&p.hot(p.retired.slot, 2), 0)),
        ("size", |p| p.control.set_slot_place(p.free, p.control.slot_offset(p.free), 128)),
        ("extent's slot size", |p| change_extent(p, 1, |e| e.slot_bytes = 192)),
        ("extent gone", |p| p.control.clear_extent(1)),
        ("extent's units", |p| change_extent(p, 1, |e| e.unit_count += 1)),
        ("extent's first slot", |p| change_extent(p, 1, |e| e.slot_first += 1)),
        ("extent's slots", |p| change_extent(p, 1, |e| e.slot_count -= 1)),
        ("an extent in the first unit", |p| change_extent(p, 0, |e| e.slot_bytes = 64)),
        ("an extent in another", |p| change_extent(p, 3, |e| e.slot_bytes = 64)),
        ("an extent in a free unit", |p| change_extent(p, 15, |e| e.slot_bytes = 64)),
        ("published size", |p| p.control.set_pool_bytes(512)),
    ];
    for (name, damage) in damages {
        let mut patient = Patient::new();
        damage(&mut patient);
        assert!(!audit(&patient.pool).is_clean(), "{name}");
    }
}

fn empty_extent(pool: &VarSlotPool) -> u32 {
    pool.extents.listed(2, extents::Fill::Empty).next().unwrap()
}

fn partial_extent(pool: &VarSlotPool) -> u32 {
    pool.extents.listed(0, extents::Fill::Partial).next().unwrap()
}

// r[verify pool.audit]
#[test]
fn damage_to_the_private_lists_is_found() {
    let damages: &[(&str, Damage)] = &[
        ("a slot in limbo twice", |p| p.pool.limbo.push(p.retired.slot)),
        ("a free slot in limbo", |p| p.pool.limbo.push(p.free)),
        ("limbo lost", |p| p.pool.limbo.clear()),
        ("limbo beyond the table", |p| p.pool.limbo.push(u32::MAX)),
        ("a mark left", |p| p.pool.slots[p.retired.slot].previous = 1),
        ("free list cut", |p| p.pool.slots[p.free].next = slots::NO_SLOT),
        ("free list in a circle", |p| p.pool.slots[p.free].next = p.free),
        ("free list beyond the table", |p| p.pool.slots[p.free].next = 1 << 30),
        ("a granted slot in the free list", |p| p.pool.slots[p.free].next = p.granted.slot),
        ("free count", |p| {
            let number = partial_extent(&p.pool) as usize;
            p.pool.extents.extents[number].free_count -= 1;
        }),
        ("owner's list lost", |p| p.pool.owners.rows[0].first[0] = slots::NO_SLOT),
        ("owner's list in a circle", |p| p.pool.slots[p.granted.slot].next = p.granted.slot),
        ("owner's list to another's slot", |p| {
            p.pool.slots[p.granted.slot].next = p.published.slot;
        }),
        ("owner's link back", |p| p.pool.slots[p.granted.slot].previous = p.published.slot),
        ("owner's quarantine lost", |p| p.pool.owners.rows[1].first[1] = slots::NO_SLOT),
        ("owner's count", |p| p.pool.owners.rows[0].holding[0].slots += 1),
        ("owner's bytes", |p| p.pool.owners.rows[0].holding[0].bytes -= 64),
        ("owner's quarantined bytes", |p| p.pool.owners.rows[1].holding[1].bytes -= 64),
        ("owner's count by class", |p| p.pool.owners.rows[0].granted_by_class[1] += 1),
        ("owner's serial", |p| p.pool.owners.rows[0].serial = 7),
        ("owner unused", |p| p.pool.owners.rows[0].in_use = false),
        ("partial list lost", |p| p.pool.extents.lists[0].partial = extents::NO_EXTENT),
        ("partial list of another", |p| {
            p.pool.extents.lists[1].partial = partial_extent(&p.pool);
        }),
        ("empty list lost", |p| p.pool.extents.lists[2].empty = extents::NO_EXTENT),
        ("empty list in a circle", |p| {
            let number = empty_extent(&p.pool);
            p.pool.extents.extents[number as usize].next = number;
        }),
        ("extent's link back", |p| {
            let number = empty_extent(&p.pool);
            p.pool.extents.extents[number as usize].previous = 0;
        }),
        ("list beyond the table", |p| p.pool.extents.lists[1].partial = 1 << 30),
        ("number of empty extents", |p| p.pool.extents.empty_count += 1),
        ("extent unused", |p| {
            let number = empty_extent(&p.pool) as usize;
            p.pool.extents.extents[number].in_use = false;
        }),
    ];
    for (name, damage) in damages {
        let mut patient = Patient::new();
        damage(&mut patient);
        assert!(!audit(&patient.pool).is_clean(), "{name}");
    }
}

// r[verify pool.audit]
#[test]
fn damage_to_private_words_and_counts_is_found() {
    let damages: &[(&str, Damage)] = &[
        ("word", |p| p.pool.slots[p.published.slot].word = SlotWord::UNCARVED),
        ("word of an owned slot", |p| p.pool.slots[p.granted.slot].word = SlotWord::UNCARVED),
        ("word of an uncarved slot", |p| {
            p.pool.slots.grow_to(96);
            let word = p.pool.slots[p.published.slot].word;
            p.pool.slots[96].word = word;
            p.control.set_slot_word(96, word);
        }),
        ("word, shared and private", |p| {
            let word = p.pool.slots[p.free].word.grant(1).unwrap();
            p.pool.slots[p.free].word = word;
            p.control.set_slot_word(p.free, word);
        }),
        ("length", |p| p.pool.slots[p.published.slot].length_bytes = 11),
        ("length of a free slot", |p| p.pool.slots[p.free].length_bytes = 11),
        ("extent of a slot", |p| p.pool.slots[p.granted.slot].extent = 1),
        ("extent beyond the table", |p| p.pool.slots[p.granted.slot].extent = 1 << 30),
        ("count of slots", |p| p.pool.tallies[SlotState::Free as usize].slots += 1),
        ("count of bytes", |p| {
            // Moved from one state to another, so that the sum stays the same.
            p.pool.tallies[SlotState::Free as usize].bytes -= 64;
            p.pool.tallies[SlotState::Published as usize].bytes += 64;
        }),
        ("bytes at ends", |p| p.pool.tail_bytes += 64),
        ("a unit lost", |p| {
            p.pool.units.take(1).unwrap();
        }),
        ("a unit twice", |p| p.pool.units.give(1, 1)),
        ("a slot number lost", |p| {
            p.pool.ids.take(1).unwrap();
        }),
        ("a slot number twice", |p| p.pool.ids.give(1, 1)),
        ("pool size", |p| p.pool.pool_bytes -= 64),
        ("unit count", |p| p.pool.unit_count -= 1),
        ("slot numbers", |p| p.pool.slots_ready -= 1),
    ];
    for (name, damage) in damages {
        let mut patient = Patient::new();
        damage(&mut patient);
        assert!(!audit(&patient.pool).is_clean(), "{name}");
    }
}

// r[verify pool.recover]
#[test]
fn content_that_no_host_leaves_is_not_recovered() {
    let refusals: &[(&str, Damage)] = &[
        ("pool size", |p| p.control.set_pool_bytes(17 * 512)),
        ("number of slots", |p| p.control.set_slots_ready(97)),
        ("slot size in the extent", |p| change_extent(p, 1, |e| e.slot_bytes = 128)),
        ("unit count", |p| change_extent(p, 0, |e| (e.slot_bytes, e.unit_count) = (64, 1))),
        ("unit count", |p| change_extent(p, 1, |e| e.unit_count = 0)),
        ("unit count", |p| change_extent(p, 1, |e| e.unit_count = 2)),
        ("unit count", |p| change_extent(p, 1, |e| e.unit_count = 1 << 40)),
        ("unit count", |p| change_extent(p, 15, |e| (e.slot_bytes, e.unit_count) = (64, 2))),
        ("unit count", |p| p.control.set_pool_bytes(2 * 512)),
        ("slot count", |p| change_extent(p, 1, |e| e.slot_count = 0)),
        ("slot count", |p| change_extent(p, 1, |e| e.slot_count = 9)),
        ("slot count", |p| change_extent(p, 1, |e| e.slot_count = 1 << 32 | 1)),
        ("first slot", |p| change_extent(p, 1, |e| e.slot_first = 0)),
        ("first slot", |p| change_extent(p, 1, |e| e.slot_first = 2)),
        ("first slot", |p| change_extent(p, 1, |e| e.slot_first = 90)),
        ("first slot", |p| change_extent(p, 1, |e| e.slot_first = 1 << 32 | 1)),
        ("first slot", |p| p.control.set_slots_ready(7)),
        ("word of slot", |p| store(&p.hot(p.free, 0), u64::MAX)),
        ("word of slot", |p| store(&p.hot(96, 0), 6 << 28)),
        ("owner of slot", |p| p.control.set_serial_last(0)),
        ("in an extent", |p| store(&p.hot(p.free, 0), 1 << 32)),
        ("outside of all", |p| store(&p.hot(96, 0), 1 << 32 | 3 << 28)),
        ("outside of all", |p| p.control.clear_extent(1)),
        ("offset of slot", |p| store(&p.hot(p.free, 1), 0)),
        ("size of slot", |p| p.control.set_slot_place(p.free, p.control.slot_offset(p.free), 0)),
        ("length of slot", |p| store(&p.hot(p.published.slot, 2), 65)),
        ("length of slot", |p| store(&p.hot(p.retired.slot, 2), u64::MAX)),
    ];
    for (number, (what, damage)) in refusals.iter().enumerate() {
        let mut patient = Patient::new();
        damage(&mut patient);
        let before = patient.snapshot();
        match VarSlotPool::recover(patient.control.clone()) {
            Err(RecoverError::Corrupt(corrupt)) => {
                assert!(corrupt.to_string().contains(what), "{number}: {corrupt}");
            }
            other => panic!("{number}, {what}: {other:?}"),
        }
        assert_eq!(patient.snapshot(), before, "{number}, {what}");
    }
}

proptest! {
    // r[verify pool.recover]
    #[test]
    fn whatever_is_in_the_tables_recovery_ends_well(
        damages in proptest::collection::vec((any::<prop::sample::Index>(), word()), 1..6)
    ) {
        let patient = Patient::new();
        let (first, last) = (patient.control.layout().extents / 8, patient.memory.size_bytes() / 8);
        for (place, value) in damages {
            let word = first + place.index((last - first) as usize) as u64;
            store(&patient.word(word * 8), value);
        }
        if let Ok((mut pool, _)) = VarSlotPool::recover(patient.control.clone()) {
            pool.take_back(1);
            while pool.grant(1, 2).is_ok() {}
            assert_clean(&pool);
        }
    }
}

/// Words that are likely to mean something.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..100_u64,
        (0..20_u64).prop_map(|number| number * 64),
        (0..3_u64, 0..8_u64, 0..4_u64)
            .prop_map(|(generation, state, owner)| generation << 32 | state << 28 | owner),
    ]
}
