use crate::guest::{Guest, GuestOptions};
use crate::host::tests::{Idle, Told, host_at, idle, options_at};
use crate::host::{Host, HostOptions, StartError};
use onecopy_shm::SlotRef;
use std::time::{Duration, Instant};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);
/// A kind of request that goes to the service.
const SERVICE_KIND: u8 = 40;

/// A guest of this host, which turns until it is there.
fn guest_of(host: &mut Host<Idle>) -> Guest {
    let segment = host.segment().to_owned();
    let attach = std::thread::spawn(move || Guest::attach(GuestOptions::at(segment)).unwrap());
    while !attach.is_finished() {
        host.look(Duration::ZERO).unwrap();
    }
    attach.join().unwrap()
}

fn told(host: &mut Host<Idle>) -> Vec<Told> {
    std::mem::take(&mut host.core.service.told)
}

fn figure(host: &Host<Idle>, name: &str) -> u64 {
    host.stats().iter().find(|(found, _)| *found == name).unwrap().1
}

fn used(slot: u32) -> Told {
    Told::Used(slot_ref(slot))
}

fn slot_ref(slot: u32) -> SlotRef {
    SlotRef { slot, generation: 1 }
}

// r[verify touch.before_request]
// r[verify touch.taken]
#[test]
fn uses_are_taken_before_any_request_that_came_after_them() {
    let base = tempfile::tempdir().unwrap();
    let mut host = host_at(&base, LONG);
    let (first, second) = (guest_of(&mut host), guest_of(&mut host));
    let deadline = Instant::now() + LONG;
    first.note_use(slot_ref(1));
    host.turn();
    assert_eq!(told(&mut host), [], "a turn without a request is for nothing");

    let asked = first.submit_with(SERVICE_KIND, 0, |_| {}, deadline).unwrap();
    second.note_use(slot_ref(3));
    first.note_use(slot_ref(2));
    assert!(host.turn());
    // One guest's in their order; before the request, whosever it is.
    assert_eq!(told(&mut host), [used(1), used(2), used(3), Told::Asked(first.serial())]);
    assert!(asked.wait(deadline).is_err());
    // Without any request, at the next look.
    second.note_use(slot_ref(4));
    host.look(Duration::ZERO).unwrap();
    assert_eq!(told(&mut host), [used(4)]);
    assert_eq!((figure(&host, "touches"), figure(&host, "touches_lost")), (4, 0));
}

// r[verify touch.before_request]
#[test]
fn uses_are_taken_before_a_goodbye_is_carried_out() {
    let base = tempfile::tempdir().unwrap();
    let mut host = host_at(&base, LONG);
    let guest = guest_of(&mut host);
    let serial = guest.serial();
    guest.note_use(slot_ref(7));
    let leaving = std::thread::spawn(move || guest.detach(Instant::now() + LONG));
    while !leaving.is_finished() {
        host.turn();
    }
    leaving.join().unwrap().unwrap();
    host.turn();
    assert_eq!(told(&mut host), [used(7), Told::Gone(serial)]);
}

// r[verify touch.lossy]
#[test]
fn what_was_overwritten_is_counted_as_lost() {
    let base = tempfile::tempdir().unwrap();
    let options = HostOptions { touch_entries: 8, ..options_at(&base) };
    let mut host = Host::start(options, idle()).unwrap();
    let guest = guest_of(&mut host);
    for slot in 1..=20 {
        guest.note_use(slot_ref(slot));
    }
    host.look(Duration::ZERO).unwrap();
    assert_eq!(told(&mut host), (13..=20).map(used).collect::<Vec<_>>());
    assert_eq!((figure(&host, "touches"), figure(&host, "touches_lost")), (8, 12));
}

// r[verify touch.layout]
#[test]
fn a_touch_log_of_no_size_is_refused() {
    let base = tempfile::tempdir().unwrap();
    for touch_entries in [0, 7, 12, 1 << 17] {
        let options = HostOptions { touch_entries, ..options_at(&base) };
        let refused = Host::start(options, idle()).map(drop).unwrap_err();
        let StartError::TouchEntries { entries } = refused else { panic!("{refused}") };
        assert_eq!(entries, touch_entries);
    }
}
