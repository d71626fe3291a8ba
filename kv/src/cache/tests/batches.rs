//! Many keys at a time.

use super::rig::{TestHost, key, payload};
use crate::cache::{LookupPath, PublishOptions, ToPublish};
use crate::error::{DeleteError, PinError, PublishError, UnpinError};
use crate::key::Key;
use crate::service::{CacheService, CacheServiceOptions, Capacity};
use std::collections::HashSet;
use std::time::Duration;

const COUNT: u64 = 300;

fn keys(numbers: impl IntoIterator<Item = u64>) -> Vec<Key> {
    numbers.into_iter().map(key).collect()
}

// r[verify kv.batch]
#[test]
fn a_batch_larger_than_a_frame_keeps_its_order() {
    let host = TestHost::start();
    let cache = host.attach();
    assert!(COUNT as usize > cache.guest().inline_bytes_max() as usize / 32, "several frames");
    let even: Vec<(Key, Vec<u8>)> =
        (0..COUNT).step_by(2).map(|number| (key(number), payload(number, 100))).collect();
    let blocks: Vec<(Key, &[u8])> = even.iter().map(|(key, bytes)| (*key, &**bytes)).collect();
    let stored = cache.store_many(&blocks, PublishOptions::default());
    assert!(stored.iter().all(|outcome| outcome.as_ref().unwrap().is_first()));
    let all = keys(0..COUNT);
    let is_even: Vec<bool> = (0..COUNT).map(|number| number % 2 == 0).collect();
    assert_eq!(cache.exists_many(&all).unwrap(), is_even);
    let found = cache.lookup_many(&all).unwrap();
    for (number, block) in (0..).zip(&found) {
        let expected = (number % 2 == 0).then(|| payload(number, 100));
        assert_eq!(block.as_deref(), expected.as_deref());
    }
    drop(found);
    let pinned = cache.pin_many(&all);
    for (number, outcome) in (0..).zip(&pinned) {
        match outcome {
            Ok(pins) => assert_eq!((number % 2, *pins), (0, 1)),
            Err(error) => {
                assert!(matches!(error, PinError::NotFound { key: k } if *k == key(number)));
            }
        }
    }
    let deleted = cache.delete_many(&all);
    for (number, outcome) in (0..COUNT).zip(&deleted) {
        match outcome {
            Ok(was_there) => assert!(number % 2 == 1 && !was_there),
            Err(error) => assert!(matches!(error, DeleteError::Busy { pins: 1, .. }), "{error}"),
        }
    }
    let unpinned = cache.unpin_many(&keys((0..COUNT).step_by(2)));
    assert!(unpinned.iter().all(|outcome| *outcome.as_ref().unwrap() == 0));
    let unpinned = cache.unpin_many(&keys((0..COUNT).step_by(2)));
    assert!(unpinned.iter().all(|outcome| matches!(outcome, Err(UnpinError::NotPinned { .. }))));
    let deleted = cache.delete_many(&all);
    assert!(deleted.iter().zip(is_even).all(|(outcome, even)| *outcome.as_ref().unwrap() == even));
    host.assert_clean();
}

#[test]
fn slots_are_reserved_many_at_a_time_all_or_none() {
    let host = TestHost::start();
    let cache = host.attach();
    let mut fills = cache.reserve_many(1000, 40).unwrap();
    let slots: HashSet<u32> = fills.iter().map(|fill| fill.slot().slot).collect();
    assert_eq!((fills.len(), slots.len()), (40, 40));
    assert!(fills.iter().all(|fill| fill.slot_bytes() >= 1000));
    for (number, fill) in (0..).zip(&mut fills) {
        fill[..1000].copy_from_slice(&payload(number, 1000));
    }
    let blocks = (0..).zip(fills).map(|(number, fill)| ToPublish {
        fill,
        key: key(number),
        length_bytes: 1000,
        options: PublishOptions::default(),
    });
    let outcomes = cache.publish_many(blocks.collect());
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap().is_first()));
    for number in 0..40 {
        assert_eq!(&*cache.lookup(&key(number)).unwrap().unwrap(), payload(number, 1000));
    }
    assert!(cache.reserve_many(1000, 0).unwrap().is_empty());
    // 128 slots of 256 KiB are more than the pool ever has; those that were had go back.
    assert!(cache.with_deadline(Duration::from_secs(2)).reserve_many(256 << 10, 128).is_err());
    assert_eq!(cache.reserve_many(256 << 10, 8).unwrap().len(), 8);
    host.assert_clean();
}

// r[verify kv.batch]
#[test]
fn empty_batches_ask_nothing() {
    let host = TestHost::start();
    let cache = host.attach();
    assert!(cache.lookup_many(&[]).unwrap().is_empty());
    assert!(cache.lookup_prefix(&[]).unwrap().is_empty());
    assert!(cache.exists_many(&[]).unwrap().is_empty());
    assert!(cache.store_many(&[], PublishOptions::default()).is_empty());
    assert!(cache.publish_many(Vec::new()).is_empty());
    assert!(cache.delete_many(&[]).is_empty() && cache.pin_many(&[]).is_empty());
}

