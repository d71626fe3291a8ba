//! Lookups that the guest does itself, beside those that the host does.

use super::rig::{TestHost, key, payload, wait_for};
use crate::cache::{Cache, LookupPath, PublishOptions};
use crate::key::Key;
use crate::service::{CacheService, CacheServiceOptions, Capacity};
use onecopy_transport::format::Role;
use proptest::prelude::*;
use std::time::Duration;

/// Keys that the tests use; more than the cache holds.
const KEYS: u64 = 150;

#[derive(Clone, Debug)]
enum Step {
    Store(u64),
    Delete(u64),
    Find(Vec<u64>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..KEYS).prop_map(Step::Store),
        1 => (0..KEYS).prop_map(Step::Delete),
        2 => prop::collection::vec(0..KEYS, 0..130).prop_map(Step::Find),
    ];
    prop::collection::vec(step, 1..60)
}

/// Whatever one way finds the other finds too, and both what was stored.
fn compare(direct: &Cache, ring: &Cache, numbers: &[u64]) {
    let keys: Vec<Key> = numbers.iter().map(|number| key(*number)).collect();
    let there = ring.exists_many(&keys).unwrap();
    assert_eq!(direct.exists_many(&keys).unwrap(), there);
    let prefix = there.iter().take_while(|is_there| **is_there).count();
    assert_eq!(direct.match_prefix(&keys).unwrap(), prefix);
    assert_eq!(ring.match_prefix(&keys).unwrap(), prefix);
    for cache in [direct, ring] {
        let found = cache.lookup_many(&keys).unwrap();
        assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), there);
        let borrowed = cache.lookup_many_ref(&keys).unwrap();
        assert_eq!(borrowed.iter().map(Option::is_some).collect::<Vec<_>>(), there);
        let run = cache.lookup_prefix(&keys).unwrap();
        assert_eq!(run.len(), prefix);
        for (block, number) in found.iter().zip(numbers).filter_map(|(b, n)| Some((b.as_ref()?, n)))
        {
            assert_eq!((&**block, block.key()), (&*payload(*number, 100), key(*number)));
        }
        for (number, is_there) in numbers.iter().zip(&there).take(3) {
            let block = cache.lookup_ref(&key(*number)).unwrap();
            assert_eq!(block.is_some(), *is_there);
            assert_eq!(cache.exists(&key(*number)).unwrap(), *is_there);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// One guest, so every use is known to the host before the publish that comes after it.
    // r[verify kv.used]
    // r[verify touch.before_request]
    #[test]
    fn either_way_the_same_blocks_are_evicted(
        steps in prop::collection::vec((0..4_u8, prop::collection::vec(0..60_u64, 1..80)), 1..30),
    ) {
        let capacity = Capacity::Blocks(30);
        let options = CacheServiceOptions { capacity, ..CacheServiceOptions::default() };
        let there = [LookupPath::Ring, LookupPath::Direct].map(|path| {
            let host = TestHost::with(options.clone());
            let cache = host.attach().with_lookup(path);
            for (step, numbers) in &steps {
                let keys: Vec<Key> = numbers.iter().map(|number| key(*number)).collect();
                match step {
                    0 => drop(cache.lookup(&keys[0]).unwrap()),
                    1 => drop(cache.lookup_many(&keys).unwrap()),
                    2 => drop(cache.lookup_prefix(&keys).unwrap()),
                    _ => drop((cache.exists_many(&keys).unwrap(), cache.match_prefix(&keys).unwrap())),
                }
                let missing = numbers.iter().find(|number| !cache.exists(&key(**number)).unwrap());
                if let Some(number) = missing {
                    cache.store(&key(*number), &payload(*number, 100)).unwrap();
                }
            }
            let stats = cache.stats().unwrap();
            let used = stats.hits + stats.direct_hits;
            let keys: Vec<Key> = (0..60).map(key).collect();
            (cache.exists_many(&keys).unwrap(), used, stats.evictions)
        });
        prop_assert_eq!(&there[0], &there[1]);
    }

    // r[verify kv.direct]
    // r[verify kv.direct_batch]
    // r[verify kv.direct_exists]
    // r[verify kv.match_prefix]
    #[test]
    fn both_ways_give_the_same_answers(steps in steps()) {
        let capacity = Capacity::Blocks(100);
        let host = TestHost::with(CacheServiceOptions { capacity, ..CacheServiceOptions::default() });
        let ring = host.attach().with_lookup(LookupPath::Ring);
        let direct = host.attach_as(Role::Reader).with_lookup(LookupPath::Direct);
        for step in &steps {
            match step {
                Step::Store(number) => drop(ring.store(&key(*number), &payload(*number, 100)).unwrap()),
                Step::Delete(number) => drop(ring.delete(&key(*number)).unwrap()),
                Step::Find(numbers) => compare(&direct, &ring, numbers),
            }
        }
        compare(&direct, &ring, &(0..KEYS).collect::<Vec<_>>());
        prop_assert_eq!(direct.asked_keys(), 0);
        host.assert_clean();
    }
}

