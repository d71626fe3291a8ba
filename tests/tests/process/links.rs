//! What a guest gets of its host, and when.

use crate::embedded::Embedded;
use onecopy::cache::{Cache, CacheOptions};
use onecopy::service::CacheService;
use onecopy_shm::SlotRef;
use onecopy_tests::harness::{
    ANSWER_IN, ECHO, Echo, RawGuest, Segment, TestHost, WIDEN, key, soon, wait_for,
};
use onecopy_transport::format::Role;
use onecopy_transport::guest::{Guest, GuestOptions};
use onecopy_transport::host::HostOptions;
use onecopy_transport::wire::{Refill, RequestError, SlotPayload, flag, kind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

fn small_rings(options: &mut HostOptions) {
    options.ring_capacity_bytes = 1024;
    options.inline_bytes_max = 200;
}

fn by_slot(slot: SlotRef, length_bytes: u64) -> SlotPayload {
    SlotPayload { slot: slot.to_u64().into(), length_bytes: length_bytes.into() }
}

// r[verify link.bounded_work]
#[test]
fn one_guest_gets_so_much_of_a_turn_and_no_more() {
    let segment = Segment::new();
    let mut host = Embedded::start(&segment, |_| {}, Echo::default());
    let path = segment.path().to_owned();
    let mut eager = host.serve_while(|| RawGuest::attach(&path, Role::Writer));
    let mut modest = host.serve_while(|| RawGuest::attach(&path, Role::Writer));
    for request in 1..=200 {
        eager.send(ECHO, 0, request, &[7; 8]);
    }
    modest.send(ECHO, 0, 1, &[8; 8]);
    let before = host.stat("requests");
    let mut turns = Vec::new();
    while host.host.turn() {
        turns.push(host.stat("requests") - before);
    }
    assert_eq!(turns, [65, 129, 193, 201], "64 of one and 1 of the other in the first turn");
    assert_eq!(modest.answer().bytes, [8; 8]);
    let answers: Vec<u32> = (0..200).map(|_| eager.answer().header.request_id).collect();
    assert!(answers.iter().copied().eq(1..=200), "in their order");
}

// r[verify link.bounded_work]
#[test]
fn a_guest_that_is_short_of_slots_has_the_leases_looked_through_once_in_a_turn() {
    let segment = Segment::new();
    let choose = |options: &mut HostOptions| {
        options.pool_bytes = 2 << 20;
        options.pool_bytes_max = 2 << 20;
        options.grant_bytes_max = Some(2 << 20);
    };
    let mut host = Embedded::start(&segment, choose, CacheService::new(Default::default()));
    let path = segment.path().to_owned();
    // One slot is retired and read, and all others are granted: there is nothing to be had.
    let reader = host.serve_while(|| {
        let options = GuestOptions { role: Role::Writer, ..GuestOptions::at(&path) };
        Cache::attach(CacheOptions::new(options)).unwrap()
    });
    let block = host.serve_while(|| {
        reader.store(&key(1), &[7; 4000]).unwrap();
        let block = reader.lookup(&key(1)).unwrap();
        assert!(reader.delete(&key(1)).unwrap());
        block
    });
    let refill = Refill { size_bytes: 4096.into(), count: 32.into() };
    let mut greedy = host.serve_while(|| RawGuest::attach(&path, Role::Writer));
    host.serve_while(
        || while greedy.ask(kind::REFILL, 0, refill.as_bytes()).refusal().is_none() {},
    );
    let mut modest = host.serve_while(|| RawGuest::attach(&path, Role::Reader));

    (1..=40).for_each(|id| greedy.send(kind::REFILL, 0, id, refill.as_bytes()));
    modest.send(kind::PING, 0, 1, b"there");
    for _ in 0..40 {
        let before = (host.stat("lease_looks"), host.stat("requests"));
        assert!(host.host.turn());
        let looks = host.stat("lease_looks") - before.0;
        assert!((1..=2).contains(&looks), "{looks} looks in a turn");
        assert!(host.stat("requests") - before.1 <= 2, "one of each guest");
        assert!(matches!(greedy.answer().refusal(), Some(RequestError::NoRoom { .. })));
    }
    assert_eq!(modest.answer().bytes, b"there");
    drop(block);
    assert_eq!(host.serve_while(|| greedy.ask(kind::REFILL, 0, refill.as_bytes())).refusal(), None);
    host.assert_clean();
    // It says goodbye, and the host has to hear it.
    host.serve_while(move || drop(reader));
}

// r[verify link.reply_room]
#[test]
fn a_request_is_carried_out_when_its_answer_has_room() {
    let segment = Segment::new();
    let echo = Echo::default();
    let mut host = Embedded::start(&segment, small_rings, echo.clone());
    let path = segment.path().to_owned();
    let mut guest = host.serve_while(|| RawGuest::attach(&path, Role::Writer));
    let carried_out = || echo.carried_out.load(Ordering::Relaxed);
    for request in 1..=12 {
        guest.send(WIDEN, 0, request, &200_u64.to_le_bytes());
    }
    while host.once() {}
    // An answer takes 208 bytes of 1024, and 8 stay free for the header that follows.
    let at_first = carried_out();
    assert!((3..=4).contains(&at_first), "{at_first}");
    for request in 1..=12 {
        let answer = guest.receive_until(Instant::now()).or_else(|| {
            while host.once() {}
            guest.receive_until(Instant::now())
        });
        let answer = answer.unwrap();
        assert_eq!((answer.header.request_id, answer.bytes.len()), (request, 200));
        assert!(carried_out() <= u64::from(request) + 4, "no answer is made without room for it");
    }
    assert_eq!(carried_out(), 12);
    assert_eq!(host.stat("cut_off"), 0);
}

// r[verify link.reply_room]
#[test]
fn a_request_that_waits_for_room_is_the_hosts_own_by_then() {
    let segment = Segment::new();
    let mut host = Embedded::start(&segment, small_rings, Echo::default());
    let path = segment.path().to_owned();
    let mut guest = host.serve_while(|| RawGuest::attach(&path, Role::Writer));
    for request in 1..=5 {
        guest.send(ECHO, 0, request, &[request as u8; 200]);
        if request == 4 {
            // The ring of requests holds no more than this at a time.
            while host.once() {}
        }
    }
    while host.once() {}
    let waits = 5 - host.stat("requests");
    assert!(waits >= 1, "{waits}");
    let ring = onecopy_transport::format::RINGS_REQUEST_OFFSET + 128;
    for word in 0..128 {
        guest.rings.word(ring + word * 8).unwrap().store(u64::MAX, Ordering::Relaxed);
    }
    let mut last = 0;
    for _ in 0..5 - waits + 1 {
        let answer = guest.receive_until(Instant::now()).or_else(|| {
            while host.once() {}
            guest.receive_until(Instant::now())
        });
        let answer = answer.unwrap();
        last = answer.header.request_id;
        assert_eq!(answer.bytes, [last as u8; 200], "as it was when it was read");
    }
    assert_eq!(u64::from(last), 5 - waits + 1);
}

// r[verify link.reply_room]
#[test]
fn a_host_that_sleeps_on_a_full_ring_is_woken_when_there_is_room() {
    let segment = Segment::new();
    // A tick of this host never comes in the time of this test.
    let rare = |options: &mut HostOptions| {
        small_rings(options);
        options.heartbeat_interval = Duration::from_secs(3600);
    };
    let host = TestHost::serving(&segment, rare, Echo::default());
    for polling in [false, true] {
        let options = GuestOptions { polling, ..host.guest_options(Role::Writer) };
        let guest = Guest::attach(options).unwrap();
        for _ in 0..20 {
            let submit = |_| {
                let fill = |target: &mut [u8]| target.copy_from_slice(&200_u64.to_le_bytes());
                guest.submit_with(WIDEN, 8, fill, soon()).unwrap()
            };
            let pending: Vec<_> = (0..12).map(submit).collect();
            // Long enough for the host to fall asleep on what has no room.
            std::thread::sleep(Duration::from_millis(5));
            for one in pending {
                assert_eq!(one.wait(soon()).unwrap().len(), 200);
            }
        }
    }
    host.assert_clean();
}

// r[verify doorbell.host_sleeps]
#[test]
fn a_host_that_sleeps_is_woken_by_every_request_and_by_its_clock() {
    let segment = Segment::new();
    let rare = |options: &mut HostOptions| options.heartbeat_interval = Duration::from_secs(3600);
    let host = TestHost::serving(&segment, rare, Echo::default());
    let guest = host.guest(Role::Writer);
    let asleep = guest.control().host_asleep();
    let mut sleeps = Vec::new();
    for round in 0..300_u64 {
        // From "just falling asleep" to "fast asleep".
        std::thread::sleep(Duration::from_micros(round % 60 * 10));
        if round % 30 == 0 {
            wait_for("sleep", || asleep.load(Ordering::Relaxed) % 2 == 1);
            sleeps.push(asleep.load(Ordering::Relaxed));
        }
        let answer = guest.call(ECHO, &round.to_le_bytes(), soon()).unwrap();
        assert_eq!(&*answer, round.to_le_bytes());
    }
    assert!(sleeps.windows(2).all(|pair| pair[0] != pair[1]), "a new value each: {sleeps:?}");
    drop(guest);
    drop(host);

    let segment = Segment::new();
    let host = TestHost::serving(&segment, |_| {}, Echo::default());
    let guest = host.guest(Role::Reader);
    let before = guest.control().host_heartbeat();
    let ticks = || guest.control().host_heartbeat() - before;
    wait_for("ticks of a host that nobody asks anything", || ticks() >= 5);
}

// r[verify link.slot_checked]
#[test]
fn a_payload_stands_in_a_slot_of_who_sends_it_or_not_at_all() {
    let segment = Segment::new();
    let host = TestHost::serving(&segment, |_| {}, Echo::default());
    let mut owner = RawGuest::attach(segment.path(), Role::Writer);
    let mut thief = RawGuest::attach(segment.path(), Role::Writer);
    let slot = owner.reserve(8000);
    let own = thief.reserve(8000);
    let slot_bytes = 8192;
    let bad = |slot: SlotRef, length_bytes| RequestError::BadSlot {
        slot: slot.slot.into(),
        generation: slot.generation.into(),
        length_bytes,
    };
    let by = |guest: &mut RawGuest, slot, length| {
        guest.ask(ECHO, flag::SLOT, by_slot(slot, length).as_bytes()).refusal()
    };
    assert_eq!(by(&mut thief, slot, 8), Some(bad(slot, 8)), "another's");
    let old = SlotRef { generation: slot.generation + 1, ..slot };
    assert_eq!(by(&mut owner, old, 8), Some(bad(old, 8)), "of another generation");
    let beyond = SlotRef { slot: u32::MAX, generation: 1 };
    assert_eq!(by(&mut owner, beyond, 8), Some(bad(beyond, 8)), "of no slot");
    assert_eq!(by(&mut owner, slot, slot_bytes + 1), Some(bad(slot, slot_bytes + 1)), "too long");
    assert_eq!(by(&mut owner, slot, u64::MAX), Some(bad(slot, u64::MAX)));
    assert_eq!(by(&mut owner, slot, slot_bytes), None);
    let none = owner.ask(ECHO, flag::SLOT, &[0; 16]).refusal();
    assert!(matches!(none, Some(RequestError::Malformed { .. })), "{none:?}");
    let short = owner.ask(ECHO, flag::SLOT, &[1; 8]).refusal();
    assert!(matches!(short, Some(RequestError::Malformed { length_bytes: 8, .. })), "{short:?}");

    // A service that answers in a slot which is not the asker's is not believed either.
    let stolen = thief.ask(ANSWER_IN, 0, &slot.to_u64().to_le_bytes());
    assert_eq!(stolen.refusal(), Some(bad(slot, 8)));
    let fine = thief.ask(ANSWER_IN, 0, &own.to_u64().to_le_bytes());
    assert_eq!((fine.refusal(), fine.header.flags), (None, flag::SLOT));
    assert_eq!(host.stat("cut_off"), 0);
    host.assert_clean();
}
