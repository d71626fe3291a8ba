//! Guests and a real host, in one process.

#[cfg(test)]
mod polling;
#[cfg(test)]
mod support;
mod text;

use onecopy_transport::format::Role;
use onecopy_transport::guest::{
    AttachError, CallError, DetachError, Guest, GuestOptions, LinkEnd, ReserveError,
};
use onecopy_transport::host::HostOptions;
use onecopy_transport::wire::{Refusal, RequestError};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::{ECHO, RETIRE, Serving, guest, host_options, place, publish, retire, soon};

fn pattern(seed: u64, length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|offset| (seed.wrapping_mul(31) ^ offset.wrapping_mul(7)) as u8)
        .collect()
}

#[test]
fn payloads_of_every_size_come_back() {
    let (_base, segment) = place();
    let host = Serving::start(host_options(&segment));
    let guest = guest(&segment);
    for length in [0, 1, 7, 8, 63, 64, 65, 4095, 4096, 4097, 5000, 65_536, 1 << 20] {
        let payload = pattern(length as u64, length);
        let reply = guest.call(ECHO, &payload, soon()).unwrap();
        assert!(*reply == *payload, "{length} bytes");
        assert_eq!(reply.is_in_slot(), length > guest.inline_bytes_max() as usize);
    }
    let too_large = guest.call(ECHO, &vec![0; (1 << 20) + 1], soon()).unwrap_err();
    assert!(matches!(too_large, CallError::Reserve(ReserveError::TooLarge { .. })), "{too_large}");
    let unknown = guest.call(200, b"", soon()).unwrap_err();
    assert!(matches!(unknown, CallError::Refused(RequestError::Malformed { .. })), "{unknown}");
    assert!(guest.ping(soon()).unwrap() < Duration::from_secs(20));
    assert!(guest.host_stats(soon()).unwrap().starts_with('{'));
    let (clean, text) = guest.host_audit(soon()).unwrap();
    assert!(clean, "{text}");
    guest.detach(soon()).unwrap();
    host.assert_clean();
}

/// Many threads on one guest, each with many requests in flight, over a ring with room for few.
#[test]
fn many_threads_with_many_requests_in_flight_over_a_tiny_ring() {
    const THREADS: u64 = 4;
    const CALLS: u64 = 400;
    let (_base, segment) = place();
    let host = Serving::start(HostOptions {
        ring_capacity_bytes: 1024,
        inline_bytes_max: 128,
        ..host_options(&segment)
    });
    let guest = guest(&segment);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let guest = &guest;
            scope.spawn(move || {
                let mut in_flight = VecDeque::new();
                for call in 0..CALLS {
                    let payload = pattern(thread << 32 | call, (call % 129) as usize);
                    let fill = |target: &mut [u8]| target.copy_from_slice(&payload);
                    let pending =
                        guest.submit_with(ECHO, payload.len() as u32, fill, soon()).unwrap();
                    in_flight.push_back((pending, payload));
                    if in_flight.len() > 16 || call + 1 == CALLS {
                        while in_flight.len() > (call % 16) as usize {
                            let Some((pending, payload)) = in_flight.pop_front() else { break };
                            assert_eq!(*pending.wait(soon()).unwrap(), *payload);
                        }
                    }
                }
            });
        }
    });
    host.assert_clean();
    drop(guest);
}

#[test]
fn threads_publish_and_lease_while_others_retire() {
    const THREADS: u64 = 3;
    const ROUNDS: u64 = 200;
    let (_base, segment) = place();
    let host = Serving::start(host_options(&segment));
    let writer = guest(&segment);
    let reader =
        Guest::attach(GuestOptions { role: Role::Reader, ..GuestOptions::at(&segment) }).unwrap();
    let leased = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (writer, reader, leased) = (&writer, &reader, &leased);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let bytes = pattern(thread << 32 | round, 1 + (round as usize * 97) % 9000);
                    let slot = publish(writer, &bytes);
                    let guard = reader.lease(slot).unwrap().expect("published just now");
                    let second = guard.clone();
                    retire(writer, slot);
                    // Retired, perhaps looked for by the host already: the bytes stay.
                    writer.ping(soon()).unwrap();
                    assert!(*guard == *bytes);
                    drop(guard);
                    assert!(*second == *bytes);
                    assert!(reader.lease(slot).unwrap().is_none());
                    leased.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(leased.load(Ordering::Relaxed), THREADS * ROUNDS);
    assert!(matches!(reader.reserve(1, soon()), Err(ReserveError::WrongRole)));
    let error = reader.call(RETIRE, &[0; 8], soon()).unwrap_err();
    assert!(matches!(error, CallError::Refused(RequestError::Malformed { .. })), "{error}");
    drop((writer, reader));
    host.assert_clean();
}

