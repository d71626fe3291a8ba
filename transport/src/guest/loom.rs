//! Models of what the threads of one guest share.

use super::clones::Leases;
use super::closing::Closing;
use super::growth::Growth;
use crate::control::ControlWriter;
use crate::layout::{ControlLayout, Geometry};
use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU64 as Registered;
use loom::thread;
use onecopy_shm::{LeaseTable, Mapping, SlotRef, lease_table_bytes};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SLOT: SlotRef = SlotRef { slot: 3, generation: 1 };
const CELLS: u32 = 8;

/// Counts how often an outcome was seen over all executions of a model.
#[derive(Default)]
struct Outcome(AtomicU64);

impl Outcome {
    fn seen(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn assert_seen(&self, what: &str) {
        assert_ne!(self.0.load(Ordering::Relaxed), 0, "no execution in which {what}");
    }
}

fn table() -> LeaseTable {
    let bytes = lease_table_bytes(CELLS);
    LeaseTable::new(Mapping::heap(bytes).unwrap().region(0, bytes).unwrap(), CELLS).unwrap()
}

#[expect(clippy::arc_with_non_send_sync, reason = "the model checker runs on one thread")]
fn cell() -> Arc<UnsafeCell<()>> {
    Arc::new(UnsafeCell::new(()))
}

fn control() -> ControlWriter {
    let geometry = Geometry {
        granule_bytes: 64,
        unit_bytes: 64,
        pool_bytes_max: 256,
        slots_max: 8,
        peers_max: 1,
        service_bytes: 0,
        service_id: 1,
        classes: vec![64],
        leases_max: CELLS.into(),
    };
    let mapping = Mapping::heap(ControlLayout::new(&geometry).size_bytes).unwrap();
    ControlWriter::new(mapping, geometry).unwrap()
}

// r[verify guest.growth.before-use]
#[test]
fn memory_is_handed_out_after_its_callbacks() {
    static BOTH: Outcome = Outcome(AtomicU64::new(0));
    loom::model(|| {
        let control = control();
        control.set_pool_bytes(128);
        let registered = Arc::new(Registered::new(0));
        let growth = Arc::new(Growth::new(control.reader().clone()));
        let by_callback = Arc::clone(&registered);
        growth.add(Arc::new(move |before, now| {
            assert_eq!((before, now), (128, 256));
            by_callback.store(1, Ordering::Relaxed);
        }));
        control.set_pool_bytes(256);
        let (its_growth, its_registered) = (Arc::clone(&growth), Arc::clone(&registered));
        // Spawned, because who tells looks at the size before it stores it: the model checker would
        // take that look for the one that the store races with.
        let reserving = thread::spawn(move || {
            if its_growth.noticed_bytes() == 256 {
                BOTH.seen();
            }
            assert!(its_growth.covers(256));
            assert_eq!(its_registered.load(Ordering::Relaxed), 1);
        });
        growth.tell();
        reserving.join().unwrap();
    });
    BOTH.assert_seen("the watcher tells before memory is handed out");
}

// r[verify guest.lease.clones]
#[test]
fn the_last_clone_releases_after_all_have_read() {
    static FIRST: Outcome = Outcome(AtomicU64::new(0));
    static SECOND: Outcome = Outcome(AtomicU64::new(0));
    loom::model(|| {
        let leases = Arc::new(Leases::new(table()));
        let payload = cell();
        let guard = leases.table.lease(SLOT).unwrap();
        leases.add_clone(&guard);
        let clone = guard.same_lease();
        let (its_leases, its_payload) = (Arc::clone(&leases), Arc::clone(&payload));
        let other = thread::spawn(move || {
            its_payload.with(|_| ());
            let is_last = its_leases.is_last(&clone);
            if is_last {
                // As whoever gets the slot next.
                its_payload.with_mut(|_| ());
                its_leases.table.release(clone);
            }
            is_last
        });
        payload.with(|_| ());
        let is_last = leases.is_last(&guard);
        if is_last {
            payload.with_mut(|_| ());
            leases.table.release(guard);
        }
        let other_is_last = other.join().unwrap();
        assert_ne!(is_last, other_is_last, "exactly one of the two is the last");
        assert_eq!(leases.table.in_use(), 0);
        if is_last { FIRST.seen() } else { SECOND.seen() }
    });
    FIRST.assert_seen("the guard is the last");
    SECOND.assert_seen("its clone is the last");
}

// r[verify guest.detach]
#[test]
fn nothing_is_leased_from_a_guest_that_said_goodbye() {
    static LEASED: Outcome = Outcome(AtomicU64::new(0));
    static CLOSED: Outcome = Outcome(AtomicU64::new(0));
    loom::model(|| {
        let (closing, table) = (Arc::new(Closing::new()), table());
        let (its_closing, its_table) = (Arc::clone(&closing), table.clone());
        let reader = thread::spawn(move || {
            let cell = its_table.lease(SLOT).unwrap();
            let refused = its_closing.is_begun();
            if refused {
                its_table.release(cell);
            }
            !refused
        });
        let said_goodbye = closing.begin(&table).unwrap() == 0;
        let reads = reader.join().unwrap();
        assert!(!(said_goodbye && reads), "a slot is read after the goodbye");
        if reads {
            LEASED.seen();
        }
        if said_goodbye {
            CLOSED.seen();
        }
    });
    LEASED.assert_seen("the lease comes first");
    CLOSED.assert_seen("the goodbye comes first");
}
