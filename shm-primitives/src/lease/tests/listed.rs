//! What a look through a table visits, counted in words.

use crate::lease::held::LINES_PER_THREAD;
use std::sync::atomic::Ordering;
use std::thread;

use proptest::prelude::*;

use super::{fill, fresh_region, fresh_table, named, slot};
use crate::lease::{LEASES_MAX, LeaseScan, LeaseTable, lease_table_bytes};

/// Words that a look reads.
fn words(table: &LeaseTable) -> u64 {
    table.scan().for_each(|_| ())
}

// r[verify lease.table]
#[test]
fn the_size_is_a_head_a_summary_and_whole_lines() {
    assert_eq!(lease_table_bytes(8), 128);
    assert_eq!(lease_table_bytes(9), 192);
    // The most that the bits of the head's seven words are enough for.
    assert_eq!(lease_table_bytes(7 * 64 * 8), 64 + 8 * 7 * 64 * 8);
    assert_eq!(lease_table_bytes(7 * 64 * 8 + 1), 64 + 64 + 8 * 7 * 64 * 8 + 64);
    assert_eq!(lease_table_bytes(LEASES_MAX), 64 + 128 + 8192 + 8 * u64::from(LEASES_MAX));
    // 2^29 lines, in 2^23 words, 2^17, 2^11 and 32; the last two levels have 8 words and the head's.
    let summary = 8 * ((1 << 23) + (1 << 17) + (1 << 11) + 32);
    assert_eq!(lease_table_bytes(u32::MAX), 64 + summary + (1 << 35));
}

// r[verify lease.listed]
#[test]
fn a_look_visits_the_lines_in_use() {
    let region = fresh_region(64);
    let table = LeaseTable::new(region.clone(), 64).unwrap();
    let scan = LeaseScan::new(&region, 64).unwrap();
    let look = || scan.for_each(|_| ());
    assert_eq!(look(), 1, "one word of summary");
    let first: Vec<_> = (1..=8).map(|number| table.lease(slot(number)).unwrap()).collect();
    assert_eq!(look(), 1 + 8);
    let ninth = table.lease(slot(9)).unwrap();
    assert_eq!(look(), 1 + 16);
    assert_eq!(named(&scan).len(), 9);
    assert_eq!(table.in_use(), 9);
    for cell in first {
        table.release(cell);
    }
    table.release(ninth);
    assert_eq!(look(), 1 + 16, "a thread keeps a few lines");
    table.lines.leave_thread();
    assert_eq!((look(), table.in_use()), (1, 0));
}

// r[verify lease.listed]
#[test]
fn what_was_leased_once_costs_a_look_nothing() {
    const LEASES: u32 = if cfg!(miri) { 5_000 } else { 500_000 };
    let table = fresh_table(LEASES_MAX);
    let cells: Vec<_> = (1..=LEASES).map(|number| table.lease(slot(number)).unwrap()).collect();
    let lines = u64::from(LEASES / 8);
    let full = words(&table);
    assert!((lines * 8..lines * 8 + lines / 32).contains(&full), "{full} words for {lines} lines");
    // One in a thousand stays, wherever it is: the first, the last, and others between.
    let mut kept = Vec::new();
    for (number, cell) in cells.into_iter().enumerate() {
        if number % 1000 == 0 || number == LEASES as usize - 1 {
            kept.push(cell);
        } else {
            table.release(cell);
        }
    }
    assert_eq!(table.in_use() as usize, kept.len());
    // For each of them its line and three words of summary at most; what this thread keeps besides.
    let few = words(&table);
    assert!(
        few <= (kept.len() + LINES_PER_THREAD) as u64 * (8 + 3),
        "{few} words for {} leases",
        kept.len()
    );
    kept.into_iter().for_each(|cell| table.release(cell));
    let none = words(&table);
    assert!(none <= LINES_PER_THREAD as u64 * (8 + 3), "{none} words for no lease");
    // And all of it can be leased again.
    assert_eq!(table.lease(slot(1)).map(|cell| table.release(cell)), Ok(()));
}

// r[verify lease.listed]
#[test]
fn a_table_that_was_full_is_there_for_others_and_not_looked_through() {
    let table = fresh_table(4096);
    for _ in 0..3 {
        let cells = fill(&table);
        assert_eq!(cells.len(), 4096);
        let releaser = table.clone();
        // Releases in no order that the lines have.
        let release = move || {
            let (mut odd, mut even) = (Vec::new(), Vec::new());
            for (number, cell) in cells.into_iter().enumerate() {
                if number % 2 == 0 { even.push(cell) } else { odd.push(cell) }
            }
            odd.into_iter().rev().chain(even).for_each(|cell| releaser.release(cell));
        };
        thread::spawn(release).join().unwrap();
        assert!(
            words(&table) <= 1 + LINES_PER_THREAD as u64 * (1 + 8),
            "the lines that this thread keeps"
        );
        table.lines.leave_thread();
        assert_eq!(words(&table), 1, "a word of the head");
    }
}

// r[verify lease.listed]
#[test]
fn two_threads_that_empty_lines_together_take_all_of_them_off_the_list() {
    let rounds = if cfg!(miri) { 3 } else { 300 };
    let table = fresh_table(1024);
    for round in 0..rounds {
        let cells = fill(&table);
        let (mut halves, mut which) = ([Vec::new(), Vec::new()], round % 64);
        for cell in cells {
            which = (which * 5 + 3) % 64;
            halves[which / 8 % 2].push(cell);
        }
        thread::scope(|scope| {
            for half in halves {
                let table = table.clone();
                scope.spawn(move || half.into_iter().for_each(|cell| table.release(cell)));
            }
        });
        table.lines.leave_thread();
        assert_eq!((table.in_use(), words(&table)), (0, 2));
    }
}

// r[verify lease.hostile]
#[test]
fn lines_beyond_the_table_are_passed_over() {
    let region = fresh_region(16);
    let scan = LeaseScan::new(&region, 16).unwrap();
    let words = region.words(0, region.size_bytes() / 8).unwrap();
    for index in 8..24 {
        words.store(index, slot(index as u32).to_u64(), Ordering::Relaxed).unwrap();
    }
    for (bits, seen) in [(0, 0), (1, 8), (2, 8), (3, 16), (4, 0), (u64::MAX, 16)] {
        words.store(1, bits, Ordering::Relaxed).unwrap();
        assert_eq!(named(&scan).len(), seen);
    }
    // Words of the head that this capacity has no use for.
    (2..8).for_each(|word| words.store(word, u64::MAX, Ordering::Relaxed).unwrap());
    assert_eq!(scan.for_each(|_| ()), 1 + 16);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 128 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    // r[verify lease.hostile]
    #[test]
    fn any_table_is_looked_through_within_its_capacity(
        summary in prop::collection::vec(any::<u64>(), 16),
        cells in prop::collection::vec(any::<u64>(), 64),
    ) {
        // Two levels of summary: 8 words below the head's, of which the capacity needs a part.
        const CAPACITY: u32 = 7 * 64 * 8 + 8;
        let region = fresh_region(CAPACITY);
        let shared = region.words(0, region.size_bytes() / 8).unwrap();
        for (index, word) in summary.iter().chain(cells.iter().cycle().take(3000)).enumerate() {
            shared.store(index as u64, *word, Ordering::Relaxed).unwrap();
        }
        let mut calls = 0;
        let read = LeaseScan::new(&region, CAPACITY).unwrap().for_each(|named| {
            calls += 1;
            assert_ne!(named.slot, 0);
        });
        prop_assert!(calls <= CAPACITY && read <= u64::from(CAPACITY) + 7 + 1 + 8);
    }
}
