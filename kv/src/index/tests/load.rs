use super::super::{InsertError, LOAD_MAX_PERCENT};
use super::{faults, index};
use crate::replay::payload::mix;

/// Fills an index of so many buckets to a load and then replaces entries one by one, the oldest each
/// time; how many of the inserts found no room.
fn inserts_without_room(buckets: u64, load_percent: u64, replaced: u64, seed: u64) -> u64 {
    let (mut index, _region) = index(buckets);
    let hash_of = |slot: u64| mix(slot ^ (seed << 48));
    let held = buckets * 8 * load_percent / 100;
    let mut without_room = 0;
    for slot in 1..=held + replaced {
        if slot > held {
            let oldest = slot - held;
            index.remove(hash_of(oldest), oldest as u32);
        }
        match index.insert(hash_of(slot), slot as u32) {
            Ok(()) => {}
            Err(InsertError::Full { .. }) => without_room += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(faults(&index, |slot| Some(hash_of(slot.into()))), []);
    without_room
}

// r[verify index.size]
#[test]
fn at_the_chosen_load_inserts_find_room() {
    let without_room = inserts_without_room(1 << 12, LOAD_MAX_PERCENT, 200_000, 1);
    assert_eq!(without_room, 0);
    // The count can tell: at a load close to full it is not 0.
    assert_ne!(inserts_without_room(1 << 8, 97, 20_000, 1), 0);
}

#[test]
#[ignore = "prints a measurement; run it with --release"]
fn inserts_without_room_by_load() {
    for load_percent in [51, 54, 60, 75] {
        let (buckets, replaced, rounds) = (1 << 14, 4_000_000, 8);
        let total: u64 = (0..rounds)
            .map(|seed| inserts_without_room(buckets, load_percent, replaced, seed))
            .sum();
        let inserts = rounds * (buckets * 8 * load_percent / 100 + replaced);
        println!("load {load_percent} %: {total} of {inserts} inserts found no room");
    }
}