#[test]
fn a_prefix_ends_at_the_first_miss_in_whichever_frame() {
    let host = TestHost::start();
    let cache = host.attach().with_lookup(LookupPath::Ring);
    for number in (0..200).chain(201..COUNT) {
        cache.store(&key(number), &payload(number, 8)).unwrap();
    }
    let before = cache.stats().unwrap();
    let blocks = cache.lookup_prefix(&keys(0..COUNT)).unwrap();
    assert_eq!(blocks.len(), 200);
    for (number, block) in (0..).zip(&blocks) {
        assert_eq!(**block, *payload(number, 8));
    }
    let after = cache.stats().unwrap();
    assert_eq!((after.hits - before.hits, after.misses - before.misses), (200, 1));
    host.assert_clean();
}

// r[verify kv.store_many]
#[test]
fn a_key_given_twice_is_stored_once_and_found_twice() {
    let host = TestHost::start();
    let cache = host.attach();
    let blocks: [(Key, &[u8]); 3] = [(key(1), b"first"), (key(2), b"other"), (key(1), b"second")];
    let stored = cache.store_many(&blocks, PublishOptions::default());
    let first: Vec<bool> =
        stored.iter().map(|outcome| outcome.as_ref().unwrap().is_first()).collect();
    assert_eq!(first, [true, true, false]);
    let found = cache.lookup_many(&[key(1), key(1)]).unwrap();
    assert!(found.iter().all(|block| block.as_deref() == Some(b"first")));
    drop(found);
    let deleted = cache.delete_many(&[key(1), key(1)]);
    let deleted: Vec<bool> = deleted.into_iter().map(Result::unwrap).collect();
    assert_eq!(deleted, [true, false]);
    assert_eq!(cache.pin_many(&[key(2), key(2)]).into_iter().flatten().collect::<Vec<_>>(), [1, 2]);
    host.assert_clean();
}

// r[verify kv.store_many]
#[test]
fn a_batch_larger_than_the_cache_goes_through_it() {
    let capacity = Capacity::Blocks(20);
    let host = TestHost::with(CacheServiceOptions { capacity, ..Default::default() });
    let cache = host.attach();
    let all: Vec<(Key, Vec<u8>)> =
        (0..COUNT).map(|number| (key(number), payload(number, 60_000))).collect();
    let blocks: Vec<(Key, &[u8])> = all.iter().map(|(key, bytes)| (*key, &**bytes)).collect();
    let stored = cache.store_many(&blocks, PublishOptions { checksum: true, ttl: None });
    assert_eq!(stored.len(), blocks.len());
    assert!(stored.iter().all(|outcome| outcome.as_ref().unwrap().is_first()));
    let found = cache.with_verify(true).lookup_many(&keys(0..COUNT)).unwrap();
    let there: Vec<u64> = (0..).zip(&found).filter(|(_, b)| b.is_some()).map(|(n, _)| n).collect();
    assert_eq!(there, (COUNT - 20..COUNT).collect::<Vec<_>>());
    host.assert_clean();
}

// r[verify kv.store_many]
#[test]
fn a_batch_larger_than_the_guests_quota_goes_through_it() {
    let service = CacheService::new(CacheServiceOptions::default());
    let host = TestHost::serving_with(service, |options| {
        options.grant_bytes_max = Some(512 << 10);
    });
    let cache = host.attach();
    let bytes = payload(1, 60_000);
    let blocks: Vec<(Key, &[u8])> = (0..100).map(|number| (key(number), &*bytes)).collect();
    let stored = cache.store_many(&blocks, PublishOptions::default());
    assert!(stored.iter().all(|outcome| outcome.as_ref().unwrap().is_first()));
    host.assert_clean();
}

#[test]
fn a_batch_to_publish_answers_for_each_block() {
    let host = TestHost::start();
    let (cache, other) = (host.attach(), host.attach());
    let options = PublishOptions::default();
    let mut blocks = Vec::new();
    for number in 0..100 {
        let from = if number == 50 { &other } else { &cache };
        let mut fill = from.reserve(10).unwrap();
        fill[0] = number as u8;
        let length_bytes = if number == 60 { fill.slot_bytes() + 1 } else { 1 };
        blocks.push(ToPublish { fill, key: key(number), length_bytes, options });
    }
    let outcomes = cache.publish_many(blocks);
    for (number, outcome) in (0..).zip(&outcomes) {
        match (number, outcome) {
            (50, Err(PublishError::Ask(_))) => {}
            (60, Err(PublishError::TooLong { .. })) => {}
            (_, Ok(published)) => assert!(published.is_first(), "{number}"),
            (_, Err(error)) => panic!("{number}: {error}"),
        }
        assert_eq!(cache.exists(&key(number)).unwrap(), ![50, 60].contains(&number));
    }
    host.assert_clean();
}
