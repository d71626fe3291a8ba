//! Doubling, alone and while others search.

use super::{IndexFault, IndexReader, IndexWriter, SEED, faults, region};
use crate::format::BUCKET_ENTRIES;
use crate::index::word_index;
use onecopy_shm::Region;
use proptest::prelude::*;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// An index of so many buckets with room for more.
fn growing(buckets: u64, buckets_max: u64) -> (IndexWriter, Region) {
    let region = region(buckets_max);
    (IndexWriter::create(&region, buckets, SEED).unwrap(), region)
}

/// Hashes that crowd a few homes, now and after doubling, with few fingerprints.
fn crowded(key: u32) -> u64 {
    let key = u64::from(key);
    (key % 3) | ((key % 5) << 3) | ((key % 2) << 40)
}

proptest! {
    // r[verify index.double]
    #[test]
    fn every_key_is_found_as_before(
        keys in prop::collection::hash_set(1u32..400, 0..60),
        removed in prop::collection::hash_set(1u32..400, 0..60),
        crowd: bool,
    ) {
        let hash = |key| if crowd { crowded(key) } else { crate::replay::payload::mix(key.into()) };
        let (mut index, region) = growing(8, 64);
        let reader = IndexReader::open(&region).unwrap();
        let mut there = HashSet::new();
        for &key in &keys {
            if index.insert(hash(key), key).is_ok() {
                there.insert(key);
            }
        }
        for buckets in [16, 32, 64] {
            prop_assert!(index.double(|slot| there.contains(&slot).then(|| hash(slot))));
            prop_assert_eq!((index.bucket_count(), reader.bucket_count()), (buckets, buckets));
            prop_assert_eq!(index.count(), there.len() as u64);
            let none: Vec<IndexFault> = vec![];
            prop_assert_eq!(faults(&index, |slot| there.contains(&slot).then(|| hash(slot))), none);
            for key in 1..400 {
                let expected = there.contains(&key).then_some(key);
                prop_assert_eq!(index.find(hash(key), |slot| slot == key), expected);
                prop_assert_eq!(reader.find(hash(key), |slot| slot == key), expected);
            }
            for key in removed.iter().filter(|key| **key % 3 == buckets as u32 / 16 % 3) {
                prop_assert_eq!(index.remove(hash(*key), *key), there.remove(key));
            }
        }
        prop_assert!(!index.double(|_| None), "there is no room for more");
        prop_assert_eq!(index.count(), there.len() as u64);
    }
}

// r[verify index.double]
#[test]
fn nothing_is_written_beyond_the_buckets_in_use() {
    let (mut index, region) = growing(8, 64);
    let hash = |key: u32| crate::replay::payload::mix(key.into());
    for key in 1..=30 {
        index.insert(hash(key), key).unwrap();
    }
    let words = region.read_words(0, region.size_bytes() / 8).unwrap();
    for buckets in [8, 16, 32] {
        let beyond = word_index(buckets, 0)..word_index(64, 0);
        for word in beyond {
            assert_eq!(
                words.load(word, Ordering::Relaxed),
                Ok(0),
                "{buckets} buckets: word {word}"
            );
        }
        let used = (0..buckets * BUCKET_ENTRIES)
            .map(|word| words.load(word_index(0, 0) + word, Ordering::Relaxed));
        assert!(used.filter(|word| *word != Ok(0)).count() >= 30);
        assert!(index.double(|slot| Some(hash(slot))));
    }
}

// r[verify index.double]
// r[verify index.find]
#[test]
fn keys_are_found_while_the_index_doubles() {
    const KEYS: u32 = 40;
    for hash in [crowded as fn(u32) -> u64, |key| crate::replay::payload::mix(key.into())] {
        for _ in 0..30 {
            let (mut index, region) = growing(8, 1024);
            let keys: Vec<u32> =
                (1..=KEYS).filter(|&key| index.insert(hash(key), key).is_ok()).collect();
            let done = AtomicBool::new(false);
            thread::scope(|scope| {
                for _ in 0..2 {
                    let reader = IndexReader::open(&region).unwrap();
                    let (done, keys) = (&done, &keys);
                    scope.spawn(move || {
                        let mut looks = 0u64;
                        while !done.load(Ordering::Relaxed) || looks == 0 {
                            for &wanted in keys {
                                let found = reader.find(hash(wanted), |slot| slot == wanted);
                                assert_eq!(found, Some(wanted));
                            }
                            looks += 1;
                        }
                    });
                }
                while index.double(|slot| Some(hash(slot))) {}
                done.store(true, Ordering::Relaxed);
            });
            assert_eq!((index.bucket_count(), index.count()), (1024, keys.len() as u64));
        }
    }
}
