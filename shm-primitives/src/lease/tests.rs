use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;

use proptest::prelude::*;

use super::held::LINES_PER_THREAD;
use super::{LeaseCell, LeaseScan, LeaseTable, lease_table_bytes};
use crate::error::{LeaseError, LeaseTableError, LeasesFull, RegionError};
use crate::mapping::Mapping;
use crate::region::Region;
use crate::slot::{SlotRef, SlotWord};

#[cfg(not(miri))]
mod fenced;
mod listed;
mod memory;
mod parted;

fn slot(slot: u32) -> SlotRef {
    SlotRef { slot, generation: 1 }
}

fn fresh_region(capacity: u32) -> Region {
    let size_bytes = lease_table_bytes(capacity);
    Mapping::heap(size_bytes).unwrap().region(0, size_bytes).unwrap()
}

fn fresh_table(capacity: u32) -> LeaseTable {
    LeaseTable::new(fresh_region(capacity), capacity).unwrap()
}

/// What a scan finds: each reference with how often it is named.
fn named(scan: &LeaseScan) -> HashMap<SlotRef, u32> {
    let mut found = HashMap::new();
    scan.for_each(|slot| *found.entry(slot).or_insert(0) += 1);
    found
}

/// Leases until the table is full; the cells it got.
fn fill(table: &LeaseTable) -> Vec<LeaseCell> {
    let mut cells = Vec::new();
    loop {
        match table.lease(slot(9)) {
            Ok(cell) => cells.push(cell),
            Err(full) => {
                assert_eq!(full, LeasesFull::Taken { capacity: table.capacity() });
                return cells;
            }
        }
    }
}

// r[verify lease.table]
#[test]
fn a_table_that_cannot_be_is_refused() {
    let region = fresh_region(64);
    for capacity in [0, 1, 12, u32::MAX] {
        let error = LeaseTable::new(region.clone(), capacity).unwrap_err();
        assert!(matches!(error, LeaseTableError::Capacity { capacity: c, multiple: 8 }
            if c == capacity));
        assert!(LeaseScan::new(&region, capacity).is_err());
    }
    let error = LeaseTable::new(region.clone(), 72).unwrap_err();
    assert!(matches!(
        error,
        LeaseTableError::TooSmall { capacity: 72, needed_bytes: 640, size_bytes: 576 }
    ));
    assert!(matches!(LeaseScan::new(&region, 72), Err(LeaseTableError::TooSmall { .. })));
    let inside = region.subregion(8, 512).unwrap();
    let error = LeaseTable::new(inside, 8).unwrap_err();
    let misaligned = RegionError::Misaligned { offset: 8, alignment_bytes: 64 };
    assert!(matches!(error, LeaseTableError::Region(error) if error == misaligned));
}

// r[verify lease.table]
#[test]
fn a_table_that_was_taken_is_refused() {
    let region = fresh_region(64);
    let table = LeaseTable::new(region.clone(), 64).unwrap();
    let error = LeaseTable::new(region.clone(), 64).unwrap_err();
    assert!(matches!(error, LeaseTableError::NotFresh { taken: 1 }));
    let cell = table.lease(slot(1)).unwrap();
    table.release(cell);
    drop(table);
    assert!(LeaseTable::new(region, 64).is_err(), "a table is nobody else's, ever");
}

#[cfg(not(miri))]
// r[verify lease.table]
#[test]
fn a_table_needs_memory_to_write() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(4096).unwrap();
    let mapping = Mapping::map(&file, 4096, crate::Access::ReadOnly).unwrap();
    let region = mapping.region(0, 4096).unwrap();
    let error = LeaseTable::new(region.clone(), 64).unwrap_err();
    assert!(matches!(error, LeaseTableError::Region(RegionError::ReadOnly { .. })));
    assert!(LeaseScan::new(&region, 64).is_ok(), "to look through it, reading is enough");
}

