use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use onecopy_shm::{Access, Mapping, Region};

use super::super::{IndexReader, IndexWriter, InsertError, region_bytes};
use super::{SEED, crowded, faults, index};
use crate::replay::payload::mix;

// r[verify index.find]
#[test]
fn keys_that_stay_are_found_while_others_come_and_go() {
    // They share homes and fingerprints, stand behind the others and are passed by them.
    let (mut index, region) = index(16);
    let stays = |slot: u32| slot.is_multiple_of(7);
    for slot in 1..=60 {
        index.insert(crowded(slot), slot).unwrap();
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let reader = IndexReader::open(&region).unwrap();
                let done = &done;
                scope.spawn(move || {
                    let mut looks = 0u64;
                    while !done.load(Ordering::Relaxed) || looks == 0 {
                        for wanted in (1..=60).filter(|&slot| stays(slot)) {
                            let found = reader.find(crowded(wanted), |slot| slot == wanted);
                            assert_eq!(found, Some(wanted));
                        }
                        looks += 1;
                    }
                })
            })
            .collect();
        for _ in 0..2_000 {
            for slot in (1..=60).filter(|&slot| !stays(slot)) {
                assert!(index.remove(crowded(slot), slot));
            }
            for slot in (1..=60).rev().filter(|&slot| !stays(slot)) {
                index.insert(crowded(slot), slot).unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    assert_eq!(index.count(), 60);
}

/// Memory that two mappings show.
fn two_regions(buckets: u64) -> (Region, Region) {
    let size_bytes = region_bytes(buckets).unwrap();
    let file = tempfile::tempfile().unwrap();
    file.set_len(size_bytes).unwrap();
    let map = |access| Mapping::map(&file, size_bytes, access).unwrap();
    let region = |access| map(access).region(0, size_bytes).unwrap();
    (region(Access::ReadWrite), region(Access::ReadOnly))
}

// r[verify index.double]
// r[verify index.find]
#[test]
fn keys_that_stay_are_found_while_the_index_doubles() {
    const STAY: u32 = 30;
    const REMOVED: u32 = 1 << 20;
    let rounds = 60;
    for round in 0..rounds {
        // Spread, or with homes at the end of a table of any size.
        let hash =
            |slot: u32| mix(u64::from(slot) << 8 | round) | if round % 2 == 0 { 0 } else { 6 };
        let (region, read_only) = two_regions(1024);
        let mut index = IndexWriter::create(&region, 8, SEED).unwrap();
        index.set_buckets_ready(1024);
        for slot in 1..=STAY {
            index.insert(hash(slot), slot).unwrap();
        }
        // What was there once and is not is never found again.
        index.insert(hash(REMOVED), REMOVED).unwrap();
        index.remove(hash(REMOVED), REMOVED);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                let reader = IndexReader::open(&read_only).unwrap();
                let done = &done;
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        for wanted in 1..=STAY {
                            let found = reader.find(hash(wanted), |slot| slot == wanted);
                            assert_eq!(found, Some(wanted), "round {round}");
                        }
                        assert_eq!(reader.find(hash(REMOVED), |slot| slot == REMOVED), None);
                    }
                });
            }
            let mut there = VecDeque::new();
            for slot in STAY + 1..2000 {
                let inserted = loop {
                    match index.insert(hash(slot), slot) {
                        Err(InsertError::Full { .. }) if index.make_place(hash(slot), hash) => {}
                        inserted => break inserted,
                    }
                };
                if inserted.is_ok() {
                    there.push_back(slot);
                }
                if slot % 3 == 0
                    && let Some(oldest) = there.pop_front()
                {
                    assert!(index.remove(hash(oldest), oldest));
                }
                index.advance(1 + u64::from(slot % 4), hash);
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(index.bucket_count() >= 256, "{}", index.bucket_count());
        assert_eq!(faults(&index, |slot| Some(hash(slot))), []);
    }
}
