//! Many leases: what they cost who holds few, and what a look through them costs the host. Counted in
//! words and bytes; how long it takes is asked for in benchmarks.

use crate::full::{fill, on_small_tmpfs};
use onecopy::service::{CacheService, CacheServiceOptions, Capacity};
use onecopy_shm::{LEASES_MAX, SlotRef};
use onecopy_tests::harness::{Segment, TestHost, key, payload};
use onecopy_transport::format::Role;
use onecopy_transport::guest::{Guest, GuestOptions, LeaseError, SlotGuard};
use onecopy_transport::host::HostOptions;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Bytes of a lease table's file that have memory.
fn real_bytes(segment: &Path, serial: u32) -> u64 {
    let file = segment.join("leases").join(serial.to_string());
    std::fs::metadata(file).unwrap().blocks() * 512
}

/// Leases one slot so many times.
fn lease_often(guest: &Guest, slot: SlotRef, count: usize) -> Vec<SlotGuard> {
    (0..count).map(|_| guest.lease(slot).unwrap().unwrap()).collect()
}

/// Words that one look reads on average while this is done and what it retires is freed.
fn words_per_look(host: &TestHost, deed: impl FnOnce()) -> u64 {
    let figures = || (host.stat("lease_looks"), host.stat("lease_words_looked"));
    let before = figures();
    deed();
    host.wait_stat("slots_retired", 0);
    let after = figures();
    (after.1 - before.1) / (after.0 - before.0)
}

// r[verify lease.listed]
// r[verify lease.memory]
#[test]
fn half_a_million_leases_of_one_process_cost_nobody_anything_once_they_have_ended() {
    const LEASES: usize = 500_000;
    let segment = Segment::new();
    let host = TestHost::with(&segment, |options| options.leases_max = LEASES_MAX);
    let writer = host.cache(Role::Writer);
    for number in 0..4 {
        writer.store(&key(number), &payload(number, 5000)).unwrap();
    }
    let reader = host.cache(Role::Reader);
    let block = reader.lookup(&key(0)).unwrap().unwrap();
    let (guest, slot) = (reader.guest(), block.slot());
    let few = guest.lease(slot).unwrap();
    let held_at_first = real_bytes(segment.path(), guest.serial());
    assert!(held_at_first <= 16 << 10, "{held_at_first} bytes for a few leases");
    let words = words_per_look(&host, || assert!(writer.delete(&key(1)).unwrap()));
    assert!(words <= 2 * (4 * 8 + 4), "{words} words for two leases of two guests");

    let many = lease_often(&guest, slot, LEASES);
    let all = real_bytes(segment.path(), guest.serial());
    assert!((4_000_000..4_300_000).contains(&all), "{all} bytes");
    let words = words_per_look(&host, || assert!(writer.delete(&key(2)).unwrap()));
    assert!((500_000..510_000).contains(&words), "{words} words");

    drop(many);
    let words = words_per_look(&host, || assert!(writer.delete(&key(3)).unwrap()));
    assert!(words <= 100, "{words} words for what is left");
    assert_eq!(&block[..], payload(0, 5000));
    drop((few, block));
    host.assert_clean();
}

// r[verify lease.memory]
// r[verify resources.full]
#[test]
fn leases_that_a_full_tmpfs_has_no_memory_for_are_refused_and_the_others_hold() {
    let test = "leases::leases_that_a_full_tmpfs_has_no_memory_for_are_refused_and_the_others_hold";
    let Some(place) = on_small_tmpfs(test, 32) else { return };
    let segment = Segment::at(&place);
    let host = TestHost::with(&segment, |options| options.leases_max = LEASES_MAX);
    let writer = host.cache(Role::Writer);
    writer.store(&key(0), &payload(0, 5000)).unwrap();
    let block = writer.lookup(&key(0)).unwrap().unwrap();
    let guest = writer.guest();
    let filler = fill(&place, 100 << 10);
    let mut guards = Vec::new();
    let error = loop {
        match guest.lease(block.slot()) {
            Ok(guard) => guards.push(guard.unwrap()),
            Err(error) => break error,
        }
        assert!(guards.len() < LEASES_MAX as usize);
    };
    let LeaseError::NoMemory { held, capacity: LEASES_MAX, source } = error else {
        panic!("{error}");
    };
    assert_eq!(source.raw_os_error(), 28, "ENOSPC");
    // One that the lookup took, and those of the last line that are not used up.
    assert!((guards.len()..guards.len() + 8).contains(&(held as usize)), "{held}");
    assert!(guards.len() > 1000, "100 KiB and what was there are good for {}", guards.len());
    assert_eq!(&block[..], payload(0, 5000));
    assert_eq!(guest.lease(block.slot()).unwrap_err(), error);
    // Room for what was refused.
    std::fs::remove_file(filler).unwrap();
    guards.push(guest.lease(block.slot()).unwrap().unwrap());
    drop((guards, block));
    assert!(writer.delete(&key(0)).unwrap());
    host.wait_stat("slots_retired", 0);
    host.assert_clean();
}

