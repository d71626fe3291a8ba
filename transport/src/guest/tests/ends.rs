//! How an attach ends: the host dies or leaves, this guest says goodbye, the process forks.

use super::scripted::{
    Areas, SEGMENT_ID, SERIAL, Script, ScriptedHost, UNIT, attached, attached_with, in_ms, options,
    soon,
};
use crate::format::HostState;
use crate::guest::{
    AttachError, CallError, DetachError, Guest, GuestOptions, LeaseError, LinkEnd, ReserveError,
};
use crate::wire::{SlotPayload, flag, kind};
use std::thread;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

const ECHO: u8 = 40;

/// Threads that wait for answers when `strike` hits; returns what each was told.
fn told(options: GuestOptions, strike: impl FnOnce(ScriptedHost)) -> Vec<CallError> {
    let (guest, mut host) = attached_with(options);
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let guest = guest.clone();
            thread::spawn(move || guest.call(ECHO, b"?", soon()).unwrap_err())
        })
        .collect();
    (0..3).for_each(|_| {
        host.next();
    });
    if !guest_polls(&guest) {
        host.wait_for_sleep();
    }
    let started = Instant::now();
    strike(host);
    let told = waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect();
    assert!(started.elapsed() < Duration::from_secs(5), "at once, not at the deadline");
    assert!(guest.is_host_gone());
    told
}

fn guest_polls(guest: &Guest) -> bool {
    guest.inner.options.polling
}

// r[verify guest.host-gone]
#[test]
fn everybody_is_told_at_once_that_the_host_died() {
    for (polling, watcher) in [(false, true), (false, false), (true, true), (true, false)] {
        let told = told(GuestOptions { polling, watcher, ..options() }, drop);
        assert_eq!(told, vec![CallError::Link(LinkEnd::HostGone); 3]);
    }
}

/// Its socket stays open, as if it lived: another host has taken the segment over.
// r[verify guest.polling.host-gone]
#[test]
fn a_guest_that_polls_without_a_watcher_sees_that_another_host_serves() {
    let (guest, mut host) =
        attached_with(GuestOptions { polling: true, watcher: false, ..options() });
    let asker = thread::spawn(move || guest.call(ECHO, b"?", soon()).unwrap_err());
    host.next();
    host.areas.control.set_boot_epoch(2);
    assert_eq!(asker.join().unwrap(), CallError::Link(LinkEnd::HostGone));
}

#[test]
fn answers_committed_before_the_host_died_are_answers() {
    let (guest, mut host) = attached();
    let pending = guest.submit_with(ECHO, 0, |_| {}, soon()).unwrap();
    let late = guest.submit_with(ECHO, 0, |_| {}, soon()).unwrap();
    host.echo();
    drop(host);
    pending.wait(soon()).unwrap();
    assert_eq!(late.wait(soon()).unwrap_err(), CallError::Link(LinkEnd::HostGone));
    assert_eq!(guest.reserve(1, soon()).unwrap_err(), ReserveError::Link(LinkEnd::HostGone));
}

// r[verify guest.host-left]
#[test]
fn a_host_that_leaves_in_order_is_told_apart_from_one_that_died() {
    let with_frame = told(options(), |mut host| host.send(kind::LEAVING, 0, 0, b""));
    assert_eq!(with_frame, vec![CallError::Link(LinkEnd::HostLeft); 3]);
    let with_header = told(options(), |host| {
        host.areas.control.set_host_state(HostState::Left);
    });
    assert_eq!(with_header, vec![CallError::Link(LinkEnd::HostLeft); 3]);
}

#[test]
fn stock_of_a_host_that_is_gone_is_not_handed_out() {
    let (guest, mut host) = attached();
    let slot = host.areas.grant(1, UNIT, 64);
    host.send_grants(kind::GRANTS, 0, 0, &[slot]);
    drop(guest.try_reserve(64).unwrap());
    drop(host);
    let deadline = soon();
    while !guest.inner.link.is_closed() {
        assert!(Instant::now() < deadline, "the watcher does not see the host die");
        thread::sleep(Duration::from_millis(2));
    }
    let gone = ReserveError::Link(LinkEnd::HostGone);
    assert_eq!(guest.reserve(64, soon()).unwrap_err(), gone);
    assert_eq!(guest.try_reserve(64).unwrap_err(), gone);
}

