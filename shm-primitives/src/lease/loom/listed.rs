//! Models of the list of lines that a look visits.

use std::sync::{Arc, Mutex};

use loom::thread;

use super::{NEW, OTHER, Outcome, SLOT, World, region};
use crate::format::LEASE_CELLS_PER_LINE;
use crate::lease::{LeaseScan, LeaseTable, fence_before_scan, lease_table_bytes};
use crate::sync::{AtomicU64, Ordering};

/// How many lines a look visits. (A table of two lines has a summary of one word.)
fn lines_listed(scan: &LeaseScan) -> u64 {
    (scan.for_each(|_| ()) - 1) / u64::from(LEASE_CELLS_PER_LINE)
}

/// The reader's lines are full, so its lease goes into one that was never used.
// r[verify lease.listed]
#[test]
fn a_lease_in_a_new_line_is_seen() {
    static LEASED: Outcome = Outcome::new();
    static REFUSED: Outcome = Outcome::new();
    loom::model(|| {
        let host = World::published(4);
        let guest = host.clone();
        let full = [guest.table.lease(OTHER).unwrap(), guest.table.lease(OTHER).unwrap()];
        assert_eq!(lines_listed(&host.scan), 1);
        let reader = thread::spawn(move || guest.read());
        let leased = host.retire_and_reuse();
        match (leased, reader.join().unwrap()) {
            (true, _) => LEASED.seen(),
            (false, Ok(())) => {}
            (false, Err(_)) => REFUSED.seen(),
        }
        full.into_iter().for_each(|cell| host.table.release(cell));
    });
    LEASED.assert_seen("the slot waits for its reader");
    REFUSED.assert_seen("the reader turns away");
}

/// off the list; a host that passes over the line reuses what the other has read.
// r[verify lease.listed]
#[test]
fn a_look_that_passes_over_a_line_comes_after_its_reads() {
    static PASSED_OVER: Outcome = Outcome::new();
    static LEASED: Outcome = Outcome::new();
    loom::model(|| {
        let host = World::published(2);
        let cell = host.lease().unwrap();
        let other = host.table.lease(OTHER).unwrap();
        host.table.lines.leave_thread();
        // Whoever takes the line off the list looks at the word before it stores it, and the model
        // checker takes that look for the one that the store races with. So the host's look is
        // spawned, and a word that orders nothing has the checker stop it behind its fence.
        let behind_fence = Arc::new(AtomicU64::new(0));
        let (looking, stop) = (host.clone(), Arc::clone(&behind_fence));
        let looker = thread::spawn(move || {
            looking.retire();
            fence_before_scan();
            stop.store(1, Ordering::Relaxed);
            let mut leased = false;
            let words = looking.scan.for_each(|named| leased |= named == SLOT);
            if !leased {
                looking.payload.write(NEW);
            }
            match (leased, words) {
                (true, _) => LEASED.seen(),
                (false, 1) => PASSED_OVER.seen(),
                (false, _) => {}
            }
        });
        let reading = host.clone();
        let reader = thread::spawn(move || {
            reading.look();
            reading.table.release(cell);
        });
        let _ = behind_fence.load(Ordering::Relaxed);
        host.table.release(other);
        reader.join().unwrap();
        looker.join().unwrap();
        assert_eq!(lines_listed(&host.scan), 0);
    });
    PASSED_OVER.assert_seen("the line is off the list when the host looks");
    LEASED.assert_seen("the host meets the lease");
}

/// A line goes off the list and is taken again, by a thread whose lease the host must see.
// r[verify lease.listed]
#[test]
fn a_line_that_is_listed_again_is_visited_again() {
    static LEASED: Outcome = Outcome::new();
    static REFUSED: Outcome = Outcome::new();
    loom::model(|| {
        let host = World::published(2);
        let other = host.table.lease(OTHER).unwrap();
        host.table.lines.leave_thread();
        let looking = host.clone();
        // Spawned for the reason above.
        let looker = thread::spawn(move || looking.retire_and_reuse());
        host.table.release(other);
        let read = host.read();
        match (looker.join().unwrap(), read) {
            (true, _) => LEASED.seen(),
            (false, Ok(())) => {}
            (false, Err(_)) => REFUSED.seen(),
        }
    });
    LEASED.assert_seen("the slot waits for its reader");
    REFUSED.assert_seen("the reader turns away");
}

/// The two leases of a line that nobody owns end at once, on two threads.
// r[verify lease.listed]
#[test]
fn the_last_lease_of_a_line_takes_it_off_the_list() {
    loom::model(|| {
        let table = LeaseTable::new(region(lease_table_bytes(2)), 2).unwrap();
        let (first, second) = (table.lease(OTHER).unwrap(), table.lease(OTHER).unwrap());
        table.lines.leave_thread();
        let releasing = table.clone();
        let releaser = thread::spawn(move || releasing.release(first));
        table.release(second);
        releaser.join().unwrap();
        assert_eq!((table.in_use(), lines_listed(&table.scan())), (0, 0));
    });
}

/// Two threads take lines at once: no cell is given to both, and the mark covers both.
// r[verify lease.listed]
#[test]
fn two_threads_take_lines_at_once() {
    static ONE_LINE: Outcome = Outcome::new();
    static TWO_LINES: Outcome = Outcome::new();
    loom::model(|| {
        let table = LeaseTable::new(region(lease_table_bytes(4)), 4).unwrap();
        let cells = Arc::new(Mutex::new(Vec::new()));
        let (other, list) = (table.clone(), Arc::clone(&cells));
        let taker = thread::spawn(move || {
            let cell = other.lease(SLOT).unwrap();
            list.lock().unwrap().push(cell);
        });
        let own = table.lease(OTHER).unwrap();
        taker.join().unwrap();
        let scan = table.scan();
        assert!(scan.names(SLOT) && scan.names(OTHER));
        match lines_listed(&scan) {
            1 => ONE_LINE.seen(),
            2 => TWO_LINES.seen(),
            lines => panic!("two leases, and {lines} lines are listed"),
        }
        cells.lock().unwrap().drain(..).for_each(|cell| table.release(cell));
        table.release(own);
    });
    ONE_LINE.assert_seen("the second thread takes the line that the first gave back at its end");
    TWO_LINES.assert_seen("each has a line of its own");
}
