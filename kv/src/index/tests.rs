use std::collections::{HashMap, HashSet};
use std::mem::offset_of;
use std::sync::atomic::Ordering;

use onecopy_shm::{Mapping, Region};
use proptest::prelude::*;

use super::{
    BUCKETS_MIN, CreateIndexError, IndexFault, IndexReader, IndexWriter, InsertError,
    LOAD_MAX_PERCENT, OpenIndexError, buckets_for, hash_key, probe, region_bytes,
};
use crate::format::{INDEX_FORMAT_VERSION, INDEX_MAGIC, IndexHeader, OVERFLOW_BIT};
use crate::key::Key;

mod double;
mod load;
mod threads;

const SEED: u64 = 7;

fn region(buckets: u64) -> Region {
    let size_bytes = region_bytes(buckets).unwrap();
    Mapping::heap(size_bytes).unwrap().region(0, size_bytes).unwrap()
}

fn index(buckets: u64) -> (IndexWriter, Region) {
    let region = region(buckets);
    (IndexWriter::create(&region, buckets, SEED).unwrap(), region)
}

fn faults(index: &IndexWriter, hash_of: impl FnMut(u32) -> Option<u64>) -> Vec<IndexFault> {
    let mut faults = Vec::new();
    index.audit(hash_of, |fault| faults.push(fault));
    faults
}

/// A hash that crowds: few homes, fewer fingerprints.
fn crowded(key: u32) -> u64 {
    (u64::from(key) % 5) | ((u64::from(key) % 3) << 40)
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u32),
    Remove(u32),
}

proptest! {
    // r[verify index.insert]
    // r[verify index.remove]
    // r[verify index.find]
    // r[verify index.full]
    #[test]
    fn it_does_as_a_map(
        steps in prop::collection::vec(
            prop_oneof![3 => (1u32..200).prop_map(Step::Insert), 2 => (1u32..200).prop_map(Step::Remove)],
            0..500,
        ),
        buckets in prop::sample::select(vec![8u64, 16]),
        crowd: bool,
    ) {
        let (mut index, region) = index(buckets);
        let reader = IndexReader::open(&region).unwrap();
        let hash = |key| if crowd { crowded(key) } else { crate::replay::payload::mix(key.into()) };
        // A key's slot is the key plus 1000.
        let mut model = HashMap::new();
        for step in steps {
            match step {
                Step::Insert(key) if model.contains_key(&key) => {}
                Step::Insert(key) => {
                    let slot = key + 1000;
                    if let Err(error) = index.insert(hash(key), slot) {
                        let InsertError::Full { candidates } = error else { panic!("{error}") };
                        prop_assert_eq!(candidates.iter().collect::<HashSet<_>>().len(), 64);
                        let victim = candidates[key as usize % 64];
                        prop_assert_eq!(model.remove(&(victim - 1000)), Some(victim));
                        prop_assert!(index.remove(hash(victim - 1000), victim));
                        prop_assert_eq!(index.insert(hash(key), slot), Ok(()));
                    }
                    model.insert(key, slot);
                }
                Step::Remove(key) => {
                    let there = model.remove(&key).is_some();
                    prop_assert_eq!(index.remove(hash(key), key + 1000), there);
                }
            }
            prop_assert_eq!(index.count(), model.len() as u64);
        }
        for key in 1..200 {
            let expected = model.get(&key).copied();
            prop_assert_eq!(index.find(hash(key), |slot| slot == key + 1000), expected);
            prop_assert_eq!(reader.find(hash(key), |slot| slot == key + 1000), expected);
        }
        let hash_of = |slot: u32| model.contains_key(&(slot - 1000)).then(|| hash(slot - 1000));
        prop_assert_eq!(faults(&index, hash_of), vec![]);
    }
}

/// Words that a search loads.
fn loads(region: &Region, hash: u64) -> u64 {
    let words = region.words(0, region.size_bytes() / 8).unwrap();
    let loads = std::cell::Cell::new(0);
    let load = |index| {
        loads.set(loads.get() + 1);
        words.load(index, Ordering::Relaxed).unwrap()
    };
    assert_eq!(probe::find(load, 15, hash, |_| false), None);
    loads.get()
}

// r[verify index.overflow]
#[test]
fn a_search_looks_on_only_where_a_key_passed_by() {
    let (mut index, region) = index(16);
    // Home 15, so the buckets behind it are the first ones.
    for slot in 1..=8 {
        index.insert(15, slot).unwrap();
    }
    assert_eq!(loads(&region, 15), 8, "full, but nothing passed by");
    for slot in 9..=17 {
        index.insert(15, slot).unwrap();
    }
    assert_eq!(loads(&region, 15), 24);
    assert_eq!(loads(&region, 0), 16);
    // A freed place in an earlier bucket is used again; who is further on stays there.
    assert!(index.remove(15, 3));
    index.insert(15, 18).unwrap();
    assert_eq!(index.find(15, |slot| slot == 17), Some(17));
    assert_eq!(loads(&region, 15), 24);
    // The bit goes with the last key that passed by.
    assert!(index.remove(15, 17));
    assert_eq!(loads(&region, 15), 16);
    for slot in 9..=16 {
        assert!(index.remove(15, slot));
    }
    assert_eq!(loads(&region, 15), 8);
    assert_eq!(index.count(), 8);
}

