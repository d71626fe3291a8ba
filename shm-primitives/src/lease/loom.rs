//! Models of the lease protocol over the shipped table and scan. What a slot holds is the model
//! checker's `UnsafeCell`, so that any touch that is not ordered is found.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as Count, Ordering as CountOrdering};

use loom::cell::UnsafeCell;
use loom::thread;

use super::{LeaseCell, LeaseScan, LeaseTable, fence_before_scan, lease_table_bytes};
use crate::error::LeaseError;
use crate::mapping::Mapping;
use crate::region::{Region, Word};
use crate::slot::{SlotRef, SlotWord};
use crate::sync::Ordering;

mod listed;

const ATTACHED: u64 = 5;
const OLD: u64 = 11;
const NEW: u64 = 22;

/// Counts how often an outcome was seen over all executions of a model.
struct Outcome(Count);

impl Outcome {
    const fn new() -> Outcome {
        Outcome(Count::new(0))
    }

    fn seen(&self) {
        self.0.fetch_add(1, CountOrdering::Relaxed);
    }

    fn assert_seen(&self, what: &str) {
        assert_ne!(self.0.load(CountOrdering::Relaxed), 0, "no execution in which {what}");
    }
}

/// Bytes of a slot: the model checker's cell reports touches that are not ordered, the value beside
/// it shows which of two ordered ones came first.
struct Payload {
    touched: UnsafeCell<()>,
    value: Count,
}

impl Payload {
    fn new(value: u64) -> Payload {
        Payload { touched: UnsafeCell::new(()), value: Count::new(value) }
    }

    fn read(&self) -> u64 {
        self.touched.with(|_| self.value.load(CountOrdering::Relaxed))
    }

    fn write(&self, value: u64) {
        self.touched.with_mut(|_| self.value.store(value, CountOrdering::Relaxed));
    }
}

/// A slot with its state word and payload, a guest's `attached` word and lease table.
#[derive(Clone)]
struct World {
    state: Word,
    attached: Word,
    table: LeaseTable,
    scan: LeaseScan,
    payload: Arc<Payload>,
}

const SLOT: SlotRef = SlotRef { slot: 3, generation: 1 };
const OTHER: SlotRef = SlotRef { slot: 4, generation: 1 };

fn region(size_bytes: u64) -> Region {
    Mapping::heap(size_bytes).unwrap().region(0, size_bytes).unwrap()
}

fn granted() -> SlotWord {
    SlotWord::UNCARVED.carve().unwrap().grant(1).unwrap()
}

impl World {
    /// The slot is granted, its payload OLD.
    #[expect(clippy::arc_with_non_send_sync, reason = "the model checker runs on one thread")]
    fn granted(capacity: u32) -> World {
        let table_region = region(lease_table_bytes(capacity));
        let words = region(16);
        let (state, attached) = (words.word(0).unwrap(), words.word(8).unwrap());
        state.store(granted().bits(), Ordering::Relaxed);
        attached.store(ATTACHED, Ordering::Relaxed);
        World {
            state,
            attached,
            scan: LeaseScan::new(&table_region, capacity).unwrap(),
            table: LeaseTable::new(table_region, capacity).unwrap(),
            payload: Arc::new(Payload::new(OLD)),
        }
    }

    fn published(capacity: u32) -> World {
        let world = World::granted(capacity);
        world.state.store(granted().publish().unwrap().bits(), Ordering::Release);
        world
    }

    fn lease(&self) -> Result<LeaseCell, LeaseError> {
        // As a guest has them: mapped read-only.
        let (state, attached) = (self.state.reader(), self.attached.reader());
        let state = |ordering| state.load(ordering);
        let attached = |ordering| attached.load(ordering);
        self.table.lease_published(SLOT, state, attached, ATTACHED)
    }

    /// Guest: leases, reads and releases; whether it could.
    fn read(&self) -> Result<(), LeaseError> {
        let cell = self.lease()?;
        self.look();
        self.table.release(cell);
        Ok(())
    }

    /// Guest: reads the payload, under a lease.
    fn look(&self) {
        assert_eq!(self.payload.read(), OLD, "reused under a lease");
    }

    /// Host: unpublishes.
    fn retire(&self) {
        let retired = granted().publish().unwrap().retire().unwrap();
        self.state.store(retired.bits(), Ordering::Release);
    }

