//! Pools that grow under their guests, and pools that cannot.

use crate::PEER;
use crate::embedded::Embedded;
use onecopy::service::{CacheService, CacheServiceOptions};
use onecopy_tests::harness::{
    Echo, Peer, RawGuest, Segment, TestHost, is_payload, key, payload, soon,
};
use onecopy_transport::format::Role;
use onecopy_transport::guest::ReserveError;
use onecopy_transport::host::{HostEvent, HostOptions};
use onecopy_transport::inspect::inspect;
use onecopy_transport::segment::SegmentPath;
use onecopy_transport::wire::{Refill, RequestError, kind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

const SMALL: u64 = 8 << 20;
const LARGE: u64 = 64 << 20;

// r[verify growth.publish]
// r[verify crash.g4]
#[test]
fn a_pool_grows_while_two_others_read_and_write() {
    let segment = Segment::new();
    let mut host = TestHost::with(&segment, |options| options.pool_bytes_max = LARGE);
    let mut others: Vec<Peer> =
        (0..2).map(|_| Peer::attached(PEER, segment.path(), "writer")).collect();
    for (seed, other) in (1..).zip(&mut others) {
        other.ok(&format!("load {seed} 100"));
    }
    // Whoever registers memory with a device has to know it before anything of it is used.
    let cache = host.cache(Role::Writer);
    let told = Arc::new(AtomicU64::new(0));
    let teller = Arc::clone(&told);
    let from = cache.guest().on_growth(move |_, to_bytes| {
        std::thread::sleep(Duration::from_millis(1));
        teller.fetch_max(to_bytes, Ordering::SeqCst);
    });
    told.fetch_max(from, Ordering::SeqCst);
    assert!(from < LARGE);
    let writable = cache.guest().pool().base_address;
    let readable = cache.guest().pool_read_only().base_address;
    let is_told = |base: usize, bytes: &[u8]| {
        let end = bytes.as_ptr().addr() + bytes.len() - base;
        assert!(end as u64 <= told.load(Ordering::SeqCst), "{end} was not told");
    };
    for number in 10_000..10_400 {
        let mut fill = cache.reserve(100_000).unwrap();
        is_told(writable, &fill);
        fill[..100_000].copy_from_slice(&payload(number, 100_000));
        fill.publish(&key(number), 100_000, Default::default()).unwrap();
        let block = cache.lookup(&key(number)).unwrap().unwrap();
        is_told(readable, &block);
    }
    for number in 10_000..10_400 {
        let block = cache.lookup(&key(number)).unwrap().unwrap();
        assert!(block.len() == 100_000 && is_payload(number, &block), "block {number}");
    }
    for other in &mut others {
        let figures = other.ok("load_stop");
        let words: Vec<u64> = figures.split(' ').map(|word| word.parse().unwrap()).collect();
        assert!(words[1] > 0 && words[2] == 0, "{figures}");
    }
    let pool_bytes = host.stat("pool_bytes");
    assert!(pool_bytes > 40_000_000, "{pool_bytes}");
    assert_eq!(cache.guest().pool().published_bytes, pool_bytes);
    assert_eq!(cache.guest().pool().base_address, writable, "nothing moves");
    let steps = host.events().iter().filter(|it| matches!(it, HostEvent::Grown { .. })).count();
    assert_eq!(steps as u64, host.stat("grown"));
    let real_bytes = std::fs::metadata(segment.path().join("pool")).unwrap().len();
    assert!(steps >= 2 && real_bytes >= pool_bytes, "{steps} steps to {real_bytes}");
    host.assert_clean();
}

// r[verify growth.refill_waits]
#[test]
fn a_request_that_needs_growth_waits_for_it() {
    let segment = Segment::new();
    let host = TestHost::with(&segment, |options| {
        options.pool_bytes_max = LARGE;
        options.grant_bytes_max = Some(LARGE);
    });
    let cache = host.cache(Role::Writer);
    let held: Vec<_> = (0..100).map(|_| cache.reserve(256 << 10).unwrap()).collect();
    assert!(host.stat("pool_bytes") > (held.len() as u64) << 18, "more than it had");
    host.assert_clean();
}

// r[verify growth.publish]
// r[verify growth.refill_waits]
// r[verify crash.g3]
#[test]
fn a_pool_that_cannot_grow_says_so_with_numbers_and_loses_nothing() {
    let segment = Segment::new();
    let mut host = Peer::start(PEER, segment.path());
    // Enough to start with; the first step of growth goes beyond it.
    host.ok(&format!("limit_file_bytes {}", 12 << 20));
    host.ok("host 8 64");
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    let mut other = Peer::attached(PEER, segment.path(), "reader");
    for number in 0..20 {
        guest.ok(&format!("store {number} 5000"));
        guest.ok(&format!("pin {number}"));
    }
    let refused = guest.error("reserve 262144 40");
    assert!(refused.contains("NoRoom { slot_bytes: 262144"), "{refused}");
    assert!(refused.contains("growable_bytes: 0"), "{refused}");
    assert_ne!(host.ok("host_audit"), "0", "growth failed");
    for number in 0..20 {
        assert!(other.ok(&format!("get {number}")).starts_with("5000 "));
    }
    // What was granted before stays usable, and what is given back is had again.
    guest.ok("scribble 7");
    guest.ok("publish 100");
    assert_ne!(other.ok("get 100"), "miss");
    guest.ok("unreserve");
    guest.ok("reserve 262144 8");
    host.ok("host_audit");
    let path = SegmentPath::new(segment.path()).unwrap();
    let seen = inspect(&path, CacheService::new(CacheServiceOptions::default())).unwrap();
    assert_eq!(seen.pool_bytes, SMALL, "nobody can see the failed step");
}

// r[verify growth.refill_waits]
#[test]
fn what_waits_for_growth_holds_up_nobody_and_is_answered_once() {
    let segment = Segment::new();
    let choose = |options: &mut HostOptions| {
        options.pool_bytes_max = LARGE;
        options.grant_bytes_max = Some(LARGE);
    };
    let mut host = Embedded::start(&segment, choose, Echo::default());
    let path = segment.path().to_owned();
    let mut guest = host.serve_while(|| RawGuest::attach(&path, Role::Writer));
    let refill = Refill { size_bytes: (256_u64 << 10).into(), count: 1.into() };
    const SENT: u32 = 60;
    let mut answers = Vec::new();
    let take = |guest: &mut RawGuest, answers: &mut Vec<u32>| {
        while let Some(frame) = guest.receive_until(Instant::now()) {
            if frame.header.request_id != 0 {
                assert_eq!(frame.refusal(), None);
                answers.push(frame.header.request_id);
            }
        }
    };
    // Twice what there is; then something that needs no slot.
    for request in 1..=SENT {
        guest.send(kind::REFILL, 0, request, refill.as_bytes());
    }
    guest.send(kind::PING, 0, SENT + 1, b"still there");
    // Turns alone publish no growth.
    while answers.last() != Some(&(SENT + 1)) {
        host.host.turn();
        take(&mut guest, &mut answers);
    }
    assert!(answers.len() < SENT as usize, "some wait: {answers:?}");
    let deadline = soon();
    while answers.len() < SENT as usize + 1 {
        assert!(Instant::now() < deadline, "{} of {SENT}", answers.len());
        host.once();
        take(&mut guest, &mut answers);
    }
    host.serve_for(Duration::from_millis(50));
    take(&mut guest, &mut answers);
    answers.sort_unstable();
    assert!(answers.iter().copied().eq(1..=SENT + 1), "each once: {answers:?}");
    host.assert_clean();
}

// r[verify pool.quota]
#[test]
fn a_guest_gets_no_more_than_its_quota() {
    let segment = Segment::new();
    let host = TestHost::with(&segment, |options| options.grant_bytes_max = Some(1 << 20));
    let cache = host.cache(Role::Writer);
    let other = host.cache(Role::Writer);
    let mut held = Vec::new();
    let refused = loop {
        match cache.guest().reserve(200_000, soon()) {
            Ok(reservation) => held.push(reservation),
            Err(error) => break error,
        }
        assert!(held.len() < 100);
    };
    let slot_bytes = held[0].slot_bytes();
    let held_bytes = slot_bytes * held.len() as u64;
    let quota = RequestError::Quota { held_bytes, wanted_bytes: slot_bytes, quota_bytes: 1 << 20 };
    assert_eq!(refused, ReserveError::Refused(quota));
    assert!(held_bytes <= 1 << 20 && held_bytes + slot_bytes > 1 << 20);
    // The others have their own.
    assert!(other.reserve(200_000).is_ok());
    // What is published is not held any more.
    held.truncate(2);
    let again = cache.reserve(200_000).unwrap();
    again.publish(&key(1), 200_000, Default::default()).unwrap();
    drop(held);
    let again: Vec<_> = (0..4).map(|_| cache.reserve(200_000).unwrap()).collect();
    assert_eq!(again.len(), 4);
    host.assert_clean();
}