// r[verify index.full]
#[test]
fn eight_full_buckets_are_the_end() {
    let (mut index, _region) = index(16);
    for slot in 1..=64 {
        index.insert(3, slot).unwrap();
    }
    let InsertError::Full { mut candidates } = index.insert(3, 65).unwrap_err() else { panic!() };
    candidates.sort_unstable();
    assert_eq!(candidates, (1..=64).collect::<Vec<_>>());
    assert_eq!(faults(&index, |_| Some(3)), []);
    // One bucket further on there is room.
    index.insert(4, 65).unwrap();
    assert_eq!(index.find(4, |slot| slot == 65), Some(65));
    assert_eq!(index.insert(3, 0), Err(InsertError::SlotZero));
    assert!(!index.remove(3, 0));
}

// r[verify index.audit]
#[test]
fn an_audit_names_what_is_wrong() {
    let (mut index, region) = index(16);
    for slot in 1..=9 {
        index.insert(2, slot).unwrap();
    }
    let clean = |_| Some(2);
    assert_eq!(faults(&index, clean), []);
    let gone = |slot| (slot != 4).then_some(2);
    let missing = IndexFault::NotPublished { bucket: 2, place: 3, slot: 4 };
    assert_eq!(faults(&index, gone), [missing]);
    let moved = |slot| Some(if slot == 4 { 3 } else { 2 });
    let unreachable = IndexFault::Unreachable { bucket: 2, place: 3, slot: 4 };
    assert_eq!(faults(&index, moved), [unreachable]);
    let words = region.words(0, region.size_bytes() / 8).unwrap();
    let first = super::word_index(2, 0);
    let entry = words.load(first, Ordering::Relaxed).unwrap();
    words.store(first, entry & !OVERFLOW_BIT, Ordering::Relaxed).unwrap();
    let passing = IndexFault::Passing { bucket: 2, found: 1, counted: 1, overflow: false };
    assert_eq!(faults(&index, clean), [passing]);
    words.store(first, entry, Ordering::Relaxed).unwrap();
    words.store(super::word_index(3, 1), entry & !OVERFLOW_BIT, Ordering::Relaxed).unwrap();
    let twice = IndexFault::Twice { bucket: 3, place: 1, slot: 1 };
    assert_eq!(faults(&index, clean), [twice, IndexFault::Count { found: 10, counted: 9 }]);
}

// r[verify index.format]
#[test]
fn only_possible_numbers_of_buckets_are_taken() {
    let region = region(32);
    for buckets in [0, 4, 9, 24, 64, u64::MAX] {
        let error = IndexWriter::create(&region, buckets, SEED).unwrap_err();
        assert!(matches!(error, CreateIndexError::Buckets { max: 32, .. }), "{error}");
    }
    let words = region.words(0, 5).unwrap();
    assert_eq!(words.load(0, Ordering::Relaxed).unwrap(), 0, "a refusal changes nothing");
    let index = IndexWriter::create(&region, 16, SEED).unwrap();
    assert_eq!(index.bucket_count(), 16);
    let header: Vec<u64> = (0..5).map(|at| words.load(at, Ordering::Relaxed).unwrap()).collect();
    assert_eq!(header, [INDEX_MAGIC, INDEX_FORMAT_VERSION, 15, 32, SEED]);
}

// r[verify index.open]
#[test]
fn what_is_no_index_is_refused() {
    let region = region(16);
    let refused = IndexReader::open(&region).unwrap_err();
    assert!(matches!(refused, OpenIndexError::Magic { found: 0, .. }), "{refused}");
    IndexWriter::create(&region, 8, SEED).unwrap();
    assert_eq!(IndexReader::open(&region).unwrap().bucket_count(), 8);
    let refusal = |offset: usize, value| {
        let word = region.word(offset as u64).unwrap();
        let before = word.load(Ordering::Relaxed);
        word.store(value, Ordering::Relaxed);
        let error = IndexReader::open(&region).unwrap_err();
        word.store(before, Ordering::Relaxed);
        error
    };
    let later = INDEX_FORMAT_VERSION + 1;
    let error = refusal(offset_of!(IndexHeader, format_version), later);
    assert!(
        matches!(error, OpenIndexError::FormatVersion { found, .. } if found == later),
        "{error}"
    );
    for mask in [0, 3, 8, 14, 31, u64::MAX] {
        let error = refusal(offset_of!(IndexHeader, mask), mask);
        assert!(matches!(error, OpenIndexError::Buckets { .. }), "{error}");
    }
    for buckets_max in [0, 4, 12, 32, u64::MAX] {
        let error = refusal(offset_of!(IndexHeader, buckets_max), buckets_max);
        assert!(matches!(error, OpenIndexError::Buckets { .. }), "{error}");
    }
    let short = region.subregion(0, 64).unwrap();
    let refused = IndexReader::open(&short).unwrap_err();
    assert!(matches!(refused, OpenIndexError::Buckets { max: 0, .. }), "{refused}");
    let nothing = region.subregion(0, 0).unwrap();
    assert!(matches!(IndexReader::open(&nothing).unwrap_err(), OpenIndexError::Region(_)));
}