#[test]
fn what_is_leased_stays_readable_after_the_host_died() {
    let (guest, host) = attached();
    let areas = std::sync::Arc::clone(&host.areas);
    let slot = areas.grant(1, UNIT, 64);
    areas.fill(UNIT, 64, 5);
    areas.publish(slot, 64);
    let guard = guest.lease(slot).unwrap().unwrap();
    drop(host);
    assert!(guest.call(ECHO, b"", soon()).is_err());
    assert_eq!(&*guard, &[5; 64]);
    assert!(guest.lease(slot).unwrap().is_some());
    drop(guest);
    assert_eq!(&*guard, &[5; 64]);
}

// r[verify guest.detach]
#[test]
fn a_request_that_nobody_waits_for_keeps_nobody_from_detaching() {
    let (guest, mut host) = attached();
    drop(guest.submit_with(ECHO, 0, |_| {}, soon()).unwrap());
    let asker = thread::spawn(move || guest.detach(soon()));
    assert_eq!(host.next().0.kind, ECHO);
    let (header, bytes) = host.next();
    assert_eq!(header.kind, kind::GOODBYE);
    host.send(kind::GOODBYE, 0, header.request_id, &bytes);
    assert_eq!(asker.join().unwrap(), Ok(()));
}

// r[verify guest.detach]
#[test]
fn a_goodbye_that_the_host_died_over_was_not_said() {
    let (guest, mut host) = attached();
    let asker = thread::spawn(move || guest.detach(soon()).map_err(|error| (error, guest.end())));
    assert_eq!(host.next().0.kind, kind::GOODBYE);
    drop(host);
    let gone = LinkEnd::HostGone;
    assert_eq!(asker.join().unwrap(), Err((DetachError::Link(gone), Some(gone))));
}

// r[verify guest.detach]
#[test]
fn detach_is_refused_while_anything_is_in_use_and_nothing_is_lost() {
    let (guest, mut host) = attached();
    let slots = [1, 2, 3].map(|number| host.areas.grant(number, UNIT + u64::from(number) * 64, 64));
    host.areas.publish(slots[0], 64);
    host.send_grants(kind::GRANTS, 0, 0, &slots[1..2]);
    let guard = guest.lease(slots[0]).unwrap().unwrap();
    let reservation = guest.try_reserve(64).unwrap();
    let pending = guest.submit_with(ECHO, 0, |_| {}, soon()).unwrap();
    let refused = |leases, slots, requests| {
        assert_eq!(guest.detach(soon()), Err(DetachError::InUse { leases, slots, requests }));
    };
    refused(1, 1, 1);
    drop(guard);
    refused(0, 1, 1);
    let (header, _) = host.next();
    let payload = SlotPayload { slot: slots[2].to_u64().into(), length_bytes: 1.into() };
    host.send(ECHO, flag::SLOT, header.request_id, payload.as_bytes());
    let reply = pending.wait(soon()).unwrap();
    refused(0, 2, 0);
    drop(reply);
    assert!(guest.lease(slots[0]).unwrap().is_some(), "attached as before");
    assert_eq!(reservation.slot(), slots[1]);
    drop(reservation);
    let other = guest.clone();
    let asker = thread::spawn(move || guest.detach(soon()));
    let (header, bytes) = host.next();
    assert_eq!((header.kind, bytes), (kind::GOODBYE, u64::from(SERIAL).to_le_bytes().to_vec()));
    host.send(kind::GOODBYE, 0, header.request_id, &[]);
    assert_eq!(asker.join().unwrap(), Ok(()));
    // What is left of the handle says so and touches nothing.
    assert_eq!(other.lease(slots[0]).unwrap_err(), LeaseError::Detached);
    assert_eq!(other.call(ECHO, b"", soon()).unwrap_err(), CallError::Link(LinkEnd::Detached));
    assert_eq!(other.reserve(1, soon()).unwrap_err(), ReserveError::Link(LinkEnd::Detached));
    assert_eq!(other.detach(soon()), Err(DetachError::Link(LinkEnd::Detached)));
    drop(other);
    assert!(host.is_idle(), "one goodbye");
}

#[test]
fn a_detach_that_is_not_confirmed_in_time_says_that_the_goodbye_was_sent() {
    let (guest, mut host) = attached();
    assert_eq!(guest.detach(in_ms(20)), Err(DetachError::DeadlineExceeded { sent: true }));
    assert_eq!(host.next().0.kind, kind::GOODBYE);
    assert_eq!(guest.end(), Some(LinkEnd::Detached));
}

