//! Models of the index: the shipped reader and writer over loom's memory, a model for each edge. As few
//! steps as can be are left to the threads; what leads up to them is done before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as Count, Ordering};

use loom::cell::UnsafeCell;
use loom::thread;
use onecopy_shm::{Mapping, Region};

use super::{IndexReader, IndexWriter, OpenIndexError, hash_key, region_bytes};
use crate::key::Key;

const SEED: u64 = 7;
/// In the last bucket but one of 8, and of 16. With a fingerprint that an empty entry does not have: those
/// that match are loaded twice.
const HOME: u64 = 14 | (1 << 40);

/// Counts the executions in which something was seen, so that a model in which it never is fails.
struct Seen(Count);

impl Seen {
    const fn new() -> Seen {
        Seen(Count::new(0))
    }

    fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn assert_some(&self) {
        assert_ne!(self.0.load(Ordering::Relaxed), 0, "it never happened");
    }
}

fn region() -> Region {
    let size_bytes = region_bytes(16).unwrap();
    Mapping::heap(size_bytes).unwrap().region(0, size_bytes).unwrap()
}

fn index() -> (IndexWriter, IndexReader) {
    let region = region();
    let mut index = IndexWriter::create(&region, 8, SEED).unwrap();
    index.set_buckets_ready(16);
    let reader = IndexReader::open(&region).unwrap();
    (index, reader)
}

// In all of them the reader is the thread that is spawned: the host looks at a word before it stores it,
// and the model checker would take that look for the one that the store races with.

// r[verify index.open]
#[test]
fn who_sees_the_magic_sees_the_index() {
    static SEEN: Seen = Seen::new();
    loom::model(|| {
        let region = region();
        let its_region = region.clone();
        let reader = thread::spawn(move || match IndexReader::open(&its_region) {
            Ok(reader) => {
                SEEN.count();
                let key = Key::from_bytes([1; 32]);
                assert_eq!(reader.bucket_count(), 8);
                assert_eq!(reader.hash(&key), hash_key(&key, SEED));
            }
            Err(error) => assert!(matches!(error, OpenIndexError::Magic { found: 0, .. })),
        });
        IndexWriter::create(&region, 8, SEED).map(drop).unwrap();
        reader.join().unwrap();
    });
    SEEN.assert_some();
}

// r[verify index.insert]
#[test]
#[expect(clippy::arc_with_non_send_sync, reason = "the model checker runs on one thread")]
fn who_finds_a_key_sees_what_was_said_about_its_slot() {
    static SEEN: Seen = Seen::new();
    loom::model(|| {
        let (mut index, reader) = index();
        let slot = Arc::new(UnsafeCell::new(()));
        let its_slot = Arc::clone(&slot);
        let reader = thread::spawn(move || {
            reader.find(HOME, |_| {
                SEEN.count();
                its_slot.with(|_| true)
            })
        });
        slot.with_mut(|_| ());
        index.insert(HOME, 1).unwrap();
        reader.join().unwrap();
    });
    SEEN.assert_some();
}

/// Lets the host copy the buckets from `next` on, publish the larger mask and erase, while another
/// process searches for a key whose entry goes to the upper half.
fn race_with_a_doubling(prepare: fn(&mut IndexWriter), hash: u64, next: u64) {
    let (smaller, larger) = (Arc::new(Seen::new()), Arc::new(Seen::new()));
    let (with_smaller, with_larger) = (Arc::clone(&smaller), Arc::clone(&larger));
    loom::model(move || {
        let (mut index, reader) = index();
        prepare(&mut index);
        index.begin();
        index.advance(next, |_| hash);
        let (with_smaller, with_larger) = (Arc::clone(&with_smaller), Arc::clone(&with_larger));
        let reader = thread::spawn(move || {
            match reader.bucket_count() {
                8 => with_smaller.count(),
                _ => with_larger.count(),
            }
            assert_eq!(reader.find(hash, |slot| slot == 1), Some(1));
        });
        index.advance(8 - next + 1, |_| hash);
        assert!(index.make_place(hash, |_| hash));
        reader.join().unwrap();
    });
    smaller.assert_some();
    larger.assert_some();
}

// r[verify index.double]
#[test]
fn a_key_is_found_while_the_index_doubles() {
    race_with_a_doubling(|index| index.insert(HOME + 1, 1).unwrap(), HOME + 1, 7);
}

// r[verify index.double]
// r[verify index.overflow]
#[test]
fn a_key_behind_its_home_is_found_while_the_index_doubles() {
    // In the last bucket; the others with its home have gone.
    let prepare = |index: &mut IndexWriter| {
        (2..=9).for_each(|slot| index.insert(HOME, slot).unwrap());
        index.insert(HOME, 1).unwrap();
        (2..=9).for_each(|slot| assert!(index.remove(HOME, slot)));
    };
    race_with_a_doubling(prepare, HOME, 8);
}

// r[verify index.life]
#[test]
fn a_key_is_found_or_the_index_is_known_to_be_made_anew() {
    static FOUND: Seen = Seen::new();
    static MISSED: Seen = Seen::new();
    loom::model(|| {
        let region = region();
        let mut earlier = IndexWriter::create(&region, 8, SEED).unwrap();
        earlier.insert(HOME, 1).unwrap();
        let reader = IndexReader::open(&region).unwrap();
        let reader = thread::spawn(move || {
            let life = reader.life();
            match reader.find(HOME, |slot| slot == 1) {
                Some(_) => FOUND.count(),
                None => {
                    MISSED.count();
                    assert!(!reader.was_whole(life));
                }
            }
        });
        let mut index = IndexWriter::create_anew(&region, 8, SEED).unwrap();
        index.insert(HOME, 1).unwrap();
        index.set_whole();
        reader.join().unwrap();
    });
    FOUND.assert_some();
    MISSED.assert_some();
}