const GUESTS: u64 = 64;
const LEASES_OF_EACH: usize = 1000;
const PUBLISHES: u64 = 10_000;
/// A class with so many slots has 64 of them evicted at once.
const SLOTS: u64 = 8192;

/// A host whose clock does not tick meanwhile: its ticks look, too.
fn patient(options: &mut HostOptions) {
    options.pool_bytes = (SLOTS + 64) * 4096;
    options.pool_bytes_max = options.pool_bytes;
    options.slot_bytes_max = Some(4096);
    options.guests_max = GUESTS as u32 + 2;
    options.leases_max = LEASES_MAX;
    options.heartbeat_interval = Duration::from_secs(3600);
}

/// So many guests hold so many leases each, while the cache is published into until it has evicted so
/// many blocks. Looks, and words that they read.
fn evict_beside_leases(capacity: Capacity) -> (u64, u64) {
    let segment = Segment::new();
    let service =
        CacheService::new(CacheServiceOptions { capacity, ..CacheServiceOptions::default() });
    let host = TestHost::serving(&segment, patient, service);
    let writer = host.cache(Role::Writer);
    let store = |number| {
        writer.store(&key(number), &payload(number, 64)).unwrap();
    };
    (0..GUESTS).for_each(store);
    let mut held = Vec::new();
    for number in 0..GUESTS {
        let options = GuestOptions { watcher: false, ..host.guest_options(Role::Reader) };
        let guest = Guest::attach(options).unwrap();
        let block = writer.lookup(&key(number)).unwrap().unwrap();
        held.extend(lease_often(&guest, block.slot(), LEASES_OF_EACH));
    }
    let mut number = GUESTS;
    let mut store_until = |evictions: u64| {
        while host.stat("evictions") < evictions {
            (number..number + 100).for_each(store);
            number += 100;
        }
    };
    // The blocks that are read are the oldest: they go first, and stay in limbo to the end.
    store_until(2 * GUESTS);
    let before = (host.stat("lease_looks"), host.stat("lease_words_looked"));
    let evicted = host.stat("evictions");
    store_until(evicted + PUBLISHES);
    let looks = host.stat("lease_looks") - before.0;
    let words = host.stat("lease_words_looked") - before.1;
    assert!(host.stat("slots_retired") >= GUESTS, "what is read is not used again");
    for (number, guards) in (0..).zip(held.chunks(LEASES_OF_EACH)) {
        assert_eq!(&guards[0][..], payload(number, 64));
    }
    drop(held);
    host.assert_clean();
    (looks, words)
}

/// For each lease its word, the rest of the lines that each thread keeps, and the summary.
fn assert_words(looks: u64, words: u64) {
    let of_leases = GUESTS * LEASES_OF_EACH as u64;
    assert!(words >= looks * of_leases, "{words} words in {looks} looks");
    assert!(words <= looks * (of_leases + GUESTS * 64), "{words} words in {looks} looks");
}

// r[verify host.looks]
// r[verify kv.make_room]
#[test]
fn in_a_full_pool_a_look_serves_all_that_is_evicted_together() {
    let (looks, words) = evict_beside_leases(Capacity::Unbounded);
    assert!(looks <= PUBLISHES / 64 + PUBLISHES / 640, "{looks} looks for {PUBLISHES} evictions");
    assert_words(looks, words);
}

// r[verify host.looks]
#[test]
fn with_slots_to_spare_a_look_waits_until_it_is_worth_it() {
    let (looks, words) = evict_beside_leases(Capacity::Blocks(SLOTS / 2));
    // 65,000 words are worth a thousand slots.
    assert!((1..=PUBLISHES / 900).contains(&looks), "{looks} looks for {PUBLISHES} evictions");
    assert_words(looks, words);
}