#[test]
fn one_lease_at_a_time_stays_in_one_cell() {
    let table = fresh_table(64);
    for number in 1..1000 {
        let cell = table.lease(slot(number)).unwrap();
        assert_eq!(cell.index, 0);
        assert!(table.scan().names(slot(number)));
        table.release(cell);
    }
}

// r[verify lease.nothing-lost]
#[test]
fn a_full_table_says_so_and_loses_nothing() {
    let table = fresh_table(64);
    let mut cells = fill(&table);
    assert_eq!(cells.len(), 64);
    for _ in 0..100 {
        table.release(cells.swap_remove(cells.len() / 2));
        cells.push(table.lease(slot(7)).unwrap());
        assert_eq!(table.lease(slot(8)), Err(LeasesFull::Taken { capacity: 64 }));
        assert_eq!(table.in_use(), 64);
    }
    for cell in cells {
        table.release(cell);
    }
    assert_eq!(table.in_use(), 0);
    assert_eq!(fill(&table).len(), 64);
}

// r[verify lease.nothing-lost]
#[test]
fn what_another_thread_releases_can_be_leased_again() {
    let table = fresh_table(128);
    for _ in 0..10 {
        let cells = fill(&table);
        assert_eq!(cells.len(), 128);
        let releaser = table.clone();
        thread::spawn(move || cells.into_iter().for_each(|cell| releaser.release(cell)))
            .join()
            .unwrap();
        assert_eq!(table.in_use(), 0);
    }
}

// r[verify lease.thread-end]
#[test]
fn a_thread_that_ends_gives_its_lines_back() {
    let table = fresh_table(16);
    for _ in 0..100 {
        let ending = table.clone();
        let cell = thread::spawn(move || ending.lease(slot(3)).unwrap()).join().unwrap();
        table.release(cell);
    }
    assert_eq!(fill(&table).len(), 16);
}

// r[verify lease.thread-end]
#[test]
fn leases_outlive_the_thread_that_took_them() {
    let table = fresh_table(64);
    let taker = table.clone();
    let mut cells = thread::spawn(move || fill(&taker)).join().unwrap();
    assert_eq!(cells.len(), 64);
    assert_eq!(table.in_use(), 64);
    assert_eq!(table.lease(slot(1)), Err(LeasesFull::Taken { capacity: 64 }));
    table.release(cells.pop().unwrap());
    let own = table.lease(slot(1)).unwrap();
    assert_eq!(named(&table.scan()), HashMap::from([(slot(1), 1), (slot(9), 63)]));
    cells.push(own);
    cells.into_iter().for_each(|cell| table.release(cell));
    assert_eq!(fill(&table).len(), 64);
}

#[test]
fn a_lease_while_the_thread_ends_works() {
    struct Late(LeaseTable, mpsc::Sender<u32>);
    impl Drop for Late {
        fn drop(&mut self) {
            let cell = self.0.lease(slot(5)).unwrap();
            self.1.send(self.0.in_use()).unwrap();
            self.0.release(cell);
        }
    }
    thread_local! {
        static LATE: std::cell::RefCell<Option<Late>> = const { std::cell::RefCell::new(None) };
    }
    let table = fresh_table(16);
    let (sender, receiver) = mpsc::channel();
    for early in [false, true] {
        let (ending, sender) = (table.clone(), sender.clone());
        // Destructors run in the reverse order of first use; one of the two orders is late.
        thread::spawn(move || {
            if early {
                let cell = ending.lease(slot(4)).unwrap();
                ending.release(cell);
            }
            LATE.set(Some(Late(ending.clone(), sender)));
            let cell = ending.lease(slot(4)).unwrap();
            ending.release(cell);
        })
        .join()
        .unwrap();
        assert_eq!(receiver.recv().unwrap(), 1);
    }
    assert_eq!(fill(&table).len(), 16);
}

