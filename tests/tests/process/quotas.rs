//! What one guest may have at most, and that one that has all of it keeps nobody from working.

use onecopy::cache::{Cache, CacheOptions};
use onecopy::error::{LookupError, PinError};
use onecopy::service::{CacheService, CacheServiceOptions};
use onecopy_tests::harness::{Random, RawGuest, Segment, TestHost, key, payload, soon};
use onecopy_transport::format::Role;
use onecopy_transport::guest::{LeaseError, ReserveError};
use onecopy_transport::wire::{QuotaError, Refill, RequestError, kind};
use std::time::Instant;
use zerocopy::IntoBytes;

// r[verify pool.quota]
#[test]
fn a_guest_gets_no_more_slots_than_its_quota() {
    let segment = Segment::new();
    let host = TestHost::with(&segment, |options| options.grant_slots_max = 10);
    let (guest, other) = (host.guest(Role::Writer), host.guest(Role::Writer));
    let mut held = Vec::new();
    let refused = loop {
        match guest.reserve(100, soon()) {
            Ok(reservation) => held.push(reservation),
            Err(error) => break error,
        }
        assert!(held.len() <= 10);
    };
    let quota = QuotaError::Slots { held_slots: 10, slots_max: 10 };
    assert_eq!(refused, ReserveError::Refused(RequestError::Over(quota)));
    assert_eq!(held.len(), 10);
    assert!(other.reserve(100, soon()).is_ok(), "others have their own");
    held.pop();
    assert!(guest.reserve(100, soon()).is_ok());
    // What is in stock of one class makes room for another.
    held.clear();
    assert!(guest.reserve(9000, soon()).is_ok());
    host.assert_clean();
}

// r[verify link.requests_quota]
#[test]
fn requests_that_wait_at_the_host_are_bounded_by_a_count_of_its_own() {
    let segment = Segment::new();
    let host = TestHost::with(&segment, |options| {
        options.pool_bytes_max = 256 << 20;
        options.grant_bytes_max = Some(256 << 20);
        options.requests_max = 2;
    });
    let other = host.guest(Role::Writer);
    let mut guest = RawGuest::attach(segment.path(), Role::Writer);
    let refill = Refill { size_bytes: (256 << 10).into(), count: 4.into() };
    let deadline = soon();
    // The pool has to grow for most of these; many at once meet one growth.
    let refused = 'found: loop {
        assert!(Instant::now() < deadline, "never more than two at once");
        (1..=40).for_each(|id| guest.send(kind::REFILL, 0, id, refill.as_bytes()));
        for _ in 1..=40 {
            if let Some(refusal @ RequestError::Over(_)) = guest.answer().refusal() {
                break 'found refusal;
            }
        }
    };
    let quota = QuotaError::Requests { in_flight: 2, requests_max: 2 };
    assert_eq!(refused, RequestError::Over(quota));
    assert!(!guest.is_cut_off(), "to ask for much is no crime");
    other.ping(soon()).unwrap();
    host.assert_clean();
}

// r[verify pool.quota]
// r[verify link.bounded_work]
#[test]
fn one_guest_at_all_of_its_quotas_keeps_nobody_from_working() {
    let segment = Segment::new();
    let service = CacheService::new(CacheServiceOptions {
        pins_per_peer_max: 8,
        ..CacheServiceOptions::default()
    });
    let choose = |options: &mut onecopy_transport::host::HostOptions| {
        options.pool_bytes = 32 << 20;
        options.pool_bytes_max = 32 << 20;
        options.grant_slots_max = 64;
        options.grant_bytes_max = Some(2 << 20);
        options.leases_max = 64;
    };
    let host = TestHost::serving(&segment, choose, service);
    let honest = host.cache(Role::Writer);
    for number in 0..200 {
        honest.store(&key(number), &payload(number, 5000)).unwrap();
    }
    // All the leases, pins and slots that it can have. It has a process of its own in this test: a
    // lease table of its own.
    let greedy = Cache::attach(CacheOptions::new(host.guest_options(Role::Writer))).unwrap();
    let mut leases = Vec::new();
    let full = (0..200).find_map(|number| match greedy.lookup(&key(number)) {
        Ok(block) => {
            leases.extend(block);
            None
        }
        Err(error) => Some(error),
    });
    let is_full = matches!(full, Some(LookupError::Lease(LeaseError::Full { capacity: 64 })));
    assert!(is_full, "{full:?}");
    let pinned = (100..200).map(|number| greedy.pin(&key(number)));
    let refused = pinned.filter_map(Result::err).next().unwrap();
    assert!(matches!(refused, PinError::Quota { pins_max: 8, .. }), "{refused:?}");
    let mut fills = Vec::new();
    while let Ok(fill) = greedy.reserve(30_000) {
        fills.push(fill);
        assert!(fills.len() <= 64);
    }
    // And it asks without end.
    let mut flood = RawGuest::attach(segment.path(), Role::Writer);
    let mut random = Random::new(1);
    for round in 0..300 {
        while flood.requests.has_room(200).unwrap() {
            flood.send(kind::PING, 0, 1, &[0; 100]);
        }
        while flood.receive_until(Instant::now()).is_some() {}
        let number = 1000 + random.below(400);
        let bytes = payload(number, 5000);
        honest.delete(&key(number)).unwrap();
        honest.store(&key(number), &bytes).unwrap();
        let found = honest.lookup(&key(number)).unwrap().unwrap();
        assert_eq!(&found[..], &bytes[..], "round {round}");
    }
    assert_eq!(host.stat("cut_off"), 0);
    host.assert_clean();
}
