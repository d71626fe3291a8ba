//! Reservations, payloads in slots, leases.

use super::scripted::{
    ROW, SERIAL, ScriptedHost, UNIT, attached, attached_with, in_ms, options, soon,
};
use crate::format::Role;
use crate::guest::{
    CallError, Guest, GuestOptions, LeaseError, ReserveError, SlotGuard, StaleReservation,
};
use crate::wire::{Refill, RequestError, SlotPayload, flag, kind};
use onecopy_shm::SlotRef;
use std::thread;
use zerocopy::{FromBytes, IntoBytes};

const ECHO: u8 = 40;

fn slot_offset(number: u32) -> u64 {
    UNIT + u64::from(number) * 256
}

/// Slots of 256 bytes, granted to the guest.
fn grants(host: &ScriptedHost, numbers: std::ops::RangeInclusive<u32>) -> Vec<SlotRef> {
    numbers.map(|number| host.areas.grant(number, slot_offset(number), 256)).collect()
}

/// A guest that has these slots in stock.
fn stocked(numbers: std::ops::RangeInclusive<u32>) -> (Guest, ScriptedHost, Vec<SlotRef>) {
    let (guest, mut host) = attached();
    let slots = grants(&host, numbers);
    host.send_grants(kind::GRANTS, 0, 1, &slots);
    (guest, host, slots)
}

#[test]
fn a_slot_comes_from_the_host_once_and_then_out_of_stock() {
    let (guest, mut host) = attached();
    let slots = grants(&host, 1..=4);
    let asker = guest.clone();
    let asker = thread::spawn(move || asker.reserve(200, soon()).unwrap());
    let (_, bytes) = host.refill(1, &slots);
    let refill = Refill::read_from_bytes(&bytes).unwrap();
    assert_eq!(refill.size_bytes.get(), 200);
    assert!(refill.count.get() >= 1);
    let first = asker.join().unwrap();
    assert_eq!((first.slot(), first.slot_bytes(), first.len()), (slots[3], 256, 256));
    let others: Vec<_> = (0..3).map(|_| guest.try_reserve(65).unwrap()).collect();
    assert_eq!(
        others.iter().map(|held| held.slot()).collect::<Vec<_>>(),
        [slots[2], slots[1], slots[0]]
    );
    assert!(host.is_idle(), "one request for all four");
}

#[test]
fn bytes_of_a_reservation_are_the_pools() {
    let (guest, host, slots) = stocked(3..=3);
    let mut reservation = guest.try_reserve(256).unwrap();
    reservation.fill(0x5a);
    reservation[255] = 0x5b;
    let region = host.areas.region(slot_offset(3), 256);
    let last = region.read_word(248).unwrap().load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(last.to_ne_bytes(), [0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5b]);
    assert_eq!(reservation.slot(), slots[0]);
}

// r[verify guest.reserve.refill]
// r[verify guest.reservation.drop]
#[test]
fn a_dropped_reservation_is_in_stock_again_and_a_consumed_one_is_not() {
    let (guest, mut host, slots) = stocked(1..=1);
    let reservation = guest.try_reserve(256).unwrap();
    assert!(matches!(guest.try_reserve(256), Err(ReserveError::NotStocked { slot_bytes: 256 })));
    drop(reservation);
    assert_eq!(guest.try_reserve(256).unwrap().into_slot(), slots[0]);
    assert!(matches!(guest.try_reserve(256), Err(ReserveError::NotStocked { .. })));
    // Each attempt has asked the host without waiting; what comes is in stock.
    let more = grants(&host, 2..=2);
    host.refill(1, &more);
    assert_eq!(guest.reserve(256, soon()).unwrap().slot(), more[0]);
}

