//! Who is woken, and how often.

use crate::PEER;
use crate::embedded::Embedded;
use onecopy_shm::Sleeper;
use onecopy_tests::harness::{ECHO, Echo, Peer, RawGuest, Segment, TestHost, soon, wait_for};
use onecopy_transport::format::{RingsHeader, Role};
use onecopy_transport::host::HostEvent;
use std::collections::VecDeque;
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, Ordering};

// r[verify doorbell.once]
// r[verify host.wakes]
#[test]
fn a_guest_that_sleeps_is_woken_once_for_all_that_a_turn_sends_it() {
    let segment = Segment::new();
    let mut host = Embedded::start(&segment, |_| {}, Echo::default());
    let path = segment.path().to_owned();
    let mut sleeping = host.serve_while(|| RawGuest::attach(&path, Role::Writer));
    let mut awake = host.serve_while(|| RawGuest::attach(&path, Role::Writer));
    let word = sleeping.rings.word(offset_of!(RingsHeader, guest_asleep) as u64).unwrap();
    let mut sleeper = Sleeper::new(word);
    for (sleeps, expected) in [(1, 1), (2, 1), (3, 0)] {
        if sleeps < 3 {
            sleeper.prepare();
        }
        let before = host.stat("guests_woken");
        // More than one turn takes: what the second turn sends comes to a guest that was woken.
        for request in 1..=100 {
            sleeping.send(ECHO, 0, request, &[7; 8]);
            awake.send(ECHO, 0, request, &[8; 8]);
        }
        while host.host.turn() {}
        assert_eq!(host.stat("guests_woken") - before, expected, "sleep {sleeps}");
        assert_eq!(sleeping.socket.drain(), Ok(expected), "sleep {sleeps}");
        assert_eq!(awake.socket.drain(), Ok(0), "who is awake is not woken");
        for guest in [&mut sleeping, &mut awake] {
            (1..=100).for_each(|request| assert_eq!(guest.answer().header.request_id, request));
        }
        sleeper.awake();
    }
}

// r[verify host.polling]
#[test]
fn a_host_that_polls_never_sleeps_and_sees_deaths_and_newcomers_all_the_same() {
    let segment = Segment::new();
    let mut host = TestHost::with(&segment, |options| options.polling = true);
    let guest = host.guest(Role::Writer);
    let asleep = guest.control().host_asleep();
    for round in 0..200_u64 {
        // Long enough for any other host to fall asleep.
        std::thread::sleep(std::time::Duration::from_micros(round * 10));
        assert_eq!(asleep.load(Ordering::Relaxed) % 2, 0, "round {round}");
        guest.ping(soon()).unwrap();
    }
    assert_eq!(host.stat("sleeps"), 0);
    let mut peer = Peer::attached(PEER, segment.path(), "writer");
    let pid = peer.pid();
    peer.kill();
    host.wait_event("a recovery", |event| match event {
        HostEvent::Recovered { pid: of, .. } if *of == pid => Some(()),
        _ => None,
    });
    host.assert_clean();
}

// r[verify host.look]
#[test]
fn a_host_that_is_never_idle_lets_others_in_and_obeys() {
    let segment = Segment::new();
    let mut host = TestHost::serving(&segment, |_| {}, Echo::default());
    let flooding = host.guest(Role::Writer);
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut in_flight = VecDeque::new();
            while !enough.load(Ordering::Relaxed) {
                while in_flight.len() < 200 {
                    in_flight.push_back(flooding.submit_with(ECHO, 0, |_| {}, soon()).unwrap());
                }
                in_flight.pop_front().unwrap().wait(soon()).unwrap();
            }
        });
        let before = host.stat("requests");
        wait_for("a flood", || host.stat("requests") > before + 10_000);
        for _ in 0..3 {
            let guest = host.guest(Role::Reader);
            guest.ping(soon()).unwrap();
            let serial = guest.serial();
            drop(guest);
            assert_eq!(host.wait_recovered(serial), (true, 0));
        }
        enough.store(true, Ordering::Relaxed);
    });
    host.assert_clean();
    host.leave().unwrap();
}