#[test]
fn a_table_lives_as_long_as_one_of_its_clones() {
    let region = fresh_region(64);
    let weak = std::sync::Arc::downgrade(region.mapping());
    let table = LeaseTable::new(region, 64).unwrap();
    let cell = table.lease(slot(1)).unwrap();
    let clone = table.clone();
    drop(table);
    assert!(clone.scan().names(slot(1)));
    clone.release(cell);
    drop(clone);
    assert!(weak.upgrade().is_none(), "a thread that leased does not keep it");
}

// r[verify lease.release]
#[test]
fn a_cell_of_another_table_is_ignored() {
    let (first, second) = (fresh_table(16), fresh_table(16));
    let ours = first.lease(slot(1)).unwrap();
    let theirs = second.lease(slot(2)).unwrap();
    first.release(theirs);
    assert_eq!((first.in_use(), second.in_use()), (1, 1));
    first.release(ours);
    assert_eq!((first.in_use(), second.in_use()), (0, 1));
}

#[test]
fn a_lease_of_no_slot_takes_a_cell_and_names_nothing() {
    let table = fresh_table(8);
    let nothing = table.lease(SlotRef { slot: 0, generation: 0 }).unwrap();
    let first = table.lease(slot(1)).unwrap();
    assert_ne!(nothing, first);
    table.release(nothing);
    assert_eq!(named(&table.scan()), HashMap::from([(slot(1), 1)]));
    table.release(first);
}

// r[verify lease.published]
#[test]
fn only_what_is_published_is_leased_and_only_while_attached() {
    let words = Mapping::heap(64).unwrap().region(0, 64).unwrap();
    let (state, attached) = (words.word(0).unwrap(), words.word(8).unwrap());
    let table = fresh_table(64);
    let lease = |slot| {
        table.lease_published(slot, |order| state.load(order), |order| attached.load(order), 77)
    };
    let granted = SlotWord::UNCARVED.carve().unwrap().grant(3).unwrap();
    let published = granted.publish().unwrap();
    attached.store(77, Ordering::Relaxed);

    for word in [granted, published.retire().unwrap(), SlotWord::UNCARVED] {
        state.store(word.bits(), Ordering::Relaxed);
        let bits = word.bits();
        assert_eq!(lease(slot(5)), Err(LeaseError::NotPublished { slot: slot(5), bits }));
        assert_eq!(table.in_use(), 0);
    }
    state.store(published.bits(), Ordering::Relaxed);
    let stale = SlotRef { slot: 5, generation: 2 };
    assert!(matches!(lease(stale), Err(LeaseError::NotPublished { .. })));
    let cell = lease(slot(5)).unwrap();
    assert_eq!(named(&table.scan()), HashMap::from([(slot(5), 1)]));
    table.release(cell);

    attached.store(0, Ordering::Relaxed);
    assert_eq!(lease(slot(5)), Err(LeaseError::CutOff { attached: 0, attached_value: 77 }));
    assert_eq!(table.in_use(), 0);
}

