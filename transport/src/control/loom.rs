//! Models of the control area: whoever sees the word that is stored last sees the rest.

use super::{ControlReader, ControlWriter, ExtentFields, HeaderError, PeerFields, read_geometry};
use crate::format::{PeerState, Role};
use crate::layout::{ControlLayout, Geometry};
use loom::cell::UnsafeCell;
use loom::thread;
use onecopy_shm::{Mapping, SlotState, SlotWord};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SEGMENT_ID: u128 = 7 << 64 | 9;

/// Counts the executions in which the reader saw what the writer stored last.
struct Seen(AtomicU64);

impl Seen {
    const fn new() -> Seen {
        Seen(AtomicU64::new(0))
    }

    fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn assert_some(&self) {
        assert_ne!(self.0.load(Ordering::Relaxed), 0, "the reader never saw the last store");
    }
}

fn geometry() -> Geometry {
    Geometry {
        granule_bytes: 64,
        unit_bytes: 64,
        pool_bytes_max: 128,
        slots_max: 8,
        peers_max: 1,
        service_bytes: 0,
        service_id: 1,
        classes: vec![64],
        leases_max: 8,
    }
}

fn mapping() -> Arc<Mapping> {
    Mapping::heap(ControlLayout::new(&geometry()).size_bytes).unwrap()
}

/// Lets the host store while another process looks.
fn race(host: fn(&ControlWriter), guest: impl Fn(&ControlReader) + Send + Sync + 'static) {
    loom::model(move || {
        let control = ControlWriter::new(mapping(), geometry()).unwrap();
        let reader = control.reader().clone();
        let writer = thread::spawn(move || host(&control));
        guest(&reader);
        writer.join().unwrap();
    });
}

// r[verify pool.publish-order]
#[test]
fn who_sees_a_slot_published_sees_what_was_said_about_it() {
    static SEEN: Seen = Seen::new();
    fn publish(control: &ControlWriter) {
        control.set_slot_publication(1, 60, &[1, 2, 3, 4, 5], &[11, 12, 13, 14, 15, 16, 17]);
        control.set_slot_word(1, SlotWord::published(1));
    }
    race(publish, |reader| {
        let word = SlotWord::decode(reader.slot_word(1)).unwrap();
        if word.state() == SlotState::Published {
            SEEN.count();
            assert_eq!(reader.slot_length(1), 60);
            assert_eq!(reader.slot_note(1), [1, 2, 3, 4, 5]);
            assert_eq!(reader.slot_cold(1), [11, 12, 13, 14, 15, 16, 17]);
        }
    });
    SEEN.assert_some();
}

// r[verify control.note]
#[test]
fn a_note_read_between_two_looks_is_of_that_publication() {
    static OLD: Seen = Seen::new();
    static NEW: Seen = Seen::new();
    loom::model(|| {
        let control = ControlWriter::new(mapping(), geometry()).unwrap();
        let reader = control.reader().clone();
        control.set_slot_publication(1, 60, &[1; 5], &[0; 7]);
        control.set_slot_word(1, SlotWord::published(1));
        let host = thread::spawn(move || {
            let retired = SlotWord::published(1).retire().unwrap();
            control.set_slot_word(1, retired);
            control.set_slot_publication(1, 60, &[2; 5], &[0; 7]);
            control.set_slot_word(1, SlotWord::published(2));
        });
        let entry = reader.slot_entry(1).unwrap();
        let before = entry.word();
        let note = entry.note_word(0);
        if let Some(generation) = SlotWord::published_generation(before)
            && entry.word_after_note() == before
        {
            if generation == 1 {
                OLD.count()
            } else {
                NEW.count()
            }
            assert_eq!(note, u64::from(generation));
        }
        host.join().unwrap();
    });
    OLD.assert_some();
    NEW.assert_some();
}

// r[verify pool.carve-order]
#[test]
fn who_sees_an_extent_sees_all_of_it() {
    static SEEN: Seen = Seen::new();
    const EXTENT: ExtentFields =
        ExtentFields { slot_bytes: 64, unit_count: 1, slot_first: 3, slot_count: 2 };
    race(
        |control| control.set_extent(1, &EXTENT),
        |reader| {
            let found = reader.extent(1);
            if found.slot_bytes != 0 {
                SEEN.count();
                assert_eq!(found, EXTENT);
            }
        },
    );
    SEEN.assert_some();
}

// r[verify control.peer-row]
#[test]
fn a_peer_row_is_seen_whole_or_vacant() {
    static SEEN: Seen = Seen::new();
    const PEER: PeerFields = PeerFields {
        serial: 5,
        state: PeerState::Attached,
        attached: true,
        role: Role::Writer,
        pid: 77,
        process_inode: 99,
        start_time_ticks: 1234,
        boot_id: 3 << 64 | 4,
        uid: 1000,
        lease_serial: 5,
        suspicion: None,
    };
    race(
        |control| control.set_peer(0, &PEER),
        |reader| {
            if let Some(found) = reader.peer(0).unwrap() {
                SEEN.count();
                assert_eq!(found, PEER);
            }
        },
    );
    SEEN.assert_some();
}

// r[verify growth.publish]
#[test]
#[expect(clippy::arc_with_non_send_sync, reason = "the model checker runs on one thread")]
fn who_sees_a_size_may_touch_what_it_covers() {
    static POOL: Seen = Seen::new();
    static SLOTS: Seen = Seen::new();
    loom::model(|| {
        let control = ControlWriter::new(mapping(), geometry()).unwrap();
        let reader = control.reader().clone();
        let (pool, slots) = (Arc::new(UnsafeCell::new(())), Arc::new(UnsafeCell::new(())));
        let (new_pool, new_slots) = (Arc::clone(&pool), Arc::clone(&slots));
        let host = thread::spawn(move || {
            new_slots.with_mut(|_| ());
            new_pool.with_mut(|_| ());
            control.set_slots_ready(8);
            control.set_pool_bytes(128);
        });
        if reader.pool_bytes() == 128 {
            POOL.count();
            pool.with(|_| ());
        }
        if reader.slots_ready() == 8 {
            SLOTS.count();
            slots.with(|_| ());
        }
        host.join().unwrap();
    });
    POOL.assert_some();
    SLOTS.assert_some();
}

// r[verify control.magic-last]
#[test]
fn who_sees_the_magic_sees_the_geometry() {
    static SEEN: Seen = Seen::new();
    loom::model(|| {
        let mapping = mapping();
        let its_mapping = Arc::clone(&mapping);
        // The reader is the thread that is spawned: the maker looks at the magic before it stores
        // it, and the model checker would take that look for the one that the store races with.
        let reader = thread::spawn(move || match read_geometry(&its_mapping) {
            Ok(found) => {
                SEEN.count();
                assert_eq!(found, (geometry(), SEGMENT_ID));
            }
            Err(error) => assert_eq!(error, HeaderError::WrongMagic { found: 0 }),
        });
        ControlWriter::initialise(mapping, &geometry(), SEGMENT_ID).map(drop).unwrap();
        reader.join().unwrap();
    });
    SEEN.assert_some();
}
