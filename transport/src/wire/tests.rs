use super::*;
use crate::format::Role;

#[test]
fn every_refusal_travels_whole() {
    let refusals = [
        Refusal::Version { host: 1, guest: 2 },
        Refusal::Full { guests: 8, guests_max: 8 },
        Refusal::NotAllowed { uid: 7, expected: 0 },
        Refusal::Leaving,
        Refusal::Malformed { field: 2, value: 9 },
        Refusal::WrongPidfd { named: 5, sender: 6 },
        Refusal::Resources { errno: 24 },
        Refusal::SerialsUsedUp { serials: 12 },
    ];
    for refusal in refusals {
        let (code, detail) = refusal.encode();
        assert_eq!(Refusal::decode(code, detail), Some(refusal));
    }
    assert_eq!(Refusal::decode(0, [0, 0]), None);
    assert_eq!(Refusal::decode(99, [0, 0]), None);
}

#[test]
fn every_request_error_travels_whole() {
    let errors = [
        RequestError::NoRoom {
            slot_bytes: 1,
            free_elsewhere_bytes: 2,
            limbo_slots: 3,
            growable_bytes: 4,
        },
        RequestError::TooLarge { size_bytes: 1, slot_bytes_max: 2 },
        RequestError::Quota { held_bytes: 1, wanted_bytes: 2, quota_bytes: 3 },
        QuotaError::Slots { held_slots: 1, slots_max: 2 }.into(),
        QuotaError::Requests { in_flight: 1, requests_max: 2 }.into(),
        RequestError::WrongRole,
        RequestError::BadSlot { slot: 1, generation: 2, length_bytes: 3 },
        RequestError::UnknownKind { kind: 200 },
        RequestError::Malformed { kind: 1, length_bytes: 2, offset: 3 },
        SettleError::UnknownPeer { serial: 1 }.into(),
        SettleError::Healthy { serial: 1 }.into(),
        SettleError::NotAllowed { uid: 1, expected: 2 }.into(),
        SettleError::HostItself { serial: 1, pid: 2 }.into(),
        SettleError::CannotKill { serial: 1, errno: 2 }.into(),
        SettleError::NotProven { serial: 1, waited_ms: 2 }.into(),
        SettleError::NoFence { serial: 1, errno: 2 }.into(),
    ];
    for error in errors {
        assert_eq!(RequestError::decode(&error.encode()), Some(error));
    }
    let unknown = ErrorWords { code: 99.into(), numbers: [0.into(); 4] };
    assert_eq!(RequestError::decode(&unknown), None);
}

// r[verify attach.hello_checked]
#[test]
fn a_hello_is_refused_with_the_field_that_is_wrong() {
    let good = Hello::new(Role::Writer, 7, 1 << 64 | 5);
    let (hello, role) = Hello::parse(good.as_bytes()).unwrap();
    assert_eq!((hello.lease_serial.get(), role), (7, Role::Writer));
    assert_eq!(hello.lease_serial_in(1 << 64 | 5), Some(7));
    assert_eq!(hello.lease_serial_in(5), None);
    assert_eq!(Hello::new(Role::Writer, 0, 5).lease_serial_in(5), None);

    let mut wrong = good;
    wrong.magic = 1.into();
    assert_eq!(
        Hello::parse(wrong.as_bytes()).unwrap_err(),
        Refusal::Malformed { field: 0, value: 1 }
    );
    let mut wrong = good;
    wrong.version = 9.into();
    assert_eq!(
        Hello::parse(wrong.as_bytes()).unwrap_err(),
        Refusal::Version { host: u64::from(PROTOCOL_VERSION), guest: 9 }
    );
    let mut wrong = good;
    wrong.role = 3.into();
    assert_eq!(
        Hello::parse(wrong.as_bytes()).unwrap_err(),
        Refusal::Malformed { field: 2, value: 3 }
    );
    for length in [0, 1, 24, 39, 41, 4096] {
        let record = vec![0u8; length];
        assert_eq!(
            Hello::parse(&record).unwrap_err(),
            Refusal::Malformed { field: hello_field::RECORD_SIZE, value: length as u64 }
        );
    }
}

// r[verify resources.full]
#[test]
fn what_a_host_ran_out_of_is_told_in_words() {
    let text = Refusal::Resources { errno: 28 }.to_string();
    assert!(text.contains("room") && text.contains("No space left on device"), "{text}");
    // Whatever number comes, it is told and no more.
    assert!(!Refusal::Resources { errno: u64::MAX }.to_string().is_empty());
}
