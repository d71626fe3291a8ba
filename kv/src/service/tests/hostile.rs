//! A guest that sends anything.

use super::rig::{Rig, entry, frame, key};
use crate::protocol::kind;
use crate::service::{CacheServiceOptions, Capacity};
use onecopy_shm::SlotRef;
use onecopy_transport::service::Payload;
use onecopy_transport::wire::RequestError;
use proptest::collection::vec;
use proptest::prelude::*;

fn rig() -> Rig {
    let capacity = Capacity::Blocks(6);
    let mut rig = Rig::new(CacheServiceOptions { capacity, ..Default::default() });
    for number in 0..4 {
        rig.publish(1, &key(number), 64);
    }
    for _ in 0..4 {
        rig.grant(2, 64);
        rig.grant(3, 128);
    }
    rig.pin(1, &key(0));
    rig
}

fn is_typed(error: RequestError) -> bool {
    matches!(
        error,
        RequestError::Malformed { .. } | RequestError::UnknownKind { .. } | RequestError::WrongRole
    )
}

/// Any bytes; and bytes that come closer to being a request.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let any_bytes = vec(any::<u8>(), 0..200);
    let counted = (0u32..6, 0u32..3, vec(0u8..4, 0..300)).prop_map(|(count, flags, rest)| {
        [&count.to_le_bytes()[..], &flags.to_le_bytes(), &rest].concat()
    });
    let huge = (any::<u32>(), vec(any::<u8>(), 32..33))
        .prop_map(|(count, rest)| [&count.to_le_bytes()[..], &[0; 4], &rest].concat());
    let keys = vec(0u64..6, 1..5)
        .prop_map(|numbers| frame(0, &numbers.into_iter().map(key).collect::<Vec<_>>()));
    let entries = vec((0u32..12, 0u32..3, any::<u64>(), 0u64..6), 1..4).prop_map(|entries| {
        let entry = |(slot, generation, length, number)| {
            let length = if length % 2 == 0 { length } else { length % 130 };
            entry(SlotRef { slot, generation }, &key(number), length)
        };
        frame(0, &entries.into_iter().map(entry).collect::<Vec<_>>())
    });
    prop_oneof![any_bytes, counted, huge, keys, entries]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    // r[verify kv.parse]
    // r[verify kv.all_or_answers]
    #[test]
    fn any_request_gets_answers_or_a_typed_error(
        requests in vec((any::<bool>(), 32u8..=42, payload(), any::<bool>()), 1..40)
    ) {
        let mut rig = rig();
        for (writer, kind, bytes, by_slot) in requests {
            let granted = rig.pool.granted_to(2);
            let payload = if by_slot && bytes.len() % 7 == 0 {
                let slot = SlotRef { slot: 1, generation: 1 };
                Payload::Slot { slot, length_bytes: bytes.len() as u64 }
            } else {
                Payload::Inline(&bytes)
            };
            if let Err(error) = rig.request_as(2, writer, kind, payload) {
                prop_assert!(is_typed(error), "{error}");
                prop_assert_eq!(rig.pool.granted_to(2), granted);
            }
            prop_assert_eq!(rig.pool.granted_to(3).slots, 4, "another guest's slots");
            let report = rig.audit();
            prop_assert!(report.is_clean(), "{}", report);
        }
        rig.gone(2);
        rig.assert_clean();
    }
}

// r[verify kv.parse]
#[test]
fn a_payload_has_as_many_entries_as_its_head_says() {
    let mut rig = rig();
    for kind in kind::LOOKUP..kind::STATS {
        for bytes in [&[][..], &[0; 7], &[0; 8], &[1, 0, 0, 0, 0, 0, 0, 0]] {
            let error = rig.request(2, kind, bytes).unwrap_err();
            assert!(matches!(error, RequestError::Malformed { .. }), "{error}");
        }
        let mut long = frame(0, &[key(1)]);
        long.push(0);
        rig.request(2, kind, &long).unwrap_err();
    }
    let flagged = frame(2, &[key(1)]);
    let length_bytes = flagged.len() as u64;
    assert_eq!(
        rig.request(2, kind::LOOKUP, &flagged),
        Err(RequestError::Malformed { kind: kind::LOOKUP.into(), length_bytes, offset: 4 })
    );
    assert_eq!(rig.request(2, 200, &flagged), Err(RequestError::UnknownKind { kind: 200 }));
    assert!(rig.request(2, kind::STATS, &[0]).is_err());
    rig.assert_clean();
}
