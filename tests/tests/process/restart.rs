//! Guests that come back to the next host: what they still use goes on, the rest is free.

use crate::PEER;
use onecopy_tests::harness::{Peer, RawGuest, Segment, TestHost, wait_for};
use onecopy_transport::format::Role;
use onecopy_transport::wire::{RequestError, kind};
use std::time::Duration;

fn host(segment: &Segment, order: &str) -> Peer {
    let mut host = Peer::start(PEER, segment.path());
    host.ok(order);
    host
}

fn is_bad_slot(refusal: Option<RequestError>) -> bool {
    matches!(refusal, Some(RequestError::BadSlot { .. }))
}

// r[verify peer.handover]
// r[verify guest.reattach.kept]
#[test]
fn a_reservation_outlives_five_hosts_and_is_published_under_the_sixth() {
    let segment = Segment::new();
    // Two rows in the peer table.
    let mut host = host(&segment, "host 8 8 1");
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store_many 100 20");
    guest.ok("store 1 5000");
    guest.ok("hold 1");
    let slots = guest.ok("reserve 9000 2");
    let held: Vec<&str> = slots.split(' ').collect();
    for life in 2..=6 {
        host.kill();
        assert!(guest.error("ping").contains("HostGone"));
        host = Peer::start(PEER, segment.path());
        assert_eq!(host.ok("host 8 8 1"), life.to_string());
        guest.ok("scribble 9");
        let serial: u32 = guest.ok("reattach").parse().unwrap();
        guest.ok("ping");
        assert_eq!(segment.files("rings"), [serial], "earlier attaches are over");
        assert_eq!(segment.files("leases"), [guest.serial()]);
        assert_eq!(guest.ok("verify 100 20"), "20");
        // More than the pool holds: every slot that is free is used.
        for number in 0..200 {
            let stored = guest.ok(&format!("store {} 9000", life * 1000 + number));
            let slot = stored.split(' ').nth(1).unwrap();
            assert!(!held.contains(&slot), "slot {slot} is reserved");
            guest.ok(&format!("delete {}", life * 1000 + number));
        }
        guest.ok("scribble 10");
        assert_eq!(guest.ok("check"), "1");
        host.ok("host_audit");
    }
    host.kill();
    let host = TestHost::start(&segment);
    assert!(host.stat("slots_quarantined") >= 2);
    guest.ok("reattach");
    guest.ok("ping");
    assert_eq!((host.stat("guests"), host.stat("handed_over")), (1, 1));
    assert_eq!(host.stat("slots_quarantined"), 0);
    assert!(guest.ok("publish 77").contains("First"));
    assert!(guest.ok("get 77").starts_with("12288 "));
    // The other one goes into stock and comes out of it again.
    let granted = host.stat("slots_granted");
    guest.ok("unreserve");
    let again = guest.ok("reserve 9000 1");
    assert!(held.contains(&again.as_str()), "{again}");
    assert!(host.stat("slots_granted") >= granted);
    host.assert_clean();
    guest.ok("unreserve");
    guest.ok("let_go");
    guest.ok("detach");
    assert_eq!(host.stat("slots_granted"), 0);
    host.assert_clean();
}

