//! A thread parts with a line while it has leases there, and another thread takes the line.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc;
use std::thread;

use super::{fill, fresh_table, named, slot};
use crate::format::LEASE_CELLS_PER_LINE;
use crate::lease::held::LINES_PER_THREAD;
use crate::lease::{LeaseCell, LeaseTable};
use crate::slot::SlotRef;

/// A lease with what it was taken for.
type Live = (SlotRef, LeaseCell);

fn lease(table: &LeaseTable, slots: std::ops::Range<u32>) -> Vec<Live> {
    slots.map(slot).map(|slot| (slot, table.lease(slot).unwrap())).collect()
}

/// No two leases have one cell, and a look meets each of them.
fn assert_each_has_a_cell(table: &LeaseTable, live: &[Live]) {
    let mut cells = HashSet::new();
    for (slot, cell) in live {
        assert!(cells.insert(cell.index()), "cell {} of {slot:?} has two leases", cell.index());
    }
    let expected: HashMap<SlotRef, u32> = live.iter().map(|(slot, _)| (*slot, 1)).collect();
    assert_eq!(named(&table.scan()), expected);
}

// r[verify lease.nothing-lost]
#[test]
fn what_a_thread_frees_in_a_line_that_is_anothers_now_is_the_others() {
    const LINE: u32 = LEASE_CELLS_PER_LINE;
    const KEPT: u32 = LINES_PER_THREAD as u32 * LINE;
    let table = fresh_table(2 * KEPT);
    let (ask, asked) = mpsc::channel::<(Option<LeaseCell>, std::ops::Range<u32>)>();
    let (give, given) = mpsc::channel();
    let other = table.clone();
    let thread = thread::spawn(move || {
        for (released, slots) in asked {
            released.into_iter().for_each(|cell| other.release(cell));
            give.send(lease(&other, slots)).unwrap();
        }
    });
    let elsewhere = |released, slots| {
        ask.send((released, slots)).unwrap();
        given.recv().unwrap()
    };

    // One line more than the thread keeps: it parts with the first.
    let mut first = lease(&table, 1..LINE + 1);
    let mut live = lease(&table, LINE + 1..KEPT + LINE + 1);
    let (_, passed) = first.pop().unwrap();
    let line = passed.index() / LINE;
    live.extend(elsewhere(Some(passed), 1001..1002));
    let (_, taken) = live.last().unwrap();
    assert_eq!(taken.index() / LINE, line, "the other thread owns the line");
    first.into_iter().for_each(|(_, cell)| table.release(cell));
    assert_each_has_a_cell(&table, &live);

    // The other one finds the free cells of its line, of which it takes one now and the rest later.
    live.extend(elsewhere(None, 1002..1003));
    assert_each_has_a_cell(&table, &live);
    live.extend(lease(&table, 101..101 + LINE));
    assert_each_has_a_cell(&table, &live);
    live.extend(elsewhere(None, 1003..1003 + LINE));
    assert_each_has_a_cell(&table, &live);

    drop(ask);
    thread.join().unwrap();
    live.into_iter().for_each(|(_, cell)| table.release(cell));
    assert_eq!(fill(&table).len() as u32, table.capacity());
}