// r[verify kv.direct]
#[test]
fn the_host_hears_nothing_of_a_direct_lookup() {
    let host = TestHost::start();
    let cache = host.attach().with_lookup(LookupPath::Direct);
    cache.store(&key(1), b"bytes").unwrap();
    let before = cache.stats().unwrap();
    let keys = [key(1), key(2)];
    assert_eq!(&*cache.lookup(&key(1)).unwrap().unwrap(), b"bytes");
    assert!(cache.lookup(&key(2)).unwrap().is_none());
    assert_eq!(cache.lookup_many(&keys).unwrap().iter().flatten().count(), 1);
    assert_eq!(cache.match_prefix(&keys).unwrap(), 1);
    let after = cache.stats().unwrap();
    assert_eq!((after.hits, after.misses), (before.hits, before.misses));
    assert_eq!(cache.asked_keys(), 0);
}

// r[verify kv.direct]
// r[verify kv.direct_asks]
#[test]
fn hits_go_on_without_a_host_and_a_miss_asks_for_one() {
    let mut host = TestHost::start();
    let cache = host.attach().with_lookup(LookupPath::Direct).with_reattach(None);
    cache.store(&key(1), b"bytes").unwrap();
    host.leave();
    assert_eq!(&*cache.lookup(&key(1)).unwrap().unwrap(), b"bytes");
    assert_eq!(cache.exists_many(&[key(1), key(1)]).unwrap(), [true, true]);
    assert_eq!(cache.asked_keys(), 0);
    wait_for("the end of the link is noticed", || cache.guest().is_known_over());
    assert!(cache.lookup(&key(2)).is_err());
    assert!(cache.match_prefix(&[key(1), key(2)]).is_err());
    assert_eq!(cache.asked_keys(), 2);
    assert_eq!(&*cache.lookup(&key(1)).unwrap().unwrap(), b"bytes");
}

// r[verify kv.direct_asks]
#[test]
fn a_miss_after_the_host_went_away_attaches_to_the_next_one() {
    let mut host = TestHost::start();
    let cache = host.attach().with_lookup(LookupPath::Direct);
    cache.store(&key(1), b"bytes").unwrap();
    host.leave();
    let next = TestHost::at(host.segment(), CacheService::new(CacheServiceOptions::default()));
    wait_for("the end of the link is noticed", || {
        cache.guest().is_known_over() || cache.asked_keys() > 0
    });
    assert!(cache.lookup(&key(2)).unwrap().is_none());
    // None where the attach in passing was quick enough.
    let asked = cache.asked_keys();
    assert!(asked <= 1, "{asked}");
    assert!(!cache.guest().is_known_over(), "attached anew");
    let block = cache.lookup(&key(1)).unwrap().unwrap();
    assert!(cache.lookup(&key(2)).unwrap().is_none());
    assert_eq!((&*block, cache.asked_keys()), (&b"bytes"[..], asked));
    drop(block);
    next.assert_clean();
}

// r[verify kv.direct_returns]
#[test]
fn who_only_hits_comes_back_too() {
    let mut host = TestHost::start();
    let cache = host.attach().with_lookup(LookupPath::Direct);
    let stays = cache.with_reattach(None);
    cache.store(&key(1), b"bytes").unwrap();
    host.next(CacheService::new(CacheServiceOptions::default()));
    wait_for("the end of the link is noticed", || stays.guest().is_known_over());
    for _ in 0..3 {
        assert!(stays.lookup(&key(1)).unwrap().is_some());
    }
    assert!(stays.guest().is_known_over(), "it does not attach by itself");
    wait_for("it attached anew", || {
        let single = cache.lookup(&key(1)).unwrap();
        let many = cache.lookup_many(&[key(1), key(1)]).unwrap();
        assert!(single.is_some() && many.iter().all(Option::is_some));
        !cache.guest().is_known_over()
    });
    assert_eq!(cache.asked_keys(), 0);
    host.assert_clean();
}

// r[verify kv.direct_expiry]
#[test]
fn a_reader_honours_the_time_of_a_block() {
    let host = TestHost::start();
    let cache = host.attach().with_lookup(LookupPath::Direct);
    let options = PublishOptions { ttl: Some(Duration::from_secs(1)), ..Default::default() };
    cache.store_with(&key(1), b"for a second", options).unwrap();
    cache.store(&key(2), b"for ever").unwrap();
    assert!(cache.lookup(&key(1)).unwrap().is_some());
    wait_for("its time is over", || cache.lookup(&key(1)).unwrap().is_none());
    assert!(!cache.exists(&key(1)).unwrap());
    let both = cache.lookup_many(&[key(1), key(2)]).unwrap();
    assert_eq!(both.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
    assert_eq!(cache.stats().unwrap().blocks, 2, "retired by the host, when it comes by");
    host.assert_clean();
}