// r[verify peer.handover.own]
#[test]
fn only_what_is_ones_own_is_handed_over() {
    let segment = Segment::new();
    let mut host = TestHost::start(&segment);
    let mut other = Peer::attached(PEER, segment.path(), "writer");
    other.ok("store 1 5000");
    other.ok("reserve 5000 1");
    let mut earlier = RawGuest::attach(segment.path(), Role::Writer);
    let (first, second) = (earlier.reserve(5000), earlier.reserve(9000));
    let mut stranger = RawGuest::attach(segment.path(), Role::Writer);
    let of_stranger = stranger.reserve(5000);
    let mut guest = RawGuest::attach_again(segment.path(), earlier.serial());
    assert_eq!(guest.welcome.lease_serial.get(), earlier.serial());

    let any = |slot: u32, generation: u32| onecopy_shm::SlotRef { slot, generation };
    // Of another process, of another handle, published, of another time, of no slot.
    let others = (1..200).flat_map(|slot| (1..4).map(move |generation| any(slot, generation)));
    for slot in others.filter(|&slot| slot != first && slot != second) {
        let refusal = guest.hand_over(0, &[slot]);
        // The stock that came with what was reserved is its own too.
        let is_refused = is_bad_slot(refusal);
        assert!(is_refused || refusal.is_none());
        assert!(is_refused || slot != of_stranger);
        if !is_refused {
            assert!(is_bad_slot(guest.hand_over(0, &[slot])), "it is handed over once");
        }
    }
    assert!(is_bad_slot(guest.hand_over(0, &[first, first])));
    assert!(is_bad_slot(guest.hand_over(0, &[any(first.slot, first.generation + 1)])));
    assert!(is_bad_slot(earlier.hand_over(0, &[first])), "an earlier attach is no heir");
    assert!(is_bad_slot(guest.hand_over(0, &vec![any(7, 999); 2000])));
    for bytes in [&[0; 7][..], &[0; 15], &[0; 16]] {
        let refusal = guest.ask(kind::HANDOVER, 0, bytes).refusal();
        assert!(matches!(refusal, Some(RequestError::Malformed { .. })), "{refusal:?}");
    }
    host.assert_clean();
    assert!(!earlier.is_cut_off());

    assert_eq!(guest.hand_over(1, &[second]), None);
    assert!(host.wait_recovered(earlier.serial()).0);
    wait_for("the end of the earlier link", || earlier.is_cut_off());
    assert_eq!(host.stat("guests"), 3);
    assert_eq!(segment.files("rings"), [other.serial(), stranger.serial(), guest.serial()]);
    assert_eq!(segment.files("leases"), [other.serial(), earlier.serial(), stranger.serial()]);
    assert!(is_bad_slot(guest.hand_over(0, &[second])), "nothing is left to hand over");
    // What was handed over is this attach's.
    let refused = host.stat("requests_refused");
    let words = [first.to_u64(), second.to_u64()].map(u64::to_le_bytes).concat();
    guest.send(kind::GIVE_BACK, 0, 0, &words);
    assert_eq!(guest.ask(kind::PING, 0, b"there").bytes, b"there");
    assert_eq!(host.stat("requests_refused"), refused);
    other.ok("publish 2");
    host.assert_clean();

    // Who names the lease table of another process gets one of its own.
    let thief = RawGuest::attach_again(segment.path(), other.serial());
    assert_eq!(thief.welcome.lease_serial.get(), thief.serial());
    // Somebody else's handover ends nobody's attach.
    assert_eq!(host.stat("guests"), 4);
}

// r[verify host.take_over.one-row]
#[test]
fn a_guest_that_was_interrupted_while_it_came_back_has_one_row() {
    let segment = Segment::new();
    let mut first = host(&segment, "host 8 8 1");
    let mut guest = RawGuest::attach(segment.path(), Role::Writer);
    let lease_serial = guest.serial();
    let slots = [guest.reserve(5000), guest.reserve(9000)];
    first.kill();
    for (life, slot) in (2..6).zip(slots.iter().cycle()) {
        let mut next = host(&segment, "host 8 8 1");
        assert_eq!(segment.files("rings").len(), 1, "life {life}");
        let mut again = RawGuest::attach_again(segment.path(), lease_serial);
        assert_eq!(again.welcome.lease_serial.get(), lease_serial);
        assert_eq!(again.hand_over(0, &[*slot]), None);
        next.kill();
    }
    let host = TestHost::start(&segment);
    assert_eq!(host.stat("guests"), 1);
    assert!(host.stat("slots_quarantined") >= 2);
    host.assert_clean();
    let mut last = RawGuest::attach_again(segment.path(), lease_serial);
    assert_eq!(last.hand_over(1, &slots), None);
    assert_eq!(last.ask(kind::PING, 0, b"there").bytes, b"there");
    assert_eq!((host.stat("guests"), host.stat("slots_quarantined")), (1, 0));
    assert_eq!(host.stat("slots_granted"), 2);
    host.assert_clean();
}

