//! A host that dies between any two of its stores: what the next one finds.

use super::model::{Known, Step, World, step};
use super::*;
use crate::control::StoreLog;
use onecopy_shm::Mapping;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The words of a control area, outside of any mapping.
#[derive(Clone)]
struct Memory(Vec<u64>);

impl Memory {
    fn of(mapping: &Arc<Mapping>) -> Memory {
        let count = mapping.size_bytes() / 8;
        let words = mapping.region(0, count * 8).unwrap().read_words(0, count).unwrap();
        Memory((0..count).map(|word| words.load(word, Ordering::Relaxed).unwrap()).collect())
    }

    fn after(&self, stores: &[(u64, u64)]) -> Memory {
        let mut memory = self.clone();
        for &(word, value) in stores {
            memory.0[word as usize] = value;
        }
        memory
    }

    fn control(&self) -> ControlWriter {
        let count = self.0.len() as u64;
        let mapping = Mapping::heap(count * 8).unwrap();
        let words = mapping.region(0, count * 8).unwrap().words(0, count).unwrap();
        for (word, &value) in (0..).zip(&self.0) {
            words.store(word, value, Ordering::Relaxed).unwrap();
        }
        ControlWriter::new(mapping, geometry()).unwrap()
    }
}

/// What is in use at one moment, and what was ever handed out.
#[derive(Clone)]
struct Moment {
    known: BTreeMap<u32, Known>,
    handed_out: BTreeSet<SlotRef>,
}

impl Moment {
    fn of(world: &World) -> Moment {
        Moment { known: world.known.clone(), handed_out: world.handed_out.clone() }
    }
}

/// A slot is what it was before the operation or what it was to be after it.
fn check_found(pool: &VarSlotPool, found: &[FoundSlot], before: &Moment, after: &Moment) {
    let found: BTreeMap<u32, FoundSlot> =
        found.iter().map(|found| (found.slot.slot, *found)).collect();
    let slots: BTreeSet<u32> =
        found.keys().chain(before.known.keys()).chain(after.known.keys()).copied().collect();
    for slot in slots {
        let is = |known: Option<&Known>| match (found.get(&slot), known) {
            (None, None) => true,
            (Some(found), Some(known)) => {
                let view = pool.slot(found.slot).unwrap();
                let written = matches!(known.state, SlotState::Published | SlotState::Retired);
                (found.slot.generation, found.state, found.owner, found.class)
                    == (known.generation, known.state, known.owner, known.class)
                    && (view.state, view.class) == (known.state, known.class)
                    && (!written || view.length_bytes == known.length_bytes)
                    && (!written || pool.note(slot) == [known.note; NOTE_WORDS])
            }
            _ => false,
        };
        let (earlier, later) = (before.known.get(&slot), after.known.get(&slot));
        assert!(
            is(earlier) || is(later),
            "slot {slot} is {:?}, expected {earlier:?} or {later:?}",
            found.get(&slot)
        );
    }
}

/// No reference that somebody may still have is handed out again.
fn check_generations(pool: &mut VarSlotPool, handed_out: &BTreeSet<SlotRef>) {
    for class in [2, 0, 1] {
        while let Ok(slot) = pool.grant(1, class) {
            assert!(!handed_out.contains(&slot), "{slot} was handed out before");
        }
    }
    assert_clean(pool);
}

/// Recovers, dies at every store of the recovery too, and recovers again.
fn recover_everywhere(memory: &Memory, before: &Moment, after: &Moment, last: bool) -> Unfinished {
    let (control, log) = memory.control().logged();
    let (mut pool, found) = VarSlotPool::recover(control).unwrap();
    let stores = log.take();
    check_found(&pool, &found, before, after);
    let unfinished = pool.unfinished();
    assert_eq!(stores.len() as u64, unfinished.slots_uncarved);
    for count in 0..stores.len() {
        let again = memory.after(&stores[..count]);
        let (pool, found) = VarSlotPool::recover(again.control()).unwrap();
        check_found(&pool, &found, before, after);
    }
    let handed_out = if last { &after.handed_out } else { &before.handed_out };
    check_generations(&mut pool, handed_out);
    unfinished
}

/// Runs the steps and lets the host die behind every store. Returns how many times it found
/// something unfinished.
fn die_everywhere(units: u64, steps: &[Step]) -> u32 {
    let geometry = geometry();
    let mapping = Mapping::heap(ControlLayout::new(&geometry).size_bytes).unwrap();
    let control = ControlWriter::initialise(Arc::clone(&mapping), &geometry, 5).unwrap();
    control.set_serial_last(9);
    control.set_slots_ready(geometry.slots_max);
    control.set_pool_bytes(units * geometry.unit_bytes);
    let mut memory = Memory::of(&mapping);
    let (control, log): (ControlWriter, StoreLog) = control.logged();
    let mut world = World::new(control);
    let mut unfinished = 0;
    for step in steps {
        let before = Moment::of(&world);
        world.apply(step);
        let after = Moment::of(&world);
        let stores = log.take();
        for count in 0..=stores.len() {
            let last = count == stores.len();
            let first = if last { &after } else { &before };
            let left = recover_everywhere(&memory.after(&stores[..count]), first, &after, last);
            unfinished += u32::from(left != Unfinished::default());
        }
        memory = memory.after(&stores);
    }
    unfinished
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    // r[verify pool.recover]
    // r[verify pool.carve-order]
    // r[verify pool.give-back-order]
    // r[verify pool.publish-order]
    // r[verify pool.recover-finish]
    #[test]
    fn a_host_may_die_between_any_two_stores(
        units in 0..10_u64,
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        die_everywhere(units, &steps);
    }
}

// r[verify pool.carve-order]
// r[verify pool.give-back-order]
// r[verify pool.recover-finish]
#[test]
fn carving_and_giving_back_are_finished_or_undone() {
    // A pool of one extent, which goes from one class to the next: 8 slots, 15 slots, 5 slots.
    let grant = |class| Step::Grant { owner: 1, class };
    let steps = [grant(2), Step::TakeBack { owner: 1 }, grant(0), Step::TakeBack { owner: 1 }];
    assert!(die_everywhere(4, &steps) >= 20);
}