#[test]
fn slots_go_round_and_none_is_lost() {
    let (_base, segment) = place();
    let host = Serving::start(host_options(&segment));
    let guest = guest(&segment);
    for round in 0..300_u64 {
        let many = guest.reserve_many(4096, 1 + (round % 70) as u32, soon()).unwrap();
        let one = guest.reserve(1 + (round * 4099) % 100_000, soon()).unwrap();
        drop(many);
        drop(one);
        assert!(matches!(guest.try_reserve(1), Ok(_) | Err(ReserveError::NotStocked { .. })));
    }
    host.assert_clean();
    guest.detach(soon()).unwrap();
    host.assert_clean();
    assert_eq!(host.figure("slots_granted"), 0, "all of them are the host's again");
}

// r[verify guest.reserve.stock-elsewhere]
#[test]
fn stock_of_other_classes_does_not_stand_in_the_way() {
    let (_base, segment) = place();
    let host =
        Serving::start(HostOptions { grant_bytes_max: Some(1 << 20), ..host_options(&segment) });
    let guest = guest(&segment);
    for size_bytes in [4096, 8192, 12_288, 65_536, 262_144] {
        drop(guest.reserve_many(size_bytes, 4, soon()).unwrap());
    }
    assert!(host.figure("slots_granted") > 1);
    let whole = guest.reserve(1 << 20, soon()).unwrap();
    for _ in 0..100 {
        guest.ping(soon()).unwrap();
    }
    assert_eq!(host.figure("slots_granted"), 1, "nor does it come back unasked");
    drop(whole);
    host.assert_clean();
}

#[test]
fn what_cannot_be_had_is_said_and_had_when_there_is_room() {
    let (_base, segment) = place();
    let _host =
        Serving::start(HostOptions { grant_bytes_max: Some(2 << 20), ..host_options(&segment) });
    let guest = guest(&segment);
    let kept = guest.reserve_many(1 << 20, 2, soon()).unwrap();
    assert_eq!(kept.len(), 2);
    let error = guest.reserve(1 << 20, soon()).unwrap_err();
    assert!(matches!(error, ReserveError::Refused(RequestError::Quota { .. })), "{error}");
    drop(kept);
    assert!(guest.reserve(1 << 20, soon()).is_ok());
}

// r[verify guest.reserve.waits-for-readers]
#[test]
fn where_all_room_is_being_read_a_reservation_waits_for_a_reader_to_end() {
    let (_base, segment) = place();
    let host = Serving::start(host_options(&segment));
    let guest = guest(&segment);
    let read = |_| {
        let slot = publish(&guest, &[7; 1 << 20]);
        let guard = guest.lease(slot).unwrap().unwrap();
        retire(&guest, slot);
        guard
    };
    // There is no room for a fourth one.
    let mut guards: Vec<_> = (0..3).map(read).collect();
    let short = Instant::now() + Duration::from_secs(1);
    let error = guest.reserve(1 << 20, short).map(drop).unwrap_err();
    let no_room =
        matches!(error, ReserveError::Refused(RequestError::NoRoom { limbo_slots: 3, .. }));
    assert!(no_room, "at the deadline, with the numbers: {error}");
    let none_now = guest.try_reserve(1 << 20).map(drop).unwrap_err();
    assert!(matches!(none_now, ReserveError::NotStocked { .. }), "{none_now}");

    let refused = host.figure("requests_refused");
    let other = guest.clone();
    let waiting = thread::spawn(move || other.reserve(1 << 20, soon()).map(drop));
    let deadline = soon();
    while host.figure("requests_refused") < refused + 3 {
        assert!(Instant::now() < deadline && !waiting.is_finished(), "it does not ask again");
    }
    guards.pop();
    waiting.join().unwrap().unwrap();
    drop(guards);
    host.assert_clean();
}

#[test]
fn detach_waits_for_everything_and_then_everything_is_free() {
    let (_base, segment) = place();
    let host = Serving::start(host_options(&segment));
    let guest = guest(&segment);
    let slot = publish(&guest, b"kept");
    let guard = guest.lease(slot).unwrap().unwrap();
    let in_use = DetachError::InUse { leases: 1, slots: 0, requests: 0 };
    assert_eq!(guest.detach(soon()), Err(in_use));
    assert_eq!(&*guard, b"kept");
    drop(guard);
    guest.detach(soon()).unwrap();
    assert_eq!(guest.ping(soon()).unwrap_err(), CallError::Link(LinkEnd::Detached));
    host.assert_clean();
    assert_eq!(host.figure("guests"), 0);
}