    /// Host: unpublishes and reuses unless it is leased; whether it was.
    fn retire_and_reuse(&self) -> bool {
        self.retire();
        fence_before_scan();
        let leased = self.scan.names(SLOT);
        if !leased {
            self.payload.write(NEW);
        }
        leased
    }
}

// r[verify lease.order]
// r[verify lease.release]
#[test]
fn a_slot_is_reused_or_read_never_both() {
    static LEASED: Outcome = Outcome::new();
    static REFUSED: Outcome = Outcome::new();
    static READ_THEN_REUSED: Outcome = Outcome::new();
    loom::model(|| {
        let host = World::published(2);
        let guest = host.clone();
        let reader = thread::spawn(move || guest.read());
        let is_leased = host.retire_and_reuse();
        match (is_leased, reader.join().unwrap()) {
            (true, _) => LEASED.seen(),
            (false, Ok(())) => READ_THEN_REUSED.seen(),
            (false, Err(LeaseError::NotPublished { .. })) => REFUSED.seen(),
            (false, Err(error)) => panic!("{error}"),
        }
    });
    LEASED.assert_seen("the slot waits for its reader");
    REFUSED.assert_seen("the reader turns away");
    READ_THEN_REUSED.assert_seen("the reader is done before the host looks");
}

// r[verify lease.order]
// r[verify lease.published]
#[test]
fn a_guest_is_cut_off_or_its_lease_is_seen() {
    static QUARANTINED: Outcome = Outcome::new();
    static REFUSED: Outcome = Outcome::new();
    static READ_THEN_REUSED: Outcome = Outcome::new();
    loom::model(|| {
        let host = World::published(2);
        let guest = host.clone();
        let reader = thread::spawn(move || guest.read());
        // The host looks once more and never again: what is named is quarantined, the rest may be
        // retired and reused without another look.
        host.attached.store(0, Ordering::Release);
        fence_before_scan();
        let quarantined = host.scan.names(SLOT);
        if !quarantined {
            host.retire();
            host.payload.write(NEW);
        }
        match (quarantined, reader.join().unwrap()) {
            (true, _) => QUARANTINED.seen(),
            (false, Ok(())) => READ_THEN_REUSED.seen(),
            (false, Err(LeaseError::CutOff { .. } | LeaseError::NotPublished { .. })) => {
                REFUSED.seen();
            }
            (false, Err(error)) => panic!("{error}"),
        }
    });
    QUARANTINED.assert_seen("the slot is quarantined");
    REFUSED.assert_seen("the reader turns away");
    READ_THEN_REUSED.assert_seen("the reader is done before the host looks");
}

/// Another thread ends the lease; its cell is taken for another slot; the host meets that one.
// r[verify lease.release]
#[test]
fn the_next_lease_of_a_cell_hands_on_a_release_elsewhere() {
    static MET_THE_NEXT: Outcome = Outcome::new();
    loom::model(|| {
        let host = World::published(2);
        let owner = host.clone();
        let cell = owner.lease().unwrap();
        // The other cell is taken, so the next lease has to be in this one.
        let held = owner.table.lease(OTHER).unwrap();
        let releasing = owner.clone();
        let releaser = thread::spawn(move || {
            releasing.look();
            releasing.table.release(cell);
        });
        let looking = host.clone();
        let looker = thread::spawn(move || {
            looking.retire();
            fence_before_scan();
            let (mut ours, mut cells) = (false, 0);
            looking.scan.for_each(|named| {
                cells += 1;
                ours |= named == SLOT;
            });
            if !ours {
                looking.payload.write(NEW);
                if cells > 1 {
                    MET_THE_NEXT.seen();
                }
            }
        });
        let next = owner.table.lease(OTHER);
        releaser.join().unwrap();
        looker.join().unwrap();
        next.into_iter().for_each(|next| owner.table.release(next));
        owner.table.release(held);
    });
    MET_THE_NEXT.assert_seen("the host meets the next lease of the cell");
}

/// The same with one thread: its own next lease stands in the cell that the host meets.
// r[verify lease.release]
#[test]
fn the_next_lease_of_a_cell_hands_on_a_release() {
    static MET_THE_NEXT: Outcome = Outcome::new();
    loom::model(|| {
        let host = World::published(2);
        let guest = host.clone();
        let reader = thread::spawn(move || {
            if guest.read().is_err() {
                return None;
            }
            Some(guest.table.lease(OTHER).unwrap())
        });
        let leased = host.retire_and_reuse();
        let mut next = 0;
        host.scan.for_each(|named| next += u32::from(named == OTHER));
        if !leased && next > 0 {
            MET_THE_NEXT.seen();
        }
        if let Some(cell) = reader.join().unwrap() {
            host.table.release(cell);
        }
    });
    MET_THE_NEXT.assert_seen("the host meets the next lease of the cell");
}

