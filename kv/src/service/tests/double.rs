//! The index doubles as the pool grows, beside everything else.

use super::rig::{Rig, key};
use crate::index::{buckets_for, region_bytes};
use crate::protocol::PublishOutcome;
use crate::service::{CacheService, CacheServiceOptions, Capacity};
use onecopy_transport::service::Service;

const BLOCKS: u64 = 1000;

fn publish(rig: &mut Rig, numbers: std::ops::Range<u64>) {
    for number in numbers {
        assert_eq!(rig.publish(1, &key(number), 64), PublishOutcome::Published, "{number}");
    }
}

fn assert_found(rig: &mut Rig, numbers: std::ops::Range<u64>) {
    for number in numbers {
        assert!(rig.exists(&key(number)), "{number}");
    }
}

// r[verify index.begin]
// r[verify index.memory]
#[test]
fn the_index_begins_small_and_follows_the_blocks() {
    let mut rig = Rig::with_ready(CacheServiceOptions::default(), 4096, 512);
    assert_eq!((rig.index().bucket_count(), rig.stats().index_buckets), (8, 8));
    for (published, buckets) in [(30, 8), (31, 16), (61, 16), (62, 32), (400, 128)] {
        let there = rig.stats().blocks;
        publish(&mut rig, there..published);
        rig.tick();
        assert_eq!(rig.index().bucket_count(), buckets, "{published} blocks");
        assert_found(&mut rig, 0..published);
        rig.assert_clean();
    }
    rig.grow(4096);
    rig.tick();
    assert_eq!(rig.index().bucket_count(), 128, "more memory is no reason");
    publish(&mut rig, 400..2100);
    rig.tick();
    assert_eq!(rig.index().bucket_count(), 1024);
    assert_found(&mut rig, 0..2100);
    rig.assert_clean();
    assert_eq!(rig.stats().evictions_for_index, 0);
}

// r[verify index.pace]
#[test]
fn publishing_alone_ends_a_doubling_before_the_next_one() {
    let mut rig = Rig::new(CacheServiceOptions::default());
    let (mut doubled, mut last, mut most_percent) = (0, 8, 0);
    for number in 0..BLOCKS {
        publish(&mut rig, number..number + 1);
        let buckets = rig.index().bucket_count();
        doubled += u64::from(buckets > last);
        last = buckets;
        most_percent = most_percent.max((number + 1) * 100 / (buckets * 8));
        rig.assert_clean();
    }
    assert!(doubled == 5 && most_percent <= 58, "{most_percent} % of the places");
    assert_found(&mut rig, 0..BLOCKS);
}

// r[verify kv.recover]
// r[verify index.begin]
#[test]
fn a_new_life_makes_the_index_as_large_as_its_blocks_need() {
    // Among them each of the phases of a doubling.
    for published in 33..=80 {
        let mut rig = Rig::new(CacheServiceOptions::default());
        publish(&mut rig, 0..published);
        rig.delete(&key(3));
        rig.restart(CacheServiceOptions::default());
        assert_eq!(rig.index().bucket_count(), buckets_for(published as u32 - 1));
        rig.assert_clean();
        assert!(!rig.exists(&key(3)));
        assert_found(&mut rig, 0..3);
        assert_found(&mut rig, 4..published);
    }
}

// r[verify index.remove]
// r[verify kv.delete]
#[test]
fn what_is_taken_out_while_the_index_doubles_stays_out() {
    let capacity = Capacity::Blocks(BLOCKS);
    let mut rig = Rig::new(CacheServiceOptions { capacity, ..Default::default() });
    for number in 0..2 * BLOCKS {
        publish(&mut rig, number..number + 1);
        if number % 3 == 0 {
            rig.delete(&key(number / 2));
            assert!(!rig.exists(&key(number / 2)));
            rig.reclaim();
        }
    }
    rig.assert_clean();
}

// r[verify index.memory]
#[test]
fn what_is_real_is_enough_for_the_index_of_the_slots_that_are_ready() {
    let rig = Rig::with_ready(CacheServiceOptions::default(), 4096, 64);
    let service = CacheService::new(CacheServiceOptions::default());
    let geometry = rig.geometry();
    let mut last = 0;
    for slots in [0, 1, 32, 33, 4096, u64::MAX] {
        let ready = service.region_bytes_ready(geometry, slots);
        let buckets = buckets_for(slots.min(4096) as u32);
        assert_eq!(Some(ready), region_bytes(buckets));
        assert!(last <= ready && ready <= geometry.service_bytes);
        last = ready;
    }
    assert_eq!(last, geometry.service_bytes);
}
