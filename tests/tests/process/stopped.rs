//! Guests that are stopped (SIGSTOP) at some instruction, given up, and go on.

use crate::PEER;
use crate::embedded::Embedded;
use onecopy::service::{CacheService, CacheServiceOptions};
use onecopy_tests::harness::{Peer, Random, Segment, TestHost, soon, wait_for};
use onecopy_transport::format::RINGS_REQUEST_OFFSET;
use onecopy_transport::host::{HostEvent, Settlement};
use std::time::Duration;

fn wait_killed(host: &mut TestHost, wanted: u32) {
    host.wait_event("killed", |event| match *event {
        HostEvent::Killed { serial, .. } if serial == wanted => Some(()),
        _ => None,
    });
}

/// Publishes more than the pool holds, of all sizes, and reads what is left of it, every byte checked.
fn use_all_room(other: &mut Peer, first: u64) {
    other.ok(&format!("store_many {first} 700"));
    let mut hits = 0;
    for number in first..first + 700 {
        hits += u64::from(other.ok(&format!("get {number}")) != "miss");
    }
    assert!(hits > 0);
}

// r[verify peer.cut_off]
// r[verify peer.recover]
#[test]
fn a_guest_that_is_stopped_anywhere_and_cut_off_changes_nothing_that_others_read() {
    const ROUNDS: u64 = 10;
    let segment = Segment::new();
    let host = TestHost::with(&segment, |options| options.guests_max = 4);
    let mut other = Peer::attached(PEER, segment.path(), "writer");
    let mut random = Random::new(11);
    for round in 0..ROUNDS {
        // It fills, publishes, looks up, reads and reserves without pause.
        let mut guest = Peer::attached(PEER, segment.path(), "writer");
        guest.ok("reserve 30000 2");
        guest.ok(&format!("load {round} 100"));
        std::thread::sleep(Duration::from_micros(5000 + random.below(20_000)));
        guest.stop();
        assert!(host.handle().cut_off(guest.serial(), "stopped", soon()).unwrap());
        let waiting = host.stat("slots_quarantined");
        assert!(waiting >= 2, "round {round}");
        use_all_room(&mut other, 2000 * (round + 1));
        assert_eq!(host.stat("slots_quarantined"), waiting);
        host.assert_clean();

        guest.go_on();
        // It writes into all that it had reserved, and learns at its next call what happened.
        guest.ok("scribble 85");
        let said = guest.error("ping");
        assert!(said.contains("CutOff"), "round {round}: {said}");
        // Its load learns the same, unless it is told to end before it has made another call.
        let said = guest.tell("load_stop");
        let is_right = said.starts_with("ok") && said.split(' ').nth(3) == Some("0");
        assert!(is_right || said.contains("CutOff"), "round {round}: {said}");
        assert!(guest.error("publish 1").contains("CutOff"));
        use_all_room(&mut other, 2000 * (round + 1) + 1000);
        host.assert_clean();
        let settled = host.handle().settle(guest.serial(), Settlement::Kill, soon()).unwrap();
        assert!(settled.proven && settled.slots.slots == waiting, "round {round}: {settled:?}");
        assert_eq!(host.stat("slots_quarantined"), 0);
    }
    other.ok("detach");
    host.wait_stat("slots_granted", 0);
    host.assert_clean();
}

// r[verify peer.suspect]
#[test]
fn a_suspect_that_goes_on_in_time_has_lost_nothing() {
    let segment = Segment::new();
    let mut host = TestHost::with(&segment, |options| options.suspect_after_intervals = 25);
    let mut other = Peer::attached(PEER, segment.path(), "writer");
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    // Not one of the keys of the load, which expects lengths of its own.
    guest.ok("store 501 5000");
    guest.ok("hold 501");
    guest.ok("reserve 30000 2");
    guest.ok("load 5 100");
    guest.stop();
    host.wait_event("suspected", |event| match *event {
        HostEvent::Suspected { serial } if serial == guest.serial() => Some(()),
        _ => None,
    });
    other.ok("delete 501");
    use_all_room(&mut other, 1000);
    guest.go_on();
    host.wait_event("cleared", |event| match *event {
        HostEvent::Cleared { serial } if serial == guest.serial() => Some(()),
        _ => None,
    });
    let figures = guest.ok("load_stop");
    assert_eq!(figures.split(' ').nth(2), Some("0"), "mismatches in {figures}");
    assert_eq!(guest.ok("check"), "1");
    guest.ok("publish 502");
    assert_ne!(other.ok("get 502"), "miss");
    host.assert_clean();
}

// r[verify peer.cut_off]
#[test]
fn a_request_that_a_stopped_guest_had_sent_is_done_or_not_and_it_learns_which() {
    let segment = Segment::new();
    let service = CacheService::new(CacheServiceOptions::default());
    let mut host = Embedded::start(&segment, |_| {}, service);
    let mut guest = Peer::start(PEER, segment.path());
    let serial: u32 = host.ok(&mut guest, "attach writer").parse().unwrap();
    host.ok(&mut guest, "reserve 4000 2");
    // Nobody serves from here on.
    let requests = || {
        let rings = std::fs::read(segment.path().join(format!("rings/{serial}"))).unwrap();
        rings[RINGS_REQUEST_OFFSET as usize..][..64 << 10].to_vec()
    };
    let before = requests();
    guest.order("publish 7");
    wait_for("the request in the ring", || requests() != before);
    guest.stop();
    let handle = host.host.handle();
    assert!(host.serve_while(move || handle.cut_off(serial, "stopped", soon()).unwrap()));
    guest.go_on();
    let mut answer = None;
    host.serve_until("its answer", || {
        answer = guest.answer_within(Duration::ZERO);
        answer.is_some()
    });
    let answer = answer.unwrap();
    let mut other = Peer::start(PEER, segment.path());
    host.ok(&mut other, "attach reader");
    let found = host.ok(&mut other, "get 7");
    match answer.starts_with("ok") {
        true => assert!(found.starts_with("4096 "), "{answer}: {found}"),
        false => assert!(answer.contains("CutOff"), "{answer}"),
    }
    assert!(host.tell(&mut guest, "ping").contains("CutOff"));
    host.assert_clean();
}