// r[verify guest.magazine.bounded]
#[test]
fn what_is_over_the_bound_is_given_back() {
    let (guest, mut host) = attached_with(GuestOptions { magazine_slots_max: 4, ..options() });
    let slots = grants(&host, 1..=10);
    host.send_grants(kind::GRANTS, 0, 1, &slots[..8]);
    assert_eq!(guest.try_reserve(256).unwrap().into_slot().slot, 2, "two of eight are kept");
    let (header, bytes) = host.next();
    assert_eq!((header.kind, header.request_id), (kind::GIVE_BACK, 0));
    let given: Vec<SlotRef> = bytes
        .chunks(8)
        .map(|word| SlotRef::from_u64(u64::from_le_bytes(word.try_into().unwrap())).unwrap())
        .collect();
    assert_eq!(given, [7, 6, 5, 4, 3, 2].map(|index: usize| slots[index]));
    assert!(host.is_idle());
}

// r[verify guest.reserve.many]
#[test]
fn many_slots_are_reserved_together_or_not_at_all() {
    let (guest, mut host, slots) = stocked(1..=3);
    let asker = guest.clone();
    let asker = thread::spawn(move || asker.reserve_many(256, 5, soon()));
    let (header, _) = host.next();
    let refused = RequestError::Quota { held_bytes: 768, wanted_bytes: 512, quota_bytes: 1000 };
    host.send(kind::REFILL, flag::ERROR, header.request_id, refused.encode().as_bytes());
    let error = asker.join().unwrap().unwrap_err();
    assert_eq!(error, ReserveError::Refused(refused));
    let asker = guest.clone();
    let asker = thread::spawn(move || asker.reserve_many(256, 5, soon()));
    let more = grants(&host, 4..=5);
    let (_, bytes) = host.refill(1, &more);
    assert!(Refill::read_from_bytes(&bytes).unwrap().count.get() >= 2, "three are in stock still");
    let mut reserved: Vec<SlotRef> =
        asker.join().unwrap().unwrap().into_iter().map(|held| held.into_slot()).collect();
    reserved.sort_by_key(|slot| slot.slot);
    assert_eq!(reserved, slots.into_iter().chain(more).collect::<Vec<_>>());
    assert_eq!(guest.reserve_many(256, 0, soon()).unwrap().len(), 0);
}

// r[verify guest.reserve.role]
#[test]
fn a_reader_is_refused_without_asking_the_host() {
    let (guest, mut host) = attached_with(GuestOptions { role: Role::Reader, ..options() });
    assert!(matches!(guest.reserve(1, soon()), Err(ReserveError::WrongRole)));
    assert!(matches!(guest.try_reserve(1), Err(ReserveError::WrongRole)));
    assert!(matches!(guest.reserve_many(1, 2, soon()), Err(ReserveError::WrongRole)));
    let error = guest.call(ECHO, &[0; 5000], soon()).unwrap_err();
    assert_eq!(error, CallError::Reserve(ReserveError::WrongRole));
    assert!(host.is_idle());
}

#[test]
fn more_than_the_largest_slot_is_refused_here() {
    let (guest, mut host) = attached();
    let too_large = ReserveError::TooLarge { size_bytes: 4097, slot_bytes_max: 4096 };
    assert_eq!(guest.reserve(4097, soon()).unwrap_err(), too_large);
    let too_large = ReserveError::TooLarge { size_bytes: u64::MAX, slot_bytes_max: 4096 };
    assert_eq!(guest.reserve(u64::MAX, soon()).unwrap_err(), too_large);
    assert!(matches!(
        guest.reserve(4096, in_ms(10)),
        Err(ReserveError::DeadlineExceeded { slot_bytes: 4096 })
    ));
    assert_eq!(host.next().0.kind, kind::REFILL);
}

