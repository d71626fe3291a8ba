//! Requests and answers.

use super::scripted::{INLINE_MAX, attached, attached_with, in_ms, options, soon};
use crate::guest::link::Outgoing;
use crate::guest::{CallError, Guest, GuestOptions, Pending};
use crate::wire::{RequestError, SlotPayload, flag, kind};
use onecopy_shm::SlotRef;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

const ECHO: u8 = 40;

fn no_bytes(_: &mut [u8]) {}

#[test]
fn a_call_brings_the_answer_short_or_long() {
    let (guest, mut host) = attached();
    let asker = thread::spawn(move || {
        for length in [0, 1, 7, 8, 40, 64, 65, 200, INLINE_MAX as usize] {
            let payload: Vec<u8> = (0..length).map(|index| index as u8).collect();
            let reply = guest.call(ECHO, &payload, soon()).unwrap();
            assert_eq!(&*reply, payload);
            assert!(!reply.is_in_slot());
            let mut target = [0; INLINE_MAX as usize];
            let fill = |target: &mut [u8]| target.copy_from_slice(&payload);
            let copied = guest.call_into(ECHO, length as u32, fill, &mut target, soon()).unwrap();
            assert_eq!(target[..copied], payload);
        }
        guest
    });
    for _ in 0..18 {
        host.echo();
    }
    drop(asker.join().unwrap());
    assert_eq!(host.next().0.kind, kind::GOODBYE);
}

// r[verify guest.call.direct]
#[test]
fn an_answer_goes_straight_to_its_place_past_others_in_flight() {
    let (guest, mut host) = attached();
    let mut earlier: Vec<Pending> = (0..5_u8)
        .map(|number| guest.submit_with(ECHO, 1, |target| target[0] = number, soon()).unwrap())
        .collect();
    let asker = guest.clone();
    let asker = thread::spawn(move || {
        let mut target = [0; 8];
        let fill = |target: &mut [u8]| target.copy_from_slice(b"directly");
        let copied = asker.call_into(ECHO, 8, fill, &mut target, soon()).unwrap();
        (copied, target)
    });
    for _ in 0..6 {
        host.echo();
    }
    assert_eq!(asker.join().unwrap(), (8, *b"directly"));
    for (number, pending) in earlier.iter_mut().enumerate() {
        assert_eq!(&*pending.wait_again(soon()).unwrap(), &[number as u8]);
        assert_eq!(pending.wait_again(soon()).unwrap_err(), CallError::Taken);
    }
}

// r[verify guest.call.direct]
#[test]
fn only_an_answer_that_fits_is_taken_straight_from_the_ring() {
    let refused = RequestError::WrongRole.encode();
    let answers: [(u8, &[u8], bool); 4] = [
        (0, b"12345678", true),
        (0, b"", true),
        (0, b"123456789", false),
        (flag::ERROR, refused.as_bytes(), false),
    ];
    let (guest, mut host) = attached();
    let link = &guest.inner.link;
    for (flags, bytes, fits) in answers {
        let outgoing = Outgoing::inline(ECHO, 0);
        let (mut state, request_id) = link.submit(link.lock(), outgoing, no_bytes, soon()).unwrap();
        host.next();
        host.send(ECHO, flags, request_id, bytes);
        let mut target = [0xff; 64];
        let copied = link.answer_directly(&mut state, request_id, &mut target[..8]);
        assert_eq!(copied, fits.then_some(bytes.len()));
        assert_eq!(state.desk.pending.is_answered(request_id), !fits);
        if fits {
            assert_eq!(&target[..bytes.len()], bytes);
            assert!(target[bytes.len()..].iter().all(|&byte| byte == 0xff));
        } else {
            assert!(state.desk.pending.take(request_id).is_some(), "put aside");
        }
        assert_eq!(state.desk.pending.in_flight(), 0);
    }
}

#[test]
fn an_answer_too_long_for_its_place_is_an_error() {
    let (guest, mut host) = attached();
    let answering = thread::spawn(move || {
        let (header, _) = host.next();
        host.send(ECHO, 0, header.request_id, &[1; 9]);
        host.echo();
        host
    });
    let mut target = [0; 8];
    let error = guest.call_into(ECHO, 0, no_bytes, &mut target, soon()).unwrap_err();
    assert_eq!(error, CallError::ReplyTooLong { length_bytes: 9, capacity_bytes: 8 });
    assert_eq!(guest.call_into(ECHO, 0, no_bytes, &mut target, soon()), Ok(0), "the link goes on");
    drop(answering.join().unwrap());
}

