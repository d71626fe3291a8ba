use super::{LEAP_MAX, Taken, TouchLog, TouchReader, is_touch_entries};
use crate::format::{RingsHeader, TOUCH_SHARDS};
use crate::layout::RingsLayout;
use onecopy_shm::{Mapping, Region, SlotRef};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::mem::offset_of;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

const ENTRIES: u32 = 8;
const ALL: u64 = ENTRIES as u64 * TOUCH_SHARDS as u64;

struct Rig {
    rings: Region,
    layout: RingsLayout,
    log: TouchLog,
    reader: TouchReader,
}

impl Rig {
    fn new() -> Rig {
        Rig::with(ENTRIES)
    }

    fn with(entries: u32) -> Rig {
        let layout = RingsLayout::new(1024, entries).unwrap();
        let rings = Mapping::heap(layout.size_bytes).unwrap();
        let rings = rings.region(0, layout.size_bytes).unwrap();
        let log = TouchLog::new(&rings, layout.touches, entries).unwrap();
        let reader = TouchReader::new(&rings, layout.touches, entries).unwrap();
        Rig { rings, layout, log, reader }
    }

    /// Takes with a new share of a turn.
    fn take(&mut self) -> (Vec<u32>, u64) {
        self.reader.renew();
        let (found, taken) = self.take_rest();
        assert_eq!(taken.touches, found.len() as u64);
        (found, taken.lost)
    }

    fn take_rest(&mut self) -> (Vec<u32>, Taken) {
        let mut found = Vec::new();
        let taken = self.reader.take(|slot| found.push(slot.slot));
        (found, taken)
    }

    fn store(&self, offset: u64, value: u64) {
        self.rings.word(offset).unwrap().store(value, Ordering::Relaxed);
    }

    /// Lies about how much was noted in shard 0.
    fn set_position(&self, position: u64) {
        self.store(self.layout.touches, position);
    }
}

fn slot(number: u32) -> SlotRef {
    SlotRef { slot: number, generation: 3 }
}

fn note(rig: &Rig, shard: u64, slots: impl IntoIterator<Item = u32>) {
    for number in slots {
        rig.log.note_in(shard, slot(number));
    }
}

// r[verify touch.order]
#[test]
fn what_a_thread_noted_is_taken_once_and_in_its_order() {
    let mut rig = Rig::new();
    assert_eq!(rig.take(), (vec![], 0));
    note(&rig, 0, [5, 5, 1, 9]);
    assert_eq!(rig.take(), (vec![5, 5, 1, 9], 0));
    assert_eq!(rig.take(), (vec![], 0));
    note(&rig, 0, 1..=6);
    assert_eq!(rig.take(), ((1..=6).collect(), 0), "over the end of the entries");
    // Threads apart: each in its own order.
    note(&rig, 2, [1, 2]);
    note(&rig, 7, [3]);
    note(&rig, 2, [4]);
    assert_eq!(rig.take(), (vec![1, 2, 4, 3], 0));
    // This thread's own shard, whichever it is, and another's.
    rig.log.note(slot(8));
    std::thread::scope(|scope| drop(scope.spawn(|| rig.log.note(slot(9))).join()));
    let mut found = rig.take().0;
    found.sort_unstable();
    assert_eq!(found, [8, 9]);
}

// r[verify touch.lossy]
#[test]
fn the_oldest_notes_are_lost_and_counted() {
    let mut rig = Rig::new();
    note(&rig, 0, 1..=ENTRIES);
    assert_eq!(rig.take(), ((1..=ENTRIES).collect(), 0), "exactly full");
    note(&rig, 0, 1..=30);
    assert_eq!(rig.take(), ((30 - ENTRIES + 1..=30).collect(), 30 - u64::from(ENTRIES)));
    assert_eq!(rig.take(), (vec![], 0), "counted once");
    // A position may wrap around.
    rig.set_position(u64::MAX - 1);
    rig.take();
    note(&rig, 0, 1..=5);
    assert_eq!(rig.take(), ((1..=5).collect(), 0));
}

// r[verify touch.hostile]
#[test]
fn a_look_takes_no_more_than_the_log_holds_and_the_next_goes_on() {
    let mut rig = Rig::new();
    for shard in 0..TOUCH_SHARDS as u64 {
        note(&rig, shard, 1..=ENTRIES);
    }
    rig.reader.renew();
    let (found, taken) = rig.take_rest();
    assert_eq!((found.len() as u64, taken.lost), (ALL, 0));
    note(&rig, 3, [11, 12]);
    assert_eq!(rig.take_rest().0, [0; 0], "its share of the turn is used up");
    assert_eq!(rig.take(), (vec![11, 12], 0));
    // In the middle of a shard.
    rig.reader.renew();
    rig.reader.left = 3;
    note(&rig, 3, 1..=5);
    assert_eq!(rig.take_rest().0, [1, 2, 3]);
    assert_eq!(rig.take(), (vec![4, 5], 0));
}