// r[verify host.take_over]
#[test]
fn every_block_that_was_acknowledged_is_there_after_each_kill_of_the_host() {
    const GUESTS: u64 = 3;
    const BLOCKS: u64 = 250;
    let segment = Segment::new();
    let mut serving = host(&segment, "host 48 48");
    let mut guests: Vec<Peer> =
        (0..GUESTS).map(|_| Peer::attached(PEER, segment.path(), "writer")).collect();
    let mut acknowledged: Vec<(u64, u64)> = Vec::new();
    for round in 1..=4_u64 {
        let firsts: Vec<u64> = (0..GUESTS).map(|guest| round * 10_000 + guest * 1000).collect();
        for (guest, first) in guests.iter_mut().zip(&firsts) {
            guest.order(&format!("store_while {first} {BLOCKS}"));
        }
        std::thread::sleep(Duration::from_millis(7 * round));
        serving.kill();
        for (guest, first) in guests.iter_mut().zip(firsts) {
            let stored = guest.answer();
            let stored = stored.strip_prefix("ok ").unwrap_or_else(|| panic!("{stored}"));
            acknowledged.push((first, stored.parse().unwrap()));
        }
        serving = host(&segment, "host 48 48");
        for guest in &mut guests {
            guest.ok("reattach");
            for (first, count) in &acknowledged {
                assert_eq!(guest.ok(&format!("verify {first} {count}")), count.to_string());
            }
        }
        serving.ok("host_audit");
    }
    assert!(acknowledged.iter().any(|(_, count)| *count > 0));
}

// r[verify host.take_over]
#[test]
fn who_outlived_the_host_and_does_not_come_back_is_waited_for() {
    let segment = Segment::new();
    let mut first = host(&segment, "host 8 8");
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store 1 5000");
    guest.ok("hold 1");
    let slots = guest.ok("reserve 9000 2");
    first.kill();
    let mut host = TestHost::with(&segment, |options| options.restart_grace = Duration::ZERO);
    let mut other = Peer::attached(PEER, segment.path(), "writer");
    assert_eq!((host.stat("guests"), host.stat("guests_earlier")), (2, 1));
    other.ok("delete 1");
    other.ok("store_many 1000 900");
    guest.ok("scribble 3");
    let reserved = other.ok("reserve 9000 20");
    let is_free = |slot: &str| reserved.split(' ').any(|other| other == slot);
    assert!(!slots.split(' ').any(is_free));
    assert_eq!(guest.ok("check"), "1");
    assert_eq!((host.stat("guests_earlier"), host.stat("slots_retired")), (1, 1));
    host.assert_clean();
    guest.kill();
    assert!(!host.wait_recovered(guest.serial()).0);
    assert_eq!((host.stat("guests_earlier"), host.stat("slots_quarantined")), (0, 0));
    host.assert_clean();
}

// r[verify host.guard]
#[test]
fn what_was_pinned_before_is_not_evicted_until_its_guest_is_back_or_gone() {
    let segment = Segment::new();
    let mut first = host(&segment, "host 8 8");
    let mut keeps = Peer::attached(PEER, segment.path(), "writer");
    let mut dies = Peer::attached(PEER, segment.path(), "writer");
    keeps.ok("store_many 1 300");
    keeps.ok("pin 1");
    first.kill();
    let host = TestHost::with(&segment, |options| {
        options.restart_grace = Duration::MAX;
    });
    // The first tick counts them.
    wait_for("the guard", || host.stat("guarded_blocks") == 300);
    let mut other = Peer::attached(PEER, segment.path(), "writer");
    other.ok("store_many 1000 900");
    assert_eq!(other.ok("verify 1 300"), "300", "none of them was evicted");
    assert!(other.error("delete 1").contains("Guarded"));
    keeps.ok("reattach");
    keeps.ok("ping");
    assert_eq!(host.stat("guests_earlier"), 1);
    assert!(host.stat("guarded_blocks") > 0);
    dies.kill();
    host.wait_stat("guests_earlier", 0);
    assert_eq!(host.stat("guarded_blocks"), 0);
    other.ok("store_many 3000 900");
    assert!(other.ok("verify 1 300").parse::<u64>().unwrap() < 300);
    host.assert_clean();
}

// r[verify host.guard]
#[test]
fn the_guard_is_lifted_when_the_grace_period_is_over() {
    let segment = Segment::new();
    let mut first = host(&segment, "host 8 8");
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store_many 1 10");
    first.kill();
    let short =
        TestHost::with(&segment, |options| options.restart_grace = Duration::from_millis(1));
    short.wait_stat("guarded_blocks", 0);
    assert_eq!((short.stat("blocks"), short.stat("guests_earlier")), (10, 1));
    let mut other = Peer::attached(PEER, segment.path(), "writer");
    wait_for("the end of the guard", || other.tell("delete 1").contains("true"));
    short.leave().unwrap();
    let none = TestHost::with(&segment, |options| options.restart_grace = Duration::ZERO);
    assert_eq!(none.stat("guests_earlier"), 2);
    assert_eq!(none.stat("guarded_blocks"), 0);
    none.assert_clean();
}