// r[verify guest.call.slot]
#[test]
fn a_payload_in_a_slot_comes_back_in_it_in_another_or_in_the_frame() {
    let (guest, mut host, slots) = stocked(1..=1);
    let other = grants(&host, 2..=2)[0];
    let answer_in =
        |slot: SlotRef| SlotPayload { slot: slot.to_u64().into(), length_bytes: 100.into() };
    for (answer, expected_slot) in [(Some(slots[0]), slots[0]), (Some(other), other), (None, other)]
    {
        let mut reservation = guest.try_reserve(256).unwrap();
        let sent = reservation.slot();
        reservation[..100].fill(3);
        let pending = guest.submit_slot(ECHO, reservation, 100, soon()).unwrap();
        let (header, bytes) = host.next();
        assert_eq!(header.flags, flag::SLOT);
        let payload = SlotPayload::read_from_bytes(&bytes).unwrap();
        assert_eq!((payload.slot.get(), payload.length_bytes.get()), (sent.to_u64(), 100));
        // While it is in flight the slot is in no stock.
        assert!(guest.try_reserve(256).is_err());
        let (asked, _) = host.next();
        let refused = RequestError::WrongRole.encode();
        host.send(kind::REFILL, flag::ERROR, asked.request_id, refused.as_bytes());
        match answer {
            Some(slot) => {
                host.areas.fill(slot_offset(slot.slot), 104, 4);
                host.send(ECHO, flag::SLOT, header.request_id, answer_in(slot).as_bytes());
            }
            None => host.send(ECHO, 0, header.request_id, &[4; 100]),
        }
        let reply = pending.wait(soon()).unwrap();
        assert_eq!((&*reply, reply.is_in_slot()), (&[4; 100][..], answer.is_some()));
        match reply.into_reservation() {
            Ok(reservation) => assert_eq!(reservation.slot(), expected_slot),
            Err(reply) => assert!(answer.is_none() && !reply.is_in_slot()),
        }
        if answer == Some(other) {
            // Both are in stock now; one is enough for the next round.
            assert_eq!(guest.try_reserve(256).unwrap().into_slot(), other);
            host.send_grants(kind::GRANTS, 0, 1, &[]);
        }
    }
}

#[test]
fn a_long_payload_goes_by_slot_and_a_refused_one_keeps_it() {
    let (guest, mut host, slots) = stocked(1..=1);
    let asker = guest.clone();
    let asker = thread::spawn(move || {
        // Longer than a frame may be is longer than this class.
        asker.call(ECHO, &[6; 257], soon())
    });
    let (header, _) = host.next();
    assert_eq!(header.kind, kind::REFILL);
    let large = host.areas.grant(200, 8 * UNIT, 4096);
    host.send_grants(kind::REFILL, header.request_id, 2, &[large]);
    let (header, bytes) = host.next();
    let payload = SlotPayload::read_from_bytes(&bytes).unwrap();
    assert_eq!((payload.slot.get(), payload.length_bytes.get()), (large.to_u64(), 257));
    let refused = RequestError::UnknownKind { kind: ECHO.into() };
    host.send(ECHO, flag::ERROR, header.request_id, refused.encode().as_bytes());
    assert_eq!(asker.join().unwrap().unwrap_err(), CallError::Refused(refused));
    assert_eq!(guest.try_reserve(4096).unwrap().slot(), large, "back in stock");
    let reservation = guest.try_reserve(256).unwrap();
    let error = guest.call_slot(ECHO, reservation, 257, soon()).unwrap_err();
    assert_eq!(error, CallError::BeyondSlot { slot: 1, length_bytes: 257, slot_bytes: 256 });
    assert_eq!(guest.try_reserve(256).unwrap().slot(), slots[0], "back in stock");
}