// r[verify index.open]
#[test]
fn a_reader_survives_a_mask_that_cannot_be() {
    let (mut index, region) = index(16);
    index.insert(9, 5).unwrap();
    let reader = IndexReader::open(&region).unwrap();
    assert_eq!(reader.find(9, |slot| slot == 5), Some(5));
    for mask in [16, 12, 1 << 40, u64::MAX] {
        region.word(offset_of!(IndexHeader, mask) as u64).unwrap().store(mask, Ordering::Relaxed);
        assert_eq!(reader.find(9, |slot| slot == 5), None);
    }
}

// r[verify index.find]
#[test]
fn a_reader_that_misses_looks_again_when_the_mask_has_grown() {
    let region = region(16);
    let mut index = IndexWriter::create(&region, 8, SEED).unwrap();
    index.insert(9, 1).unwrap();
    let reader = IndexReader::open(&region).unwrap();
    let words = region.words(0, region.size_bytes() / 8).unwrap();
    let mask = region.word(offset_of!(IndexHeader, mask) as u64).unwrap();
    let found = reader.find(9, |slot| {
        // While the lower half is searched, the table doubles and the key stands in the upper one.
        if slot == 1 {
            let entry = super::Entry::new(9, 2).0;
            words.store(super::word_index(9, 0), entry, Ordering::Relaxed).unwrap();
            mask.store(15, Ordering::Relaxed);
        }
        slot == 2
    });
    assert_eq!(found, Some(2));
}

// r[verify index.hash]
#[test]
fn the_hash_differs_from_segment_to_segment() {
    let key = Key::from_text("a");
    assert_eq!(hash_key(&key, 1), hash_key(&key, 1));
    assert_ne!(hash_key(&key, 1), hash_key(&key, 2));
    let (index, region) = index(8);
    let reader = IndexReader::open(&region).unwrap();
    assert_eq!(index.hash(&key), hash_key(&key, SEED));
    assert_eq!(reader.hash(&key), hash_key(&key, SEED));
}

// r[verify index.size]
#[test]
fn the_index_has_room_for_its_blocks_and_not_much_more() {
    assert_eq!(buckets_for(0), BUCKETS_MIN);
    assert_eq!(buckets_for(30), 8);
    assert_eq!(buckets_for(31), 16);
    for slots in [1, 1000, 30_000, 98_304, 1 << 20, u32::MAX] {
        let entries = buckets_for(slots) * 8;
        assert!(u64::from(slots) * 100 <= entries * LOAD_MAX_PERCENT, "{slots}");
        let half = entries / 2 * LOAD_MAX_PERCENT;
        assert!(entries <= 64 || u64::from(slots) * 100 > half, "{slots}: larger than needed");
        assert!(region_bytes(buckets_for(slots)).is_some());
    }
    assert_eq!(region_bytes(8), Some(64 + 8 * 64));
    assert_eq!(region_bytes(u64::MAX), None);
}

// r[verify index.candidate]
#[test]
fn a_candidate_is_the_first_of_the_home_bucket_with_the_fingerprint() {
    let (mut index, region) = index(8);
    let reader = IndexReader::open(&region).unwrap();
    let hash = |home: u64, print: u64| home | print << 33;
    assert_eq!(reader.candidate(hash(3, 1)), None);
    index.insert(hash(3, 1), 11).unwrap();
    index.insert(hash(3, 2), 12).unwrap();
    index.insert(hash(3, 2), 13).unwrap();
    assert_eq!(reader.candidate(hash(3, 1)), Some(11));
    assert_eq!(reader.candidate(hash(3, 2)), Some(12));
    assert_eq!((reader.candidate(hash(4, 1)), reader.candidate(hash(3, 3))), (None, None));
    for slot in 20..30 {
        index.insert(hash(3, 4), slot).unwrap();
    }
    index.insert(hash(3, 5), 40).unwrap();
    assert_eq!(reader.candidate(hash(3, 5)), None, "behind its home: a search finds it");
    assert_eq!(reader.find(hash(3, 5), |slot| slot == 40), Some(40));
    reader.prefetch(hash(3, 5));
}
