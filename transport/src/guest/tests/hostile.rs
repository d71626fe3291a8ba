//! Frames that no host sends: each ends the link with an error that says what came.

use super::scripted::{SERIAL, ScriptedHost, UNIT, attached, in_ms, soon};
use crate::guest::{CallError, Guest, LinkEnd, LinkError};
use crate::wire::{SlotPayload, flag, kind};
use onecopy_shm::{ReadError, SlotRef};
use std::sync::atomic::Ordering;
use zerocopy::IntoBytes;

const ECHO: u8 = 40;

/// What a guest that waits for an answer is told after `attack`.
fn after(attack: impl FnOnce(&mut ScriptedHost, u32)) -> LinkError {
    let (guest, mut host) = attached();
    let pending = guest.submit_with(ECHO, 0, |_| {}, soon()).unwrap();
    let request_id = host.next().0.request_id;
    attack(&mut host, request_id);
    let error = pending.wait(in_ms(5000)).unwrap_err();
    assert_ended(&guest, &mut host);
    match error {
        CallError::Link(LinkEnd::Broken(error)) => error,
        other => panic!("{other}"),
    }
}

fn assert_ended(guest: &Guest, host: &mut ScriptedHost) {
    assert!(matches!(guest.call(ECHO, b"", soon()), Err(CallError::Link(LinkEnd::Broken(_)))));
    assert!(matches!(guest.end(), Some(LinkEnd::Broken(_))));
    assert!(host.is_idle(), "nothing is sent on a broken link");
    assert!(host.socket.is_closed().unwrap(), "the host is told");
}

// r[verify guest.answer.checked]
#[test]
fn answers_to_nothing_twice_or_of_another_kind() {
    let request_id = 77 << 12;
    let error = after(|host, _| host.send(ECHO, 0, request_id, b""));
    assert_eq!(error, LinkError::UnknownRequest { request_id, kind: ECHO });
    let error = after(|host, request_id| host.send(41, 0, request_id, b""));
    assert!(matches!(error, LinkError::WrongKind { found: 41, expected: ECHO, .. }));
    let (guest, mut host) = attached();
    let pending = guest.submit_with(ECHO, 0, |_| {}, soon()).unwrap();
    let header = host.echo();
    host.send(ECHO, 0, header.request_id, b"");
    // The first answer stands; what follows it breaks the link.
    pending.wait(soon()).unwrap();
    let error = guest.call(ECHO, b"", soon()).unwrap_err();
    let request_id = header.request_id;
    let expected = [
        LinkError::UnknownRequest { request_id, kind: ECHO },
        LinkError::AnsweredTwice { request_id, kind: ECHO },
    ];
    assert!(expected.iter().any(|&expected| error == CallError::Link(expected.into())), "{error}");
}

/// What a guest that asks for the host's figures is told when these are the pieces it gets.
fn told_in(pieces: &'static [&'static [u8]]) -> (Result<String, CallError>, Guest, ScriptedHost) {
    let (guest, mut host) = attached();
    let asker = guest.clone();
    let asker = std::thread::spawn(move || asker.host_stats(soon()));
    for piece in pieces {
        let (header, _) = host.next();
        host.send(kind::STATS, 0, header.request_id, piece);
    }
    (asker.join().unwrap(), guest, host)
}

// r[verify guest.answer.checked]
#[test]
fn pieces_of_a_text_that_do_not_fit_it() {
    let whole: &[&[u8]] = &[b"\x05\0\0\0\0\0\0\0abc", b"\x05\0\0\0\0\0\0\0de"];
    assert_eq!(told_in(whole).0.unwrap(), "abcde");
    let wrong: [&[&[u8]]; 4] = [
        &[b"\x05\0\0\0\0"],
        &[b"\x05\0\0\0\0\0\0\0"],
        &[b"\x05\0\0\0\0\0\0\0abcdef"],
        &[b"\x05\0\0\0\0\0\0\0abc", b"\x02\0\0\0\0\0\0\0d"],
    ];
    for pieces in wrong {
        let (told, guest, mut host) = told_in(pieces);
        let error = told.unwrap_err();
        let is_wrong_length = matches!(
            error,
            CallError::Link(LinkEnd::Broken(LinkError::WrongLength { kind: kind::STATS, .. }))
        );
        assert!(is_wrong_length, "{error}");
        assert_ended(&guest, &mut host);
    }
}

#[test]
fn frames_of_their_own_accord() {
    for unknown in [kind::REFILL, kind::PING, 30, ECHO] {
        let error = after(|host, _| host.send(unknown, 0, 0, b""));
        assert_eq!(error, LinkError::UnknownKind { kind: unknown });
    }
}

