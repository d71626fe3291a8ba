use super::*;

// r[verify kv.outcomes]
#[test]
fn outcomes_travel() {
    let keys = [
        KeyOutcome::NotFound,
        KeyOutcome::Done { pins: 7 },
        KeyOutcome::Busy { pins: 8 },
        KeyOutcome::NotPinned,
        KeyOutcome::PinQuota { pins_max: 9 },
        KeyOutcome::Guarded,
    ];
    for outcome in keys {
        assert_eq!(outcome.encode().decode(), Some(outcome));
    }
    assert_eq!(KeyAnswer { code: 6.into(), number: 0.into() }.decode(), None);
    let publishes = [
        PublishOutcome::Published,
        PublishOutcome::AlreadyThere { slot: 1 },
        PublishOutcome::BadSlot { slot: 2 },
        PublishOutcome::TooLong { length_bytes: 3, slot_bytes: 4 },
        PublishOutcome::LargerThanCapacity { slot_bytes: 5, capacity_bytes: 6 },
        PublishOutcome::AllPinned { pinned_blocks: 7, pinned_bytes: 8 },
        PublishOutcome::IndexFull { neighbours: 9 },
    ];
    for outcome in publishes {
        assert_eq!(outcome.encode().decode(), Some(outcome));
    }
    assert_eq!(PublishAnswer { code: 7.into(), numbers: [0.into(); 2] }.decode(), None);
}

// r[verify kv.answer_size]
#[test]
fn an_answer_is_never_longer_than_its_request() {
    for kind in kind::LOOKUP..kind::STATS {
        for count in 1..100 {
            let request = size_of::<Head>() + count * entry_bytes(kind);
            assert_eq!(answer_bytes_max(kind, request), count * answer_bytes(kind));
            assert!(answer_bytes_max(kind, request) <= request);
        }
        assert_eq!(answer_bytes_max(kind, 0), 0);
    }
    assert_eq!(answer_bytes_max(kind::STATS, 0), crate::stats::CacheStats::SIZE_BYTES);
    assert_eq!(answer_bytes_max(99, 1000), 0);
}
