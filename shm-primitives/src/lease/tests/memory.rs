//! Tables that have memory as far as they are used.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::{fresh_region, slot};
use crate::error::LeasesFull;
use crate::lease::{LEASES_MAX, LeaseTable, lease_table_bytes, lease_table_fresh_bytes};

const CAPACITY: u32 = 32 << 10;

/// What was asked for, and how many times it is refused from now on.
#[derive(Default)]
struct Asked {
    ranges: Vec<Range<u64>>,
    refusals: u32,
}

fn table() -> (LeaseTable, Arc<Mutex<Asked>>) {
    let asked = Arc::new(Mutex::new(Asked::default()));
    let its = Arc::clone(&asked);
    let make_real = move |range| {
        let mut asked = its.lock().unwrap();
        if asked.refusals > 0 {
            asked.refusals -= 1;
            return Err(Errno::NOSPC);
        }
        asked.ranges.push(range);
        Ok(())
    };
    let table = LeaseTable::with_memory(fresh_region(CAPACITY), CAPACITY, Box::new(make_real));
    (table.unwrap(), asked)
}

// r[verify lease.memory]
#[test]
fn a_table_asks_for_memory_before_it_is_used() {
    let fresh = lease_table_fresh_bytes(CAPACITY);
    let first = (fresh - (lease_table_bytes(CAPACITY) - u64::from(CAPACITY) * 8)) / 8;
    let (table, asked) = table();
    let mut cells: Vec<_> = (0..first).map(|_| table.lease(slot(1)).unwrap()).collect();
    assert_eq!(asked.lock().unwrap().ranges, []);
    cells.push(table.lease(slot(1)).unwrap());
    assert_eq!(asked.lock().unwrap().ranges.last(), Some(&(fresh..64 << 10)));
    while let Ok(cell) = table.lease(slot(1)) {
        cells.push(cell);
    }
    assert_eq!(cells.len(), CAPACITY as usize);
    let ranges = asked.lock().unwrap().ranges.clone();
    assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start), "{ranges:?}");
    assert_eq!(ranges.last().map(|range| range.end), Some(lease_table_bytes(CAPACITY)));
    cells.into_iter().for_each(|cell| table.release(cell));
}

// r[verify lease.memory]
#[test]
fn no_memory_for_more_leases_is_an_error_that_passes() {
    let (table, asked) = table();
    asked.lock().unwrap().refusals = u32::MAX;
    let mut cells = Vec::new();
    let error = loop {
        match table.lease(slot(1)) {
            Ok(cell) => cells.push(cell),
            Err(error) => break error,
        }
    };
    let found = cells.len() as u32;
    assert!(found > 200, "{found}");
    let refused = LeasesFull::NoMemory { cells: found, capacity: CAPACITY, source: Errno::NOSPC };
    assert_eq!(error, refused);
    assert_eq!(table.lease(slot(1)), Err(refused));
    assert_eq!(table.in_use(), found);
    // What is there can be leased again meanwhile.
    table.release(cells.pop().unwrap());
    cells.push(table.lease(slot(2)).unwrap());
    asked.lock().unwrap().refusals = 0;
    cells.push(table.lease(slot(3)).unwrap());
    assert_eq!(table.in_use(), found + 1);
    cells.into_iter().for_each(|cell| table.release(cell));
}

#[test]
fn what_a_fresh_table_needs_is_little_and_never_more_than_the_table() {
    assert_eq!(lease_table_fresh_bytes(LEASES_MAX), 12 << 10);
    assert_eq!(lease_table_fresh_bytes(64), lease_table_bytes(64));
}
