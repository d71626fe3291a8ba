//! Attaching: what the host hands out is checked before it is used.

use super::scripted::{Areas, ROW, SERIAL, Script, ScriptedHost, attached, options};
use crate::format::Role;
use crate::guest::{ATTACH_FD_VARIABLE, AreaError, AttachError, Guest, GuestOptions};
use crate::socket::{AttachSocket, ConnectError};
use crate::wire::{Refusal, Welcome};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use zerocopy::IntoBytes;

/// What a guest says to a host that does not keep to the rules.
fn refused_by_guest(areas: Areas, script: Script) -> AttachError {
    let (ours, theirs) = AttachSocket::pair().unwrap();
    let host = thread::spawn(move || ScriptedHost::welcome(Arc::new(areas), ours, &script));
    let error = Guest::claim(theirs.into_fd(), options()).unwrap_err();
    drop(host.join().unwrap());
    error
}

fn altered(alter: fn(&mut Welcome)) -> AttachError {
    refused_by_guest(Areas::new(), Script { alter, ..Script::default() })
}

// r[verify guest.claim]
#[test]
fn a_claimed_socket_makes_a_guest_of_its_own() {
    let (guest, host) = attached();
    assert_eq!((guest.serial(), guest.role()), (SERIAL, Role::Writer));
    assert_eq!(guest.geometry(), &super::scripted::geometry());
    assert_eq!(guest.segment_id(), super::scripted::SEGMENT_ID);
    assert_eq!(guest.service_region().size_bytes(), 64);
    assert_eq!(host.descriptors.len(), 2, "a pidfd and an eventfd");
    let pidfd = crate::process::Pidfd::from_fd(host.descriptors[0].try_clone().unwrap()).unwrap();
    assert_eq!(pidfd.pid().unwrap(), Some(std::process::id()));
    // The environment of this process names nothing to claim.
    let error = Guest::claim_from_environment(options()).unwrap_err();
    assert!(matches!(error, AttachError::NothingToClaim { variable: ATTACH_FD_VARIABLE, .. }));
    let (not_a_socket, _) = std::io::pipe().unwrap();
    assert!(matches!(Guest::claim(not_a_socket.into(), options()), Err(AttachError::Socket(_))));
}

// r[verify guest.attach.refused]
#[test]
fn a_refusal_is_an_error_that_says_why() {
    let refuse = |refusal: Refusal| {
        let (ours, theirs) = AttachSocket::pair().unwrap();
        ours.try_send(Welcome::refused(refusal).as_bytes(), &[]).unwrap();
        Guest::claim(theirs.into_fd(), options()).unwrap_err()
    };
    for refusal in [
        Refusal::Version { host: 9, guest: 1 },
        Refusal::Full { guests: 4, guests_max: 4 },
        Refusal::Leaving,
    ] {
        let error = refuse(refusal);
        assert!(matches!(&error, AttachError::Refused(found) if *found == refusal), "{error}");
        assert!(error.to_string().contains(&refusal.to_string()), "{error}");
    }
    assert!(matches!(
        altered(|welcome| welcome.refusal = 99.into()),
        AttachError::UnknownRefusal { code: 99 }
    ));
    let short = |bytes: &[u8]| {
        let (ours, theirs) = AttachSocket::pair().unwrap();
        ours.try_send(bytes, &[]).unwrap();
        Guest::claim(theirs.into_fd(), options()).unwrap_err()
    };
    assert!(matches!(short(b"x"), AttachError::Malformed { length: 1, .. }));
    assert!(matches!(
        altered(|welcome| welcome.magic = 1.into()),
        AttachError::Malformed { magic: 1, .. }
    ));
    assert!(matches!(
        altered(|welcome| welcome.version = 7.into()),
        AttachError::Malformed { version: 7, .. }
    ));
}

#[test]
fn no_host_and_no_answer() {
    let missing = GuestOptions { segment: "/nowhere/at/all".into(), ..options() };
    let error = Guest::attach(missing).unwrap_err();
    assert!(matches!(error, AttachError::Connect(ConnectError::NoSegment { .. })), "{error}");
    let (ours, theirs) = AttachSocket::pair().unwrap();
    let impatient = GuestOptions { attach_deadline: Duration::from_millis(20), ..options() };
    let error = Guest::claim(theirs.into_fd(), impatient).unwrap_err();
    assert!(matches!(error, AttachError::Receive(_)), "{error}");
    drop(ours);
}

// r[verify guest.attach.checked]
#[test]
fn areas_that_do_not_fit_the_welcome_are_refused() {
    let area = |error: AttachError| match error {
        AttachError::Area(error) => error,
        other => panic!("{other}"),
    };
    for descriptors in [0, 3, 4] {
        let script = Script { descriptors, ..Script::default() };
        let error = area(refused_by_guest(Areas::new(), script));
        assert!(
            matches!(error, AreaError::Descriptors { found, expected: 5 } if found == descriptors)
        );
    }
    let error = area(altered(|welcome| welcome.control_bytes = (1 << 20).into()));
    assert!(matches!(error, AreaError::ControlSize { found_bytes: 0x10_0000, .. }), "{error}");
    let error = area(altered(|welcome| welcome.control_bytes = u64::MAX.into()));
    assert!(matches!(error, AreaError::Map { area: "control", .. }), "{error}");
    let error = area(altered(|welcome| welcome.rings_bytes = (1 << 30).into()));
    assert!(matches!(error, AreaError::TooSmall { area: "rings", .. }), "{error}");
    let error = area(altered(|welcome| welcome.ring_capacity_bytes = 8192.into()));
    assert!(matches!(error, AreaError::ForeignRings { capacity_bytes: 8192, .. }), "{error}");
    let error = area(altered(|welcome| welcome.rings_bytes = 4096.into()));
    assert!(matches!(error, AreaError::Region(_)), "{error}");
    let error = area(altered(|welcome| welcome.serial = 8.into()));
    assert!(
        matches!(error, AreaError::PeerRow { row: ROW, found: Some(SERIAL), serial: 8 }),
        "{error}"
    );
    let error = area(altered(|welcome| welcome.row = 4.into()));
    assert!(matches!(error, AreaError::PeerRow { row: 4, .. }), "{error}");
    for entries in [0, 12, 1 << 20, u64::MAX] {
        let script = Script { touch_entries: entries, ..Script::default() };
        let error = area(refused_by_guest(Areas::new(), script));
        let AreaError::TouchEntries { entries: found } = error else { panic!("{error}") };
        assert_eq!(found, entries);
    }
    let script = Script { touch_entries: 1 << 16, ..Script::default() };
    let error = area(refused_by_guest(Areas::new(), script));
    assert!(matches!(error, AreaError::Region(_)), "{error}");
    let areas = Areas::new();
    areas.name_pool(5);
    let error = area(refused_by_guest(areas, Script::default()));
    assert!(matches!(error, AreaError::ForeignPool { found: 5, .. }), "{error}");
}