#[test]
fn a_reader_reads_an_answer_in_a_slot_and_gives_it_back() {
    let (guest, mut host) =
        attached_with(GuestOptions { role: Role::Reader, magazine_slots_max: 0, ..options() });
    let slots = grants(&host, 1..=2);
    let mut replies = Vec::new();
    for slot in &slots {
        let pending = guest.submit_with(ECHO, 0, |_| {}, soon()).unwrap();
        let (header, _) = host.next();
        host.areas.fill(slot_offset(slot.slot), 16, 1);
        let payload = SlotPayload { slot: slot.to_u64().into(), length_bytes: 16.into() };
        host.send(ECHO, flag::SLOT, header.request_id, payload.as_bytes());
        replies.push(pending.wait(soon()).unwrap());
    }
    assert!(replies.iter().all(|reply| **reply == [1; 16]));
    let reply = replies.pop().unwrap().into_reservation().unwrap_err();
    assert_eq!(&*reply, &[1; 16], "a reader gets no reservation and loses nothing");
    drop(replies);
    drop(reply);
    let (header, bytes) = host.next();
    assert_eq!(header.kind, kind::GIVE_BACK);
    assert!(!bytes.is_empty());
}

// r[verify guest.reservation.stale]
#[test]
fn a_reservation_of_another_attach_is_refused() {
    let (guest, _host, slots) = stocked(1..=2);
    let (stranger, mut strange_host) = attached();
    let stale = StaleReservation { slot: slots[1], reserved_by: SERIAL, serial: SERIAL };
    let reservation = guest.try_reserve(256).unwrap();
    assert_eq!(reservation.slot_for(&stranger), Err(stale));
    assert_eq!(reservation.slot_for(&guest), Ok(slots[1]));
    let error = stranger.call_slot(ECHO, reservation, 1, soon()).unwrap_err();
    assert_eq!(error, CallError::Stale(stale));
    assert!(!error.request_sent());
    assert!(strange_host.is_idle());
    assert_eq!(guest.try_reserve(256).unwrap().slot(), slots[1], "back where it belongs");
}

// r[verify guest.lease]
#[test]
fn a_lease_is_taken_of_what_is_published_and_of_nothing_else() {
    let (guest, host) = attached();
    let slot = grants(&host, 7..=7)[0];
    assert!(guest.lease(slot).unwrap().is_none(), "granted, not published");
    host.areas.fill(slot_offset(7), 256, 0x77);
    host.areas.publish(slot, 200);
    let guard = guest.lease(slot).unwrap().expect("published");
    assert_eq!((&*guard, guard.slot()), (&[0x77; 200][..], slot));
    assert_eq!((guard.note(), guard.cold()), ([9; 5], [8; 7]));
    assert_eq!((guard.note_word(4), guard.cold_word(6)), (9, 8));
    assert_eq!(host.leased(), [slot]);
    for other in [
        SlotRef { slot: 7, generation: 2 },
        SlotRef { slot: 8, generation: 1 },
        SlotRef { slot: 0, generation: 1 },
        SlotRef { slot: 257, generation: 1 },
        SlotRef { slot: u32::MAX, generation: u32::MAX },
    ] {
        assert!(guest.lease(other).unwrap().is_none(), "{other:?}");
    }
    host.areas.retire(slot);
    assert!(guest.lease(slot).unwrap().is_none(), "retired");
    assert_eq!(host.leased(), [slot], "only the guard's");
    assert_eq!(&*guard, &[0x77; 200], "still readable");
    drop(guard);
    assert_eq!(host.leased(), []);
}

// r[verify guest.lease]
#[test]
fn a_guest_that_was_cut_off_leases_nothing() {
    let (guest, host) = attached();
    let slot = grants(&host, 7..=7)[0];
    host.areas.publish(slot, 200);
    host.areas.control.set_attached(ROW.into(), 0);
    assert_eq!(guest.lease(slot).unwrap_err(), LeaseError::CutOff);
    assert_eq!(host.leased(), []);
}

#[test]
fn what_no_host_publishes_is_an_error() {
    let (guest, host) = attached();
    for (number, offset, length) in
        [(1, 16 * UNIT - 8, 16), (2, u64::MAX - 63, 64), (3, 0, u64::MAX), (4, 1 << 40, 1)]
    {
        let slot = host.areas.grant(number, offset, 64);
        host.areas.publish(slot, length);
        let error = guest.lease(slot).unwrap_err();
        assert!(matches!(error, LeaseError::OutsidePool { .. }), "{error}");
    }
    assert_eq!(host.leased(), []);
}