// r[verify guest.goodbye]
#[test]
fn the_last_drop_says_goodbye_and_no_earlier_one() {
    let (guest, mut host) = attached();
    let slot = host.areas.grant(1, UNIT, 64);
    host.areas.publish(slot, 64);
    let guard = guest.lease(slot).unwrap().unwrap();
    let clone = guest.clone();
    drop(guest);
    let pending = clone.submit_with(ECHO, 0, |_| {}, soon()).unwrap();
    drop(clone);
    assert_eq!(host.next().0.kind, ECHO);
    drop(pending);
    assert!(host.is_idle() && !host.socket.is_closed().unwrap());
    assert_eq!(guard.len(), 64);
    drop(guard);
    let (header, bytes) = host.next();
    assert_eq!((header.kind, bytes), (kind::GOODBYE, u64::from(SERIAL).to_le_bytes().to_vec()));
    assert_eq!(host.leased(), []);
    let beats = host.heartbeat();
    assert!(host.socket.is_closed().unwrap());
    thread::sleep(Duration::from_millis(60));
    assert_eq!(host.heartbeat(), beats, "nothing shared is touched after the goodbye");
    assert!(host.is_idle());
}

#[test]
fn dropping_a_guest_whose_ring_is_full_does_not_hang() {
    let (guest, host) = attached();
    while guest.try_submit_with(ECHO, 200, |_| {}).is_ok() {}
    let started = Instant::now();
    drop(guest);
    assert!(started.elapsed() < Duration::from_secs(5));
    drop(host);
}

