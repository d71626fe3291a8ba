//! Model of a touch log: a host takes what a guest notes meanwhile.

use super::{TouchLog, TouchReader};
use crate::format::{RINGS_REQUEST_OFFSET, TOUCH_ENTRIES_MIN};
use crate::layout::touch_shard_bytes;
use loom::thread;
use onecopy_shm::{Mapping, SlotRef};
use std::sync::atomic::{AtomicU64, Ordering};

const SHARD: u64 = 0;

fn slot(number: u32) -> SlotRef {
    SlotRef { slot: number, generation: 1 }
}

// r[verify touch.order]
#[test]
fn what_is_taken_was_noted_and_in_order() {
    static PARTS: AtomicU64 = AtomicU64::new(0);
    loom::model(|| {
        // One shard would do, but the words before it belong to the header of the rings.
        let bytes = RINGS_REQUEST_OFFSET + touch_shard_bytes(TOUCH_ENTRIES_MIN) * 8;
        let rings = Mapping::heap(bytes).unwrap().region(0, bytes).unwrap();
        let log = TouchLog::new(&rings, RINGS_REQUEST_OFFSET, TOUCH_ENTRIES_MIN).unwrap();
        let reader = TouchReader::new(&rings, RINGS_REQUEST_OFFSET, TOUCH_ENTRIES_MIN);
        let mut reader = reader.unwrap();
        let guest = thread::spawn(move || {
            log.note_in(SHARD, slot(1));
            log.note_in(SHARD, slot(2));
        });
        let mut found = Vec::new();
        reader.renew();
        let first = reader.take(|slot| found.push(slot));
        guest.join().unwrap();
        let second = reader.take(|slot| found.push(slot));
        // An entry that was not there yet reads as a note of nothing, and is then never seen again.
        assert_eq!(found, [slot(1), slot(2)]);
        assert_eq!((first.lost, second.lost), (0, 0));
        if first.touches == 1 {
            PARTS.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert_ne!(PARTS.load(Ordering::Relaxed), 0, "the host never came between two notes");
}
