//! Guests that die, and guests that only look as if they had.

use crate::embedded::Embedded;
use crate::{PEER, busy_writer};
use onecopy::service::{CacheService, CacheServiceOptions};
use onecopy_tests::harness::{Peer, Random, Segment, TestHost, wait_for};
use onecopy_transport::format::RINGS_REQUEST_OFFSET;
use onecopy_transport::host::HostEvent;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

// r[verify peer.recover]
#[test]
fn a_killed_guest_gives_back_what_it_held_and_keeps_what_it_published() {
    let segment = Segment::new();
    let mut host = TestHost::start(&segment);
    let mut victim = Peer::attached(PEER, segment.path(), "writer");
    let mut other = Peer::attached(PEER, segment.path(), "writer");
    for number in 1..=3 {
        victim.ok(&format!("store {number} 5000"));
    }
    victim.ok("hold 1");
    victim.ok("pin 2");
    victim.ok("reserve 9000 3");
    assert!(other.error("delete 2").contains("Busy"));
    other.ok("delete 1");
    other.ok("ping");
    assert_eq!(host.stat("slots_retired"), 1, "the victim's lease holds it");

    assert_eq!(victim.kill().signal(), Some(9));
    let (goodbye, slots) = host.wait_recovered(victim.serial());
    assert!(!goodbye);
    assert!(slots >= 3, "{slots} slots came back");
    assert_eq!(host.stat("slots_retired"), 0);
    assert!(other.ok("get 2").starts_with("5000 "));
    assert!(other.ok("get 3").starts_with("5000 "));
    assert_eq!(other.ok("delete 2"), "true", "its pin is gone");
    assert_eq!(segment.files("rings"), [other.serial()]);
    assert_eq!(segment.files("leases"), [other.serial()]);
    assert_eq!(host.stat("guests"), 1);
    host.assert_clean();
    other.ok("detach");
    host.wait_stat("slots_granted", 0);
    host.assert_clean();
}

// r[verify peer.recover]
#[test]
fn a_request_that_was_committed_before_the_death_is_carried_out() {
    let segment = Segment::new();
    let service = CacheService::new(CacheServiceOptions::default());
    let mut host = Embedded::start(&segment, |_| {}, service);
    let mut victim = Peer::start(PEER, segment.path());
    let serial: u32 = host.ok(&mut victim, "attach writer").parse().unwrap();
    host.ok(&mut victim, "reserve 4000 2");
    // Nobody serves from here on.
    let requests = || {
        let rings = std::fs::read(segment.path().join(format!("rings/{serial}"))).unwrap();
        rings[RINGS_REQUEST_OFFSET as usize..][..64 << 10].to_vec()
    };
    let before = requests();
    victim.order("publish 7");
    wait_for("the request in the ring", || requests() != before);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(victim.answer_within(Duration::ZERO), None);
    victim.kill();

    host.serve_until("recovery", || segment.files("rings").is_empty());
    assert_eq!((host.stat("blocks"), host.stat("recovered")), (1, 1));
    host.assert_clean();
    let mut other = Peer::start(PEER, segment.path());
    host.ok(&mut other, "attach reader");
    assert!(host.ok(&mut other, "get 7").starts_with("4096 "));
}

// r[verify peer.recover]
#[test]
fn thirty_guests_die_at_random_moments_and_the_others_notice_nothing() {
    const ROUNDS: u64 = 30;
    let segment = Segment::new();
    // Room for three magazines of every class: nobody is to be refused.
    let mut host = TestHost::with(&segment, |options| {
        options.pool_bytes = 48 << 20;
        options.pool_bytes_max = 48 << 20;
    });
    let mut others: Vec<Peer> =
        (0..2).map(|_| Peer::attached(PEER, segment.path(), "writer")).collect();
    for (seed, other) in (1..).zip(&mut others) {
        other.ok(&format!("load {seed} 200"));
    }
    let mut random = Random::new(7);
    for round in 0..ROUNDS {
        let mut victim = Peer::attached(PEER, segment.path(), "writer");
        victim.ok("reserve 3000 3");
        victim.ok(&format!("load {} 200", 100 + round));
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        victim.kill();
        let (goodbye, slots) = host.wait_recovered(victim.serial());
        assert!(!goodbye && slots >= 3, "round {round}: {slots} slots");
        host.assert_clean();
    }
    for other in &mut others {
        let figures = other.ok("load_stop");
        let figures: Vec<u64> = figures.split(' ').map(|word| word.parse().unwrap()).collect();
        let [operations, verified, mismatches, published] = figures[..] else { panic!() };
        assert!(operations > 0 && verified > 0 && published > 0, "{figures:?}");
        assert_eq!(mismatches, 0);
        other.ok("detach");
    }
    wait_for("all files gone", || segment.files("rings").is_empty());
    assert_eq!(host.stat("recovered"), ROUNDS);
    assert_eq!((host.stat("slots_granted"), host.stat("slots_retired")), (0, 0));
    assert_eq!(host.stat("pinned_blocks"), 0);
    assert!(segment.files("leases").is_empty());
    host.assert_clean();
}

// r[verify peer.closed_socket]
// r[verify crash.t9]
#[test]
fn a_closed_socket_is_not_a_death() {
    let segment = Segment::new();
    let mut host = TestHost::start(&segment);
    let mut guest = Peer::attached(PEER, segment.path(), "writer socket");
    let mut other = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("store 1 5000");
    guest.ok("hold 1");
    guest.ok("reserve 9000 3");
    guest.ok("close_socket");
    host.wait_event("suspected", |event| match *event {
        HostEvent::Suspected { serial } if serial == guest.serial() => Some(()),
        _ => None,
    });
    // It goes on reading and writing.
    other.ok("delete 1");
    for round in 0..20 {
        guest.ok(&format!("scribble {round}"));
        guest.ok("check");
        other.ok(&format!("store {} 9000", 10 + round));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!((host.stat("recovered"), host.stat("slots_retired")), (0, 1));
    assert!(segment.files("rings").contains(&guest.serial()));
    host.assert_clean();
    guest.kill();
    let (goodbye, slots) = host.wait_recovered(guest.serial());
    assert!(!goodbye && slots >= 3);
    assert_eq!(host.stat("slots_retired"), 0);
    host.assert_clean();
}

// r[verify peer.closed_socket]
// r[verify crash.t8]
#[test]
fn a_process_whose_main_thread_has_ended_is_alive() {
    let segment = Segment::new();
    let mut host = TestHost::start(&segment);
    let mut guest = busy_writer(&segment, 2);
    guest.ok("main_thread_ends");
    let status = format!("/proc/{}/status", guest.pid());
    wait_for("the end of the main thread", || {
        std::fs::read_to_string(&status).unwrap().contains("State:\tZ")
    });
    for _ in 0..10 {
        guest.ok("ping");
        guest.ok("scribble 3");
        assert_eq!(guest.ok("check"), "1");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(host.stat("recovered"), 0);
    host.assert_clean();
    guest.kill();
    assert!(host.wait_recovered(guest.serial()).1 >= 2);
    host.assert_clean();
}