#[test]
fn payloads_of_the_wrong_length() {
    let wrong = |error: LinkError, length| match error {
        LinkError::WrongLength { length: found, .. } => assert_eq!(found, length),
        other => panic!("{other}"),
    };
    wrong(after(|host, id| host.send(ECHO, flag::ERROR, id, &[1; 39])), 39);
    wrong(after(|host, id| host.send(ECHO, flag::ERROR, id, &[1; 200])), 200);
    wrong(after(|host, id| host.send(ECHO, flag::SLOT, id, &[1; 8])), 8);
    wrong(after(|host, _| host.send(kind::GRANTS, 0, 0, &[])), 0);
    wrong(after(|host, _| host.send(kind::GRANTS, 0, 0, &[0; 12])), 12);
}

// r[verify guest.slot.checked]
#[test]
fn slots_that_are_none() {
    let grants = |host: &mut ScriptedHost, class, slot, generation| {
        host.send_grants(kind::GRANTS, 0, class, &[SlotRef { slot, generation }]);
    };
    let error = after(|host, _| grants(host, 3, 1, 1));
    assert_eq!(error, LinkError::UnknownClass { class: 3, class_count: 3 });
    let error = after(|host, _| grants(host, u64::MAX, 1, 1));
    assert_eq!(error, LinkError::UnknownClass { class: u64::MAX, class_count: 3 });
    for slot in [0, 257, u32::MAX] {
        let error = after(|host, _| grants(host, 0, slot, 1));
        assert!(matches!(error, LinkError::NoSuchSlot { slots_ready: 256, .. }), "{error}");
    }
    let error = after(|host, _| {
        host.areas.control.set_slots_ready(256);
        let _ = host.areas.grant(256, 16 * UNIT - 64, 64);
        grants(host, 1, 256, 1);
    });
    let (slot, offset, slot_bytes, pool_bytes) = (256, 16 * UNIT - 64, 256, 16 * UNIT);
    assert_eq!(error, LinkError::SlotOutsidePool { slot, offset, slot_bytes, pool_bytes });
    for offset in [0, 4096 + 32, u64::MAX - 63, 1 << 40] {
        let error = after(|host, _| {
            let _ = host.areas.grant(5, offset, 64);
            grants(host, 0, 5, 1);
        });
        assert!(matches!(error, LinkError::SlotOutsidePool { slot: 5, .. }), "{error}");
    }
}

// r[verify guest.slot.checked]
#[test]
fn answers_in_slots_that_cannot_hold_them() {
    let send = |host: &mut ScriptedHost, id, slot_bytes, length_bytes: u64| {
        let slot = host.areas.grant(9, 4096, slot_bytes);
        let payload = SlotPayload { slot: slot.to_u64().into(), length_bytes: length_bytes.into() };
        host.send(ECHO, flag::SLOT, id, payload.as_bytes());
    };
    let error = after(|host, id| send(host, id, 256, 257));
    let beyond = LinkError::AnswerBeyondSlot { slot: 9, length_bytes: 257, slot_bytes: 256 };
    assert_eq!(error, beyond);
    let error = after(|host, id| send(host, id, 128, 1));
    assert_eq!(error, LinkError::SlotOfNoClass { slot: 9, slot_bytes: 128 });
    let error = after(|host, id| {
        let payload = SlotPayload { slot: 0.into(), length_bytes: 1.into() };
        host.send(ECHO, flag::SLOT, id, payload.as_bytes());
    });
    assert!(matches!(error, LinkError::NoSuchSlot { bits: 0, .. }), "{error}");
}

#[test]
fn bytes_that_are_no_frame() {
    let error = after(|host, _| {
        // A frame far longer than the ring allows, where the first answer belongs.
        let word = host.rings.word(super::scripted::replies_offset()).unwrap();
        word.store(0xff_ffff | u64::from(ECHO) << 24, Ordering::Release);
    });
    assert!(matches!(error, LinkError::Read(ReadError::Malformed { position: 0, .. })), "{error}");
}

#[test]
fn a_read_position_that_cannot_be() {
    let (guest, host) = attached();
    let word = host.rings.word(crate::format::RINGS_REQUEST_OFFSET).unwrap();
    word.store(u64::MAX - 7, Ordering::Release);
    let error = (0..100)
        .find_map(|_| guest.try_submit_with(ECHO, 200, |_| {}).err())
        .expect("the ring is full at some time");
    assert!(
        matches!(error, CallError::Link(LinkEnd::Broken(LinkError::Grant(_)))),
        "{error} of attach {SERIAL}"
    );
}