// r[verify guest.lease.clones]
#[test]
fn the_last_clone_of_a_guard_ends_the_lease() {
    let (guest, host) = attached();
    let slot = grants(&host, 7..=7)[0];
    host.areas.publish(slot, 64);
    let guard = guest.lease(slot).unwrap().unwrap();
    let second = guard.clone();
    let third = second.clone();
    assert_eq!(host.leased(), [slot], "one lease for all");
    drop(guard);
    drop(third);
    assert_eq!(host.leased(), [slot]);
    drop(second);
    assert_eq!(host.leased(), []);
    // Clones on several threads, dropped in any order; the cell is used again and again.
    for _ in 0..200 {
        let guard = guest.lease(slot).unwrap().unwrap();
        thread::scope(|scope| {
            for _ in 0..3 {
                let clone = guard.clone();
                scope.spawn(move || assert_eq!(clone.clone().len(), 64));
            }
            drop(guard);
        });
        assert_eq!(host.leased(), []);
    }
}

#[test]
fn all_leases_taken_is_an_error_that_says_how_many() {
    let (guest, host) = attached();
    let slot = grants(&host, 7..=7)[0];
    host.areas.publish(slot, 64);
    let guards: Vec<_> = (0..64).map(|_| guest.lease(slot).unwrap().unwrap()).collect();
    assert_eq!(guest.lease(slot).unwrap_err(), LeaseError::Full { capacity: 64 });
    drop(guards);
    assert!(guest.lease(slot).unwrap().is_some());
}

// r[verify guest.lease.current]
#[test]
fn a_slot_is_leased_by_its_number_if_it_is_what_is_wanted() {
    let (guest, host, slots) = stocked(1..=2);
    host.areas.publish(slots[0], 64);
    let lease = |slot, is_wanted: bool| {
        SlotGuard::lease_current(guest.clone(), slot, |entry| {
            assert_eq!((entry.length_bytes(), entry.note_word(0)), (64, 9));
            is_wanted
        })
    };
    let guard = lease(1, true).unwrap().unwrap();
    assert_eq!((guard.slot(), guard.len()), (slots[0], 64));
    assert_eq!(host.leased(), [slots[0]]);
    assert!(lease(1, false).unwrap().is_none());
    assert_eq!(host.leased(), [slots[0]], "what is not wanted is let go");
    assert!(lease(2, true).unwrap().is_none(), "granted");
    assert!(lease(0, true).unwrap().is_none() && lease(u32::MAX, true).unwrap().is_none());
    host.areas.retire(slots[0]);
    assert!(lease(1, true).unwrap().is_none(), "retired");
    drop(guard);
    assert_eq!(host.leased(), []);
}

// r[verify guest.lease.current]
// r[verify touch.note]
#[test]
fn what_is_looked_for_is_leased_where_nothing_is_out_of_the_ordinary() {
    let (guest, host, slots) = stocked(1..=4);
    for slot in &slots[..3] {
        host.areas.publish(*slot, 64);
    }
    host.areas.retire(slots[1]);
    let lease = |slot, is_wanted| {
        guest.lease_for_use(slot, |entry| {
            assert_eq!(entry.note_word(0), 9);
            is_wanted
        })
    };
    let guard = lease(1, true).unwrap();
    assert_eq!((guard.slot(), guard.len()), (slots[0], 64));
    assert!(lease(3, false).is_none(), "not wanted");
    assert!(lease(2, true).is_none() && lease(4, true).is_none(), "retired, granted");
    assert!(lease(0, true).is_none() && lease(u32::MAX, true).is_none());
    assert_eq!(host.leased(), [slots[0]]);
    let owned = guard.into_owned();
    assert_eq!(host.leased(), [slots[0]], "the same lease");
    drop(owned);
    assert_eq!(host.leased(), []);
}