/// What the writer stored before the slot was published is there for whoever leases it.
// r[verify memory.read-only-load]
// r[verify lease.published]
#[test]
fn a_lease_sees_what_was_published() {
    static READ: Outcome = Outcome::new();
    static TOO_EARLY: Outcome = Outcome::new();
    loom::model(|| {
        let host = World::granted(2);
        let guest = host.clone();
        let reader = thread::spawn(move || guest.read());
        host.payload.write(OLD);
        host.state.store(granted().publish().unwrap().bits(), Ordering::Release);
        match reader.join().unwrap() {
            Ok(()) => READ.seen(),
            Err(LeaseError::NotPublished { .. }) => TOO_EARLY.seen(),
            Err(error) => panic!("{error}"),
        }
    });
    READ.assert_seen("the block is read");
    TOO_EARLY.assert_seen("the block is not published yet");
}

/// How many leases the table still takes from this thread.
fn room(table: &LeaseTable) -> u32 {
    let mut cells = Vec::new();
    while let Ok(cell) = table.lease(OTHER) {
        cells.push(cell);
    }
    let room = cells.len() as u32;
    cells.into_iter().for_each(|cell| table.release(cell));
    room
}

/// A thread parts with a full line while another thread releases a lease in it.
// r[verify lease.nothing-lost]
#[test]
fn no_cell_is_lost_when_a_line_is_parted_with() {
    loom::model(|| {
        let table = LeaseTable::new(region(lease_table_bytes(4)), 4).unwrap();
        let kept = table.lease(OTHER).unwrap();
        let passed = table.lease(OTHER).unwrap();
        let releasing = table.clone();
        let releaser = thread::spawn(move || releasing.release(passed));
        // Either in the cell that was just released, or in a new line.
        let next = table.lease(OTHER).unwrap();
        releaser.join().unwrap();
        assert_eq!(room(&table), 2);
        table.release(kept);
        table.release(next);
        assert_eq!(room(&table), 4);
    });
}

/// A thread parts with a line, which another takes when a lease in it ends. What the first one frees there
/// from then on is the other's, who finds it free and stores its own lease.
// r[verify lease.nothing-lost]
#[test]
fn a_cell_of_a_line_that_was_parted_with_is_the_next_owners() {
    static TAKEN: Outcome = Outcome::new();
    loom::model(|| {
        let table = LeaseTable::new(region(lease_table_bytes(4)), 4).unwrap();
        let [passed, kept, elsewhere] = [(); 3].map(|()| table.lease(OTHER).unwrap());
        let taking = table.clone();
        let taker = thread::spawn(move || {
            taking.release(passed);
            [Some(taking.lease(SLOT).unwrap()), taking.lease(SLOT).ok()]
        });
        let freed = kept.index();
        table.release(kept);
        let own = [elsewhere, table.lease(OTHER).unwrap()];
        let theirs = taker.join().unwrap();
        let live: Vec<u32> =
            own.iter().chain(theirs.iter().flatten()).map(LeaseCell::index).collect();
        assert_eq!(table.in_use() as usize, live.len(), "two leases in one of the cells {live:?}");
        if theirs.iter().flatten().any(|cell| cell.index() == freed) {
            TAKEN.seen();
        }
    });
    TAKEN.assert_seen("the next owner takes the cell that the former one freed");
}

/// A thread ends with a lease that another thread releases meanwhile.
// r[verify lease.thread-end]
#[test]
fn no_cell_is_lost_when_a_thread_ends() {
    loom::model(|| {
        let table = LeaseTable::new(region(lease_table_bytes(2)), 2).unwrap();
        let first = table.lease(OTHER).unwrap();
        let second = table.lease(OTHER).unwrap();
        let releasing = table.clone();
        let releaser = thread::spawn(move || releasing.release(first));
        table.lines.leave_thread();
        releaser.join().unwrap();
        table.release(second);
        assert_eq!(room(&table), 2);
    });
}