#[test]
fn a_second_life_of_the_host_is_attached_to_and_old_guards_stay() {
    let (_base, segment) = place();
    let host = Serving::start(host_options(&segment));
    let guest = guest(&segment);
    let slot = publish(&guest, &pattern(1, 5000));
    let guard = guest.lease(slot).unwrap().unwrap();
    host.leave();
    assert_eq!(guest.ping(soon()).unwrap_err(), CallError::Link(LinkEnd::HostLeft));
    assert!(guest.is_host_gone());
    let error = guest.reattach(soon()).unwrap_err();
    assert!(matches!(error, AttachError::Connect(_)), "{error}");
    assert!(*guard == *pattern(1, 5000));

    let host = Serving::start(host_options(&segment));
    let second = guest.reattach(soon()).unwrap();
    assert!(second.serial() > guest.serial());
    assert_eq!(second.pool().base_address, guest.pool().base_address);
    let again = second.lease(slot).unwrap().expect("kept over the restart");
    assert!(*again == *pattern(1, 5000));
    retire(&second, slot);
    let other = publish(&second, &pattern(2, 5000));
    assert!(*guard == *pattern(1, 5000), "not reused while the old guard lives");
    drop(again);
    assert!(*guard == *pattern(1, 5000));
    assert!(second.lease(other).unwrap().is_some());
    host.assert_clean();
    drop((guard, guest, second));
    host.assert_clean();
}

/// Serials begin again in a segment that is made anew: what named one handle's lease table names
/// another's there.
// r[verify attach.lease-table]
#[test]
fn two_handles_that_come_back_to_a_segment_made_anew_have_a_lease_table_each() {
    let (_base, segment) = place();
    let host = Serving::start(host_options(&segment));
    let (first, second) = (guest(&segment), guest(&segment));
    let tables = |guest: &Guest| {
        let rows =
            (0..guest.geometry().peers_max).filter_map(|row| guest.control().peer(row).unwrap());
        rows.map(|peer| (peer.serial, peer.lease_serial)).collect::<Vec<_>>()
    };
    assert_eq!(tables(&first), [(1, 1), (2, 2)]);
    host.leave();
    std::fs::remove_dir_all(&segment).unwrap();

    let host = Serving::start(host_options(&segment));
    let second_again = second.reattach(soon()).unwrap();
    let first_again = first.reattach(soon()).unwrap();
    assert_ne!(first_again.segment_id(), first.segment_id());
    assert_eq!((second_again.serial(), first_again.serial()), (1, 2));
    assert_eq!(tables(&first_again), [(1, 1), (2, 2)]);
    let slot = publish(&first_again, b"leased");
    let guards = [&first_again, &second_again].map(|guest| guest.lease(slot).unwrap().unwrap());
    retire(&first_again, slot);
    host.assert_clean();
    assert_eq!((&*guards[0], &*guards[1]), (&b"leased"[..], &b"leased"[..]));
}

#[test]
fn refusals_come_from_the_host_itself() {
    let (_base, segment) = place();
    let host = Serving::start(HostOptions { guests_max: 1, ..host_options(&segment) });
    let first = guest(&segment);
    let error = Guest::attach(GuestOptions::at(&segment)).unwrap_err();
    let full = Refusal::Full { guests: 1, guests_max: 1 };
    assert!(matches!(error, AttachError::Refused(refusal) if refusal == full), "{error}");
    first.detach(soon()).unwrap();
    let second = guest(&segment);
    let started = Instant::now();
    assert!(second.ping(soon()).is_ok() && started.elapsed() < Duration::from_secs(20));
    drop(second);
    drop(host);
}

#[test]
fn a_reserved_place_is_claimed() {
    let (_base, segment) = place();
    let host = Serving::start(host_options(&segment));
    let reservation = host.handle.reserve(soon()).unwrap();
    let socket = reservation.into_socket().unwrap();
    let guest = Guest::claim(socket, GuestOptions::at(&segment)).unwrap();
    assert_eq!(&*guest.call(ECHO, b"claimed", soon()).unwrap(), b"claimed");
}

#[test]
fn a_guest_that_is_cut_off_is_told_and_can_come_back() {
    let (_base, segment) = place();
    let host = Serving::start(host_options(&segment));
    let guest = guest(&segment);
    let slot = publish(&guest, b"there");
    assert!(host.handle.cut_off(guest.serial(), "by hand", soon()).unwrap());
    let error = guest.ping(soon()).unwrap_err();
    assert!(matches!(error, CallError::Link(_)), "{error}");
    assert!(guest.lease(slot).is_err(), "its leases protect nothing");
    let second = guest.reattach(soon()).unwrap();
    assert_eq!(&*second.lease(slot).unwrap().unwrap(), b"there");
}