/// What the property test does with a table.
#[derive(Debug, Clone)]
enum Step {
    Lease(u32),
    Release(usize),
    /// Another thread releases this many.
    ReleaseElsewhere(usize),
    /// Another thread leases this many and ends.
    LeaseElsewhere(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..6_u32).prop_map(Step::Lease),
        6 => any::<usize>().prop_map(Step::Release),
        1 => (0..20_usize).prop_map(Step::ReleaseElsewhere),
        1 => (1..20_u32).prop_map(Step::LeaseElsewhere),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 128 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    // r[verify lease.nothing-lost]
    #[test]
    fn a_scan_finds_what_a_multiset_says(steps in prop::collection::vec(step(), 0..200)) {
        let table = fresh_table(48);
        let mut cells: Vec<(SlotRef, LeaseCell)> = Vec::new();
        for step in steps {
            match step {
                Step::Lease(number) => match table.lease(slot(number)) {
                    Ok(cell) => cells.push((slot(number), cell)),
                    Err(full) => {
                        prop_assert_eq!(full, LeasesFull::Taken { capacity: 48 });
                        prop_assert_eq!(cells.len(), 48, "no other thread owns a line");
                    }
                },
                Step::Release(choice) if !cells.is_empty() => {
                    let (_, cell) = cells.swap_remove(choice % cells.len());
                    table.release(cell);
                }
                Step::Release(_) => {}
                Step::ReleaseElsewhere(count) => {
                    let released = cells.split_off(cells.len().saturating_sub(count));
                    let table = table.clone();
                    thread::spawn(move || released.into_iter().for_each(|(_, c)| table.release(c)))
                        .join()
                        .unwrap();
                }
                Step::LeaseElsewhere(count) => {
                    let taker = table.clone();
                    let taken = thread::spawn(move || {
                        (0..count).map_while(|n| Some((slot(n + 1), taker.lease(slot(n + 1)).ok()?)))
                            .collect::<Vec<_>>()
                    });
                    cells.extend(taken.join().unwrap());
                }
            }
            let mut expected = HashMap::new();
            for (slot, _) in &cells {
                *expected.entry(*slot).or_insert(0) += 1;
            }
            prop_assert_eq!(named(&table.scan()), expected);
            prop_assert_eq!(table.in_use() as usize, cells.len());
            let lines: HashSet<u32> = cells.iter().map(|(_, cell)| cell.index / 8).collect();
            // The lines that hold leases, those that this thread keeps, and one word of summary.
            let words = table.scan().for_each(|_| ());
            prop_assert!(words <= (lines.len() + LINES_PER_THREAD) as u64 * 8 + 1);
        }
    }
}

// r[verify lease.nothing-lost]
#[test]
fn many_threads_lose_no_cell() {
    const THREADS: u32 = 4;
    let rounds = if cfg!(miri) { 20 } else { 20_000 };
    let table = fresh_table(1024);
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..THREADS).map(|_| mpsc::sync_channel::<LeaseCell>(50)).unzip();
    let threads: Vec<_> = receivers
        .into_iter()
        .zip(0..THREADS)
        .map(|(receiver, number)| {
            let table = table.clone();
            let next = senders[((number + 1) % THREADS) as usize].clone();
            thread::spawn(move || {
                let mut random = u64::from(number) + 1;
                let mut own = Vec::new();
                for _ in 0..rounds {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
                    match random >> 60 {
                        0..7 if own.len() < 100 => own.push(table.lease(slot(number + 1)).unwrap()),
                        7..10 => {
                            if let Some(cell) = own.pop()
                                && let Err(mpsc::TrySendError::Full(cell)) = next.try_send(cell)
                            {
                                table.release(cell);
                            }
                        }
                        10..13 => receiver.try_iter().for_each(|cell| table.release(cell)),
                        _ => {
                            if !own.is_empty() {
                                let choice = (random >> 20) as usize % own.len();
                                table.release(own.swap_remove(choice));
                            }
                        }
                    }
                }
                own.into_iter().for_each(|cell| table.release(cell));
                drop(next);
                receiver
            })
        })
        .collect();
    drop(senders);
    for thread in threads {
        let receiver = thread.join().unwrap();
        receiver.iter().for_each(|cell| table.release(cell));
    }
    assert_eq!(table.in_use(), 0);
    assert_eq!(fill(&table).len(), 1024);
}

#[cfg(not(miri))]
// r[verify lease.thread-end]
#[test]
fn the_end_of_a_forked_child_touches_no_table() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(lease_table_bytes(64)).unwrap();
    let mapping = Mapping::map(&file, lease_table_bytes(64), crate::Access::ReadWrite).unwrap();
    let table = LeaseTable::new(mapping.region(0, lease_table_bytes(64)).unwrap(), 64).unwrap();
    let cell = table.lease(slot(1)).unwrap();
    let lines = &table.lines;
    // Its memory is not mapped in the child: to touch it would be the end of the child.
    assert_eq!(
        crate::fork::tests::in_child(|| {
            lines.leave_thread();
            7
        }),
        7
    );
    assert!(table.scan().names(slot(1)));
    table.release(cell);
}
