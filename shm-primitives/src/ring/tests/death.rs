//! A producer that dies at any of its stores, a consumer at any of its own.

use super::*;

fn payload(id: u32) -> Vec<u8> {
    vec![id as u8 | 0x80; 8 * (id as usize % 6)]
}

/// Commits frames until the stores are used up, reading only when the ring is full or the producer is
/// gone. Returns what was found, and whether a wrap was among it.
fn frames_before_death(stores: u64) -> (Vec<(u32, Vec<u8>)>, bool) {
    let (mut producer, mut consumer, region) = ring(256);
    producer.die_after(stores);
    let mut found = Vec::new();
    let mut id = 0;
    while producer.stores_left() > 0 {
        if commit(&mut producer, &payload(id), id).is_ok() {
            id += 1;
        } else {
            found.extend(std::iter::from_fn(|| take(&mut consumer)));
        }
    }
    // The last store may have been half of a commit: the next begins with the other half missing.
    let _ = commit(&mut producer, &payload(id), id);
    found.extend(std::iter::from_fn(|| take(&mut consumer)));
    (found, read_position(&region) > 256)
}

// r[verify ring.death]
#[test]
fn whatever_store_was_the_last_whole_frames_are_found() {
    let mut last = 0;
    let mut wrapped_count = 0;
    for stores in 0..200 {
        let (found, wrapped) = frames_before_death(stores);
        for (expected, (id, bytes)) in found.iter().enumerate() {
            assert_eq!((*id, bytes), (expected as u32, &payload(*id)), "{stores} stores");
        }
        assert!(found.len() == last || found.len() == last + 1, "{stores} stores: {}", found.len());
        last = found.len();
        wrapped_count += u32::from(wrapped);
    }
    assert!(last > 50 && wrapped_count > 100, "{last} frames, {wrapped_count} rounds that wrapped");
}