#[test]
fn a_refusal_comes_back_typed() {
    let (guest, mut host) = attached();
    let refused = RequestError::Quota { held_bytes: 1, wanted_bytes: 2, quota_bytes: 3 };
    let pending = guest.submit_with(ECHO, 0, no_bytes, soon()).unwrap();
    let unknown = guest.submit_with(ECHO, 0, no_bytes, soon()).unwrap();
    let (header, _) = host.next();
    host.send(ECHO, flag::ERROR, header.request_id, refused.encode().as_bytes());
    let (header, _) = host.next();
    let mut words = refused.encode();
    words.code = 999.into();
    host.send(ECHO, flag::ERROR, header.request_id, words.as_bytes());
    assert_eq!(pending.wait(soon()).unwrap_err(), CallError::Refused(refused));
    assert_eq!(unknown.wait(soon()).unwrap_err(), CallError::UnknownAnswer { code: 999 });
}

#[test]
fn kinds_and_lengths_that_are_not_a_callers_are_refused_here() {
    let (guest, mut host) = attached();
    for kind in [0, kind::REFILL, 31, 255] {
        let error = guest.call(kind, b"", soon()).unwrap_err();
        assert_eq!(error, CallError::ReservedKind { kind });
    }
    let length = INLINE_MAX + 1;
    let error = guest.call_with(ECHO, length, no_bytes, soon()).unwrap_err();
    let max_bytes = INLINE_MAX.into();
    assert_eq!(error, CallError::TooLarge { length_bytes: length.into(), max_bytes });
    assert!(host.is_idle());
}

// r[verify guest.deadline]
#[test]
fn every_wait_ends_at_its_deadline() {
    for polling in [false, true] {
        let (guest, _host) = attached_with(GuestOptions { polling, ..options() });
        let started = Instant::now();
        let error = guest.call(ECHO, b"?", in_ms(30)).unwrap_err();
        assert_eq!(error, CallError::DeadlineExceeded { sent: true });
        let mut pending = guest.submit_with(ECHO, 0, no_bytes, soon()).unwrap();
        let error = pending.wait_again(in_ms(20)).unwrap_err();
        assert_eq!(error, CallError::DeadlineExceeded { sent: true });
        assert!(started.elapsed() >= Duration::from_millis(50));
        assert!(pending.try_wait().unwrap().is_none());
        let past = Instant::now() - Duration::from_millis(1);
        assert!(guest.call(ECHO, b"?", past).is_err());
    }
}

// r[verify doorbell.once]
#[test]
fn a_host_that_sleeps_is_rung_for_once_and_one_that_is_awake_never() {
    let (guest, mut host) = attached();
    for sleeps in [true, true, false] {
        if sleeps {
            host.lie_down();
        }
        let submit = |_| guest.submit_with(ECHO, 0, no_bytes, soon()).unwrap();
        let sent: Vec<Pending> = (0..20).map(submit).collect();
        assert_eq!(host.rings(), u64::from(sleeps));
        for _ in &sent {
            host.echo();
        }
        for pending in sent {
            pending.wait(soon()).unwrap();
        }
        assert_eq!(host.rings(), 0, "nobody rings for an answer");
    }
}

// r[verify guest.back-pressure]
#[test]
fn a_full_ring_is_waited_for_and_answers_are_taken_meanwhile() {
    let (guest, mut host) = attached();
    let fill = |target: &mut [u8]| target.fill(7);
    let mut sent = Vec::new();
    loop {
        match guest.try_submit_with(ECHO, 200, fill) {
            Ok(pending) => sent.push(pending),
            Err(error) => {
                assert_eq!(error, CallError::Full);
                break;
            }
        }
    }
    assert!(sent.len() > 8 && sent.len() < 4096 / 200, "{}", sent.len());
    let error = guest.submit_with(ECHO, 200, fill, in_ms(20)).unwrap_err();
    assert_eq!(error, CallError::DeadlineExceeded { sent: false });
    assert!(!error.request_sent());
    // More answers than the other ring holds: the guest must take them while it waits for room.
    let count = 200;
    let asker = guest.clone();
    let sent_count = sent.len();
    let asker = thread::spawn(move || {
        let submitted: Vec<Pending> =
            (0..count).map(|_| asker.submit_with(ECHO, 200, fill, soon()).unwrap()).collect();
        for pending in sent.into_iter().chain(submitted) {
            assert_eq!(&*pending.wait(soon()).unwrap(), &[7; 200]);
        }
    });
    for _ in 0..sent_count + count {
        host.echo();
    }
    asker.join().unwrap();
}