// r[verify peer.kill-suspects]
#[test]
fn a_suspect_is_killed_by_policy_and_recovered() {
    let segment = Segment::new();
    let mut host = TestHost::with(&segment, |options| {
        options.suspect_after_intervals = 25;
        options.kill_suspects_after = Some(Duration::from_millis(200));
    });
    let mut guest = Peer::attached(PEER, segment.path(), "writer");
    let mut other = Peer::attached(PEER, segment.path(), "writer");
    guest.ok("reserve 9000 2");
    guest.stop();
    wait_killed(&mut host, guest.serial());
    let (goodbye, slots) = host.wait_recovered(guest.serial());
    assert!(!goodbye && slots >= 2);
    assert_eq!((host.stat("suspects_killed"), host.stat("peers_killed")), (1, 1));
    assert!(!guest.wait().success());
    // One that was cut off is suspect, too; but a process that has come back is not killed for what it
    // was before.
    host.handle().cut_off(other.serial(), "by hand", soon()).unwrap();
    wait_killed(&mut host, other.serial());
    host.wait_recovered(other.serial());
    assert!(!other.wait().success());
    assert_eq!(host.stat("slots_granted") + host.stat("slots_quarantined"), 0);
    host.assert_clean();
}

// r[verify peer.kill-suspects]
#[test]
fn the_hosts_own_process_and_one_with_another_attach_are_not_killed() {
    let segment = Segment::new();
    let host = TestHost::with(&segment, |options| {
        options.kill_suspects_after = Some(Duration::from_millis(40));
    });
    let own = host.guest(onecopy_transport::format::Role::Reader);
    let mut twice = Peer::attached(PEER, segment.path(), "writer");
    let first = twice.serial();
    let second = twice.attach("attach_beside writer");
    host.handle().cut_off(own.serial(), "by hand", soon()).unwrap();
    host.handle().cut_off(first, "by hand", soon()).unwrap();
    host.wait_ticks(20);
    twice.ok("ping");
    assert_eq!(host.stat("suspects_killed"), 0);
    // Without the other attach it is.
    host.handle().cut_off(second, "by hand", soon()).unwrap();
    wait_for("the kill", || host.stat("suspects_killed") >= 1);
    assert!(!twice.wait().success());
}

// r[verify peer.kill-suspects]
#[test]
fn a_guest_that_has_nothing_to_ask_is_not_killed_because_its_host_was_replaced() {
    let segment = Segment::new();
    let mut first = Peer::start(PEER, segment.path());
    first.ok("host 8 8");
    let mut guests: Vec<Peer> =
        (0..2).map(|_| Peer::attached(PEER, segment.path(), "writer")).collect();
    guests[0].ok("store 1 5000");
    guests[0].ok("hold 1");
    first.kill();
    let host = TestHost::with(&segment, |options| {
        options.kill_suspects_after = Some(Duration::from_millis(40));
    });
    host.wait_ticks(20);
    assert_eq!((host.stat("guests_earlier"), host.stat("suspects_killed")), (2, 0));
    guests[0].ok("reattach");
    assert_eq!(guests[0].ok("check"), "1");
    // Whoever is cut off is suspect for a reason of its own.
    host.handle().cut_off(guests[1].serial(), "by hand", soon()).unwrap();
    wait_for("the kill", || host.stat("suspects_killed") == 1);
    assert!(!guests[1].wait().success());
    guests[0].ok("ping");
    host.wait_stat("guests", 1);
    host.assert_clean();
}

// r[verify peer.kill-suspects]
#[test]
fn a_host_that_stood_still_kills_nobody() {
    let segment = Segment::new();
    let service = CacheService::new(CacheServiceOptions::default());
    let mut host = Embedded::start(
        &segment,
        |options| {
            options.suspect_after_intervals = 5;
            options.kill_suspects_after = Some(Duration::from_secs(1));
        },
        service,
    );
    let mut guest = Peer::start(PEER, segment.path());
    host.ok(&mut guest, "attach writer");
    guest.stop();
    let mut suspected = false;
    let events = std::mem::replace(&mut host.events, std::sync::mpsc::channel().1);
    host.serve_until("suspicion", || {
        suspected |= events.try_iter().any(|event| matches!(event, HostEvent::Suspected { .. }));
        suspected
    });
    // The whole machine sleeps for longer than a suspect has.
    std::thread::sleep(Duration::from_millis(1500));
    for _ in 0..3 {
        host.once();
    }
    assert_eq!(host.stat("suspects_killed"), 0);
    host.serve_until("the guest's end", || {
        events.try_iter().any(|event| matches!(event, HostEvent::Killed { .. }))
    });
    assert!(!guest.wait().success());
}
