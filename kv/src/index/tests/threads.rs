use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::super::IndexReader;
use super::{crowded, index};

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