// r[verify touch.hostile]
#[test]
fn lies_cost_their_teller_notes_and_nobody_anything_else() {
    let mut rig = Rig::new();
    note(&rig, 0, [1, 2, 3]);
    rig.take();
    // Positions that nobody can have come to: nothing is taken from them, and work goes on there.
    for lie in [2, 0, u64::MAX, 1 << 40, LEAP_MAX << 1] {
        rig.set_position(lie);
        assert_eq!(rig.take(), (vec![], 0), "{lie}");
        note(&rig, 0, [7]);
        assert_eq!(rig.take(), (vec![7], 0), "{lie}");
    }
    // One that could be, and is not: at most the log's entries.
    rig.set_position(0);
    rig.take();
    rig.set_position(LEAP_MAX);
    let (found, lost) = rig.take();
    assert_eq!(lost, LEAP_MAX - u64::from(ENTRIES));
    assert!(found.len() <= ENTRIES as usize);
    // Words that name no slot are passed by, any other is handed on: the service judges.
    let first = rig.layout.touches + 64;
    rig.set_position(0);
    rig.take();
    for (entry, word) in [0, 77, u64::MAX, 5 << 32].into_iter().enumerate() {
        rig.store(first + 8 * entry as u64, word);
    }
    rig.set_position(4);
    assert_eq!(rig.take(), (vec![u32::MAX, 5], 0));
    // Shards that no log has.
    rig.store(offset_of!(RingsHeader, touch_shards) as u64, u64::MAX);
    assert_eq!(rig.take(), (vec![], 0));
}

// r[verify touch.lossy]
#[test]
fn threads_that_share_a_shard_lose_notes_and_make_none_up() {
    const THREADS: u32 = 3;
    const NOTES: u32 = 20_000;
    let mut rig = Rig::with(64);
    let (log, reader) = (&rig.log, &mut rig.reader);
    let (start, done) = (Barrier::new(THREADS as usize + 1), AtomicBool::new(false));
    let mut taken = 0;
    std::thread::scope(|scope| {
        let (start, done) = (&start, &done);
        let threads = (1..=THREADS).map(|thread| {
            scope.spawn(move || {
                start.wait();
                for number in 0..NOTES {
                    log.note_in(4, SlotRef { slot: thread, generation: number });
                }
            })
        });
        let threads: Vec<_> = threads.collect();
        let host = scope.spawn(move || {
            let mut look = || {
                reader.renew();
                reader.take(|slot| {
                    assert!((1..=THREADS).contains(&slot.slot) && slot.generation < NOTES);
                })
            };
            let mut taken = 0;
            while !done.load(Ordering::Acquire) {
                taken += look().touches;
            }
            taken + look().touches
        });
        start.wait();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        done.store(true, Ordering::Release);
        taken = host.join().unwrap();
    });
    assert!(taken > 0);
}

// r[verify touch.layout]
#[test]
fn a_shard_is_whole_cache_lines_behind_the_rings() {
    for entries in [8, 64, 2048, 65536] {
        let layout = RingsLayout::new(64 << 10, entries).unwrap();
        assert!(layout.touches.is_multiple_of(4096));
        assert!(layout.touches >= layout.replies + layout.ring_bytes);
        let shard_bytes = 64 + 8 * u64::from(entries);
        assert!(shard_bytes.is_multiple_of(64));
        assert!(layout.size_bytes >= layout.touches + 8 * shard_bytes);
    }
    for entries in [0, 4, 12, 2047, 1 << 17, u64::MAX] {
        assert!(!is_touch_entries(entries), "{entries}");
    }
    assert!(is_touch_entries(8) && is_touch_entries(1 << 16));
}

proptest! {
    // r[verify touch.order]
    #[test]
    fn a_log_is_a_queue_that_forgets_its_oldest(
        steps in prop::collection::vec((0..4_u64, 0..20_u32, any::<bool>()), 1..40),
    ) {
        let mut rig = Rig::new();
        let mut model = vec![VecDeque::new(); 4];
        let mut lost = 0;
        let mut number = 0;
        for (shard, count, takes) in steps {
            for _ in 0..count {
                number += 1;
                rig.log.note_in(shard, slot(number));
                let noted = &mut model[shard as usize];
                noted.push_back(number);
                if noted.len() > ENTRIES as usize {
                    noted.pop_front();
                    lost += 1;
                }
            }
            if takes {
                let expected: Vec<u32> = model.iter_mut().flat_map(|noted| noted.drain(..)).collect();
                prop_assert_eq!(rig.take(), (expected, std::mem::take(&mut lost)));
            }
        }
    }
}