/// A host asleep on an answer that found no room is told of the room by whatever takes frames in,
/// also where nobody waits.
// r[verify guest.back-pressure]
#[test]
fn whatever_takes_answers_in_tells_the_host_of_the_room() {
    const COUNT: u32 = 24;
    let told_by = |take: fn(&Guest, &mut Vec<Pending>)| {
        let (guest, mut host) = attached_with(GuestOptions { requests_max: COUNT, ..options() });
        let submit = |_| guest.try_submit_with(ECHO, 0, no_bytes).unwrap();
        let mut pending: Vec<Pending> = (0..COUNT).map(submit).collect();
        let blocked = host.answer_until_full();
        take(&guest, &mut pending);
        assert!(host.rings() > 0);
        host.send(ECHO, 0, blocked.request_id, &[7; 200]);
        drop((pending, guest));
    };
    told_by(|_, pending| assert!(pending[0].try_wait().unwrap().is_some()));
    told_by(|_, pending| drop(pending.remove(0).wait(soon()).unwrap()));
    told_by(|guest, _| assert!(guest.try_reserve(64).is_err()));
    told_by(|guest, _| assert_eq!(guest.end(), None));
    told_by(|guest, _| {
        assert_eq!(guest.try_submit_with(ECHO, 0, no_bytes).unwrap_err(), CallError::Full);
    });
}

#[test]
fn as_many_requests_as_the_table_holds() {
    let (guest, mut host) = attached_with(GuestOptions { requests_max: 2, ..options() });
    let first = guest.try_submit_with(ECHO, 0, no_bytes).unwrap();
    let second = guest.try_submit_with(ECHO, 0, no_bytes).unwrap();
    assert_eq!(guest.try_submit_with(ECHO, 0, no_bytes).unwrap_err(), CallError::Full);
    host.echo();
    first.wait(soon()).unwrap();
    let third = guest.try_submit_with(ECHO, 0, no_bytes).unwrap();
    host.echo();
    host.echo();
    second.wait(soon()).unwrap();
    third.wait(soon()).unwrap();
}

// r[verify guest.call.sent]
#[test]
fn an_error_tells_whether_the_request_was_sent() {
    let (guest, mut host) = attached_with(GuestOptions { requests_max: 1, ..options() });
    let kept = guest.submit_with(ECHO, 0, no_bytes, soon()).unwrap();
    let unsent = guest.call(ECHO, b"no room", in_ms(10)).unwrap_err();
    assert!(!unsent.request_sent(), "{unsent}");
    assert_eq!(host.next().1, b"");
    assert!(host.is_idle());
    drop(kept);
    let unsent = guest.call(40, &[0; 5000], soon()).unwrap_err();
    assert!(!unsent.request_sent(), "{unsent}");
    let (guest, mut host) = attached();
    let sent = guest.call(ECHO, b"sent", in_ms(10)).unwrap_err();
    assert!(sent.request_sent(), "{sent}");
    assert_eq!(host.next().1, b"sent");
}

// r[verify guest.abandon]
#[test]
fn the_answer_to_an_abandoned_request_is_discarded_and_its_slot_given_back() {
    let (guest, mut host) = attached();
    let slots: Vec<SlotRef> =
        (1..=2).map(|slot| host.areas.grant(slot, 4096 + u64::from(slot) * 256, 256)).collect();
    drop(guest.submit_with(ECHO, 0, no_bytes, soon()).unwrap());
    let (header, _) = host.next();
    let payload = SlotPayload { slot: slots[0].to_u64().into(), length_bytes: 10.into() };
    host.send(ECHO, flag::SLOT, header.request_id, payload.as_bytes());
    // Answered first, abandoned then.
    let mut pending = guest.submit_with(ECHO, 0, no_bytes, soon()).unwrap();
    let (header, _) = host.next();
    let payload = SlotPayload { slot: slots[1].to_u64().into(), length_bytes: 10.into() };
    host.send(ECHO, flag::SLOT, header.request_id, payload.as_bytes());
    let later = guest.submit_with(ECHO, 0, no_bytes, soon()).unwrap();
    host.echo();
    later.wait(soon()).unwrap();
    let _ = &mut pending;
    drop(pending);
    let mut stocked: Vec<SlotRef> =
        (0..2).map(|_| guest.try_reserve(256).unwrap().into_slot()).collect();
    stocked.sort_by_key(|slot| slot.slot);
    assert_eq!(stocked, slots);
}