// r[verify guest.watcher]
#[test]
fn the_watcher_beats_while_the_guest_is_idle() {
    let (guest, host) = attached();
    let first = host.heartbeat();
    let deadline = soon();
    while host.heartbeat() < first + 3 {
        assert!(Instant::now() < deadline, "no heartbeat");
        thread::sleep(Duration::from_millis(2));
    }
    assert!(!guest.is_host_gone());
    drop(host);
    while !guest.inner.link.is_closed() {
        assert!(Instant::now() < deadline, "the watcher does not see the host die");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn without_a_watcher_calls_beat() {
    let (guest, mut host) = attached_with(GuestOptions { watcher: false, ..options() });
    thread::sleep(Duration::from_millis(50));
    assert_eq!(host.heartbeat(), 0);
    let pending = guest.submit_with(ECHO, 0, |_| {}, soon()).unwrap();
    assert_eq!(host.heartbeat(), 1);
    let waiter = thread::spawn(move || pending.wait(soon()));
    let deadline = soon();
    while host.heartbeat() < 4 {
        assert!(Instant::now() < deadline, "a guest that waits does not beat");
        thread::sleep(Duration::from_millis(2));
    }
    host.echo();
    waiter.join().unwrap().unwrap();
}

// r[verify guest.watcher.ends]
#[test]
fn the_watcher_ends_with_the_guest() {
    let (guest, host) = attached();
    // Thread and guest share it, and nobody else.
    let growth = std::sync::Arc::downgrade(&guest.inner.growth);
    assert_eq!(growth.strong_count(), 2);
    drop(guest);
    assert_eq!(growth.strong_count(), 0);
    drop(host);
}

// r[verify guest.reattach]
// r[verify guest.reattach.mappings]
// r[verify guest.reattach.leases]
#[test]
fn a_second_attach_keeps_mappings_leases_and_reservations() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("segment");
    std::fs::create_dir(&path).unwrap();
    let areas = std::sync::Arc::new(Areas::new());
    let host = attach_by_path(&path, &areas, Script::default());
    let guest = Guest::attach(GuestOptions { segment: path.clone(), ..options() }).unwrap();
    let mut host = host.join().unwrap();
    let slots = [1, 2].map(|number| areas.grant(number, UNIT * u64::from(number), 64));
    areas.publish(slots[0], 64);
    let guard = guest.lease(slots[0]).unwrap().unwrap();
    host.send_grants(kind::GRANTS, 0, 0, &slots[1..]);
    let mut reservation = guest.try_reserve(64).unwrap();
    let first_scan = host.scan.clone();
    drop(host);
    assert!(guest.call(ECHO, b"", soon()).is_err());

    let script = Script { serial: 4, lease_serial: Some(SERIAL), ..Script::default() };
    let second_host = attach_by_path(&path, &areas, script);
    let second_host = thread::spawn(move || {
        let mut host = second_host.join().unwrap();
        assert_eq!(host.hand_over(), [slots[1]], "what is reserved, and no more");
        host
    });
    let second = guest.reattach(soon()).unwrap();
    let mut second_host = second_host.join().unwrap();
    assert_eq!(second_host.hello.lease_serial.get(), SERIAL, "the table it goes on with");
    assert_eq!((guest.serial(), second.serial()), (SERIAL, 4));
    assert_eq!(guest.reattach(soon()).unwrap().serial(), 4, "another clone finds it done");
    assert_eq!(guest.pool().base_address, second.pool().base_address);
    assert_eq!(guest.pool_read_only().base_address, second.pool_read_only().base_address);

    let new_guard = second.lease(slots[0]).unwrap().unwrap();
    let mut leased = 0;
    first_scan.for_each(|slot| {
        assert_eq!(slot, slots[0]);
        leased += 1;
    });
    assert_eq!(leased, 2, "old and new guard stand in the first table");
    guest.note_use(slots[0]);
    second.note_use(slots[1]);
    assert_eq!(second_host.noted(), slots, "either handle notes in the log of the new attach");
    reservation.fill(1);
    assert_eq!(reservation.slot_for(&second), Ok(slots[1]));
    let in_use = DetachError::InUse { leases: 2, slots: 1, requests: 0 };
    assert_eq!(second.detach(soon()), Err(in_use));
    drop(reservation);
    assert!(second_host.is_idle());
    assert_eq!(second.try_reserve(64).unwrap().slot(), slots[1], "it is in stock again");
    let in_use = DetachError::InUse { leases: 2, slots: 0, requests: 0 };
    assert_eq!(second.detach(soon()), Err(in_use));
    drop((second, new_guard));
    drop(guest);
    assert!(second_host.is_idle() && !second_host.socket.is_closed().unwrap());
    assert_eq!(guard.len(), 64);
    drop(guard);
    assert_eq!(second_host.next().0.kind, kind::GOODBYE, "when the last old guard is gone");
}

// r[verify guest.reattach.leases]
#[test]
fn a_lease_table_that_was_not_asked_for_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("segment");
    std::fs::create_dir(&path).unwrap();
    let areas = std::sync::Arc::new(Areas::new());
    let attach = |lease_serial| {
        let script = Script { lease_serial, ..Script::default() };
        let host = attach_by_path(&path, &areas, script);
        let guest = Guest::attach(GuestOptions { segment: path.clone(), ..options() });
        (guest, host.join().unwrap())
    };
    // Nothing was asked for.
    let (refused, host) = attach(Some(SERIAL - 1));
    assert_eq!(host.hello.lease_serial.get(), 0);
    let error = refused.unwrap_err();
    let expected = (SERIAL - 1, SERIAL, None);
    assert!(
        matches!(error, AttachError::ForeignLeases { found, serial, asked }
            if (found, serial, asked) == expected),
        "{error}"
    );
    let (guest, host) = attach(None);
    let guest = guest.unwrap();
    drop(host);
    let reattach = |areas: &std::sync::Arc<Areas>, lease_serial| {
        let script = Script { serial: 9, lease_serial: Some(lease_serial), ..Script::default() };
        let host = attach_by_path(&path, areas, script);
        let again = guest.reattach(soon());
        assert_eq!(host.join().unwrap().hello.lease_serial_in(SEGMENT_ID), Some(SERIAL));
        again
    };
    // Another table than the one it has.
    let error = reattach(&areas, SERIAL + 1).unwrap_err();
    assert!(matches!(error, AttachError::ForeignLeases { asked: Some(SERIAL), .. }), "{error}");
    // The number of the one it has, in another segment.
    let anew = std::sync::Arc::new(Areas::of_segment(SEGMENT_ID + 1));
    let error = reattach(&anew, SERIAL).unwrap_err();
    assert!(matches!(error, AttachError::ForeignLeases { asked: None, .. }), "{error}");
    assert_eq!(reattach(&anew, 9).unwrap().segment_id(), SEGMENT_ID + 1);
}

fn attach_by_path(
    path: &std::path::Path,
    areas: &std::sync::Arc<Areas>,
    script: Script,
) -> thread::JoinHandle<ScriptedHost> {
    use crate::socket::AttachSocket;
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let place = path.join("host.sock");
    let _ = std::fs::remove_file(&place);
    let listener = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    rustix::net::bind(&listener, &SocketAddrUnix::new(&place).unwrap()).unwrap();
    rustix::net::listen(&listener, 4).unwrap();
    let areas = std::sync::Arc::clone(areas);
    thread::spawn(move || {
        let accepted = rustix::net::accept(&listener).unwrap();
        ScriptedHost::welcome(areas, AttachSocket::from_fd(accepted).unwrap(), &script)
    })
}
