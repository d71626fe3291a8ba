use super::*;
use crate::guest::{Guest, GuestOptions};
use crate::host::tests::{Idle, host_at};
use std::path::Path;
use std::thread::JoinHandle;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Turns the host's loop until this has ended.
fn turn_until<T>(host: &mut Host<Idle>, thread: JoinHandle<T>) -> T {
    while !thread.is_finished() {
        host.turn();
        host.look(Duration::from_millis(1)).unwrap();
    }
    thread.join().unwrap()
}

fn attached(host: &mut Host<Idle>) -> Guest {
    let segment = host.segment().to_owned();
    let attach = |segment: &Path| Guest::attach(GuestOptions::at(segment)).unwrap();
    let thread = std::thread::spawn(move || attach(&segment));
    turn_until(host, thread)
}

fn who(host: &Host<Idle>, guest: &Guest) -> Who {
    host.peers.iter().find(|peer| peer.who.serial == guest.serial()).unwrap().who
}

/// No walk until [`release`].
fn hold(host: &mut Host<Idle>) {
    host.core.walks.rest_until = soon() + Duration::from_secs(3600);
}

fn release(host: &mut Host<Idle>) {
    host.core.walks.rest_until = Instant::now();
}

/// Puts aside what a guest asks for that does not wait for its answers.
fn ask(host: &mut Host<Idle>, who: &Who, walk: Walk) {
    let asked = host.core.wait_for_walk(who, 1, walk).unwrap();
    assert!(matches!(asked, Carried::Silent));
}

// r[verify link.walks]
#[test]
fn one_walk_answers_all_who_have_asked_before_it() {
    let base = tempfile::tempdir().unwrap();
    let mut host = host_at(&base, Duration::from_millis(10));
    let guests: Vec<Guest> = (0..3).map(|_| attached(&mut host)).collect();
    hold(&mut host);
    let askers: Vec<JoinHandle<_>> = guests
        .iter()
        .cloned()
        .map(|guest| std::thread::spawn(move || guest.host_audit(soon()).unwrap()))
        .collect();
    while host.core.walks.waiting.len() < 3 {
        host.turn();
        host.look(Duration::from_millis(1)).unwrap();
    }
    assert_eq!(host.core.service.audits.get(), 0);
    release(&mut host);
    assert!(host.turn());
    assert_eq!(host.core.service.audits.get(), 1);
    for asker in askers {
        assert!(turn_until(&mut host, asker).0, "clean");
    }
    assert_eq!((host.core.service.audits.get(), host.core.counters.walks), (1, 1));
    // Who asks after it gets one of his own: nothing is told that is older than the question.
    host.core.service.is_damaged = true;
    let guest = guests[0].clone();
    let asker = std::thread::spawn(move || guest.host_audit(soon()).unwrap());
    assert!(!turn_until(&mut host, asker).0, "damaged by now");
    assert_eq!(host.core.service.audits.get(), 2);
}

// r[verify link.walks]
#[test]
fn a_guest_that_asks_without_end_delays_others_by_one_walk_in_a_turn() {
    let base = tempfile::tempdir().unwrap();
    let mut host = host_at(&base, Duration::from_millis(10));
    let guests: Vec<Guest> = (0..3).map(|_| attached(&mut host)).collect();
    let names: Vec<Who> = guests.iter().map(|guest| who(&host, guest)).collect();
    hold(&mut host);
    for after in 0..100 {
        ask(&mut host, &names[1], Walk::Peers { after });
    }
    ask(&mut host, &names[0], Walk::Audit);
    let guest = guests[0].clone();
    let ping = std::thread::spawn(move || guest.ping(soon()).map(drop));
    while !host.has_requests() {}
    for walks in 1..=3 {
        release(&mut host);
        assert!(host.turn());
        assert_eq!(host.core.counters.walks, walks, "one in each turn");
        hold(&mut host);
        if walks == 2 {
            assert_eq!(host.core.service.audits.get(), 1, "it was its turn");
        }
    }
    assert_eq!(host.core.walks.count_of(names[0].serial), 0);
    assert_eq!(host.core.walks.count_of(names[1].serial), 98);
    assert_eq!(ping.join().unwrap(), Ok(()));
    // Who waits so is counted, and who is gone is forgotten.
    host.core.options.requests_max = 98;
    let refused = host.core.wait_for_walk(&names[1], 1, Walk::Audit).map(drop).unwrap_err();
    assert!(matches!(refused, RequestError::Over(_)), "{refused}");
    host.part_with(&names[1]);
    assert!(host.core.walks.waiting.is_empty());
}

// r[verify link.walks]
#[test]
fn after_a_walk_the_host_does_other_things_for_three_times_as_long() {
    const LONG: Duration = Duration::from_millis(20);
    let base = tempfile::tempdir().unwrap();
    let mut host = host_at(&base, Duration::from_millis(10));
    let guest = attached(&mut host);
    let who = who(&host, &guest);
    host.core.service.audit_takes = LONG;
    ask(&mut host, &who, Walk::Audit);
    let before = Instant::now();
    assert!(host.walk());
    assert!(host.core.walks.rest_until >= before + 4 * LONG);
    assert_eq!(host.walk_in(), None, "nobody waits");
    hold(&mut host);
    ask(&mut host, &who, Walk::Audit);
    assert!(!host.walk() && host.walk_in() > Some(Duration::from_secs(3600)));
    assert!(!host.has_requests(), "it may sleep meanwhile");
    release(&mut host);
    assert!(host.has_requests() && host.walk());
    assert_eq!(host.core.service.audits.get(), 2);
}

// r[verify link.walks]
#[test]
fn no_walk_is_made_for_a_guest_that_has_no_room_for_the_answer() {
    let base = tempfile::tempdir().unwrap();
    let mut host = host_at(&base, Duration::from_millis(10));
    let guests: Vec<Guest> = (0..2).map(|_| attached(&mut host)).collect();
    let [greedy, honest] = [0, 1].map(|index| who(&host, &guests[index]));
    let peer = host.peers.iter_mut().find(|peer| peer.who.serial == greedy.serial).unwrap();
    let replies = &mut peer.link.as_mut().unwrap().rings.replies;
    while let Ok(grant) = replies.try_grant(replies.frame_length_max()) {
        grant.commit(0, kind::PING, 0, 77).unwrap();
    }
    while let Ok(grant) = replies.try_grant(8) {
        grant.commit(8, kind::PING, 0, 77).unwrap();
    }
    ask(&mut host, &greedy, Walk::Audit);
    assert!(!host.walk() && !host.has_requests());
    ask(&mut host, &honest, Walk::Peers { after: 0 });
    assert!(host.walk());
    assert_eq!((host.core.service.audits.get(), host.core.walks.waiting.len()), (0, 1));
    drop(guests);
}