#[test]
fn many_threads_wait_for_many_answers_in_any_order() {
    // Threads that poll take all cores from the one that answers.
    for (polling, threads, calls) in [(false, 6_u32, 300_u32), (true, 2, 20)] {
        let (guest, mut host) = attached_with(GuestOptions { polling, ..options() });
        let askers: Vec<_> = (0..threads)
            .map(|thread| {
                let guest = guest.clone();
                thread::spawn(move || {
                    for call in 0..calls {
                        let word = (thread << 16 | call).to_le_bytes();
                        let reply = guest.call(ECHO, &word, soon()).unwrap();
                        assert_eq!(&*reply, word);
                    }
                })
            })
            .collect();
        // Those that are there are answered in reverse, now and then when everybody has gone to sleep.
        let mut count = 0;
        while count < threads * calls {
            let mut asked = vec![host.next()];
            while !host.is_idle() {
                asked.push(host.next());
            }
            count += asked.len() as u32;
            if count.is_multiple_of(97) {
                thread::sleep(Duration::from_millis(2));
            }
            for (header, bytes) in asked.into_iter().rev() {
                host.send(header.kind, 0, header.request_id, &bytes);
            }
        }
        askers.into_iter().for_each(|asker| asker.join().unwrap());
    }
}

#[test]
fn a_thread_that_waits_for_long_does_not_hold_up_others() {
    let (guest, mut host) = attached();
    let slow =
        guest.submit_with(ECHO, 4, |target| target.copy_from_slice(b"slow"), soon()).unwrap();
    let (told, tell) = mpsc::channel();
    let waiter = thread::spawn(move || {
        told.send(()).unwrap();
        slow.wait(soon()).map(|reply| reply.to_vec())
    });
    tell.recv().unwrap();
    let (slow_header, slow_bytes) = host.next();
    host.wait_for_sleep();
    let busy = guest.clone();
    let busy = thread::spawn(move || {
        for _ in 0..100 {
            busy.call(ECHO, b"quick", soon()).unwrap();
        }
    });
    for _ in 0..100 {
        host.echo();
    }
    busy.join().unwrap();
    host.send(ECHO, 0, slow_header.request_id, &slow_bytes);
    assert_eq!(waiter.join().unwrap().unwrap(), b"slow");
}

/// One thread sleeps on the socket for all; when it stops waiting another one must.
#[test]
fn a_receiver_that_gives_up_hands_over() {
    let (guest, mut host) = attached();
    let receiver = guest.submit_with(ECHO, 0, no_bytes, soon()).unwrap();
    let parked = guest.submit_with(ECHO, 0, no_bytes, soon()).unwrap();
    let given_up = thread::spawn(move || receiver.wait(in_ms(200)).unwrap_err());
    host.wait_for_sleep();
    let started = Instant::now();
    let parked = thread::spawn(move || parked.wait(started + Duration::from_secs(60)));
    let error = given_up.join().unwrap();
    assert_eq!(error, CallError::DeadlineExceeded { sent: true });
    host.wait_for_sleep();
    host.echo();
    host.echo();
    parked.join().unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(50), "not only at its deadline");
}

#[test]
fn a_fill_that_panics_leaves_the_link_whole() {
    let (guest, mut host) = attached();
    let asker = guest.clone();
    let panicked = thread::spawn(move || {
        let _ = asker.call_with(ECHO, 8, |_| panic!("by the caller"), soon());
    });
    assert!(panicked.join().is_err());
    let pending = guest.submit_with(ECHO, 5, |target| target.copy_from_slice(b"after"), soon());
    assert_eq!(host.echo().length, 5);
    assert_eq!(&*pending.unwrap().wait(soon()).unwrap(), b"after");
}
