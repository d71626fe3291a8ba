//! What the other process may write, and what that may cost: an error and nothing else.

use super::*;
use crate::HeaderWordError;
use proptest::prelude::*;

const WRAP: u64 = 0xff00_0000;

fn header(length: u64, kind: u64) -> u64 {
    length | kind << 24
}

fn reason(consumer: &mut Consumer) -> MalformedReason {
    let first = consumer.try_read().unwrap_err();
    assert!(consumer.is_ready());
    assert_eq!(consumer.try_read().unwrap_err(), first);
    let ReadError::Malformed { reason, .. } = first;
    reason
}

/// A ring whose consumer has read four frames of 56 bytes: 32 bytes are left to the end.
fn near_the_end() -> (Producer, Consumer, Region) {
    let (mut producer, mut consumer, region) = ring(256);
    for id in 0..4 {
        commit(&mut producer, &[0; 48], id).unwrap();
        take(&mut consumer).unwrap();
    }
    assert!(take(&mut consumer).is_none());
    (producer, consumer, region)
}

// r[verify ring.frame.checked]
#[test]
fn headers_that_are_no_frame_end_the_link() {
    let cases = [
        (header(8, 0), MalformedReason::Word(HeaderWordError::ZeroKind)),
        (WRAP | 1, MalformedReason::Word(HeaderWordError::WrapWithFields)),
        (WRAP | 1 << 40, MalformedReason::Word(HeaderWordError::WrapWithFields)),
        (header(57, 1), MalformedReason::TooLong { length: 57, max: 56 }),
        (header(0xff_ffff, 1), MalformedReason::TooLong { length: 0xff_ffff, max: 56 }),
        (WRAP, MalformedReason::EarlyWrap { left_bytes: 256 }),
    ];
    for (word, expected) in cases {
        let (_producer, mut consumer, region) = ring(256);
        meddle(&region, 0, word);
        assert_eq!(reason(&mut consumer), expected, "{word:#x}");
    }
    let (_producer, mut consumer, region) = near_the_end();
    meddle(&region, 224, header(25, 1));
    let expected = MalformedReason::PastEnd { frame_bytes: 40, left_bytes: 32 };
    assert_eq!(reason(&mut consumer), expected);
}

// r[verify ring.wrap.checked]
#[test]
fn a_wrap_leads_to_a_frame_or_to_an_error() {
    let cases = [
        (0, MalformedReason::WrapWithoutFrame),
        (WRAP, MalformedReason::WrapTwice),
        (5, MalformedReason::Word(HeaderWordError::ZeroKind)),
        (header(57, 1), MalformedReason::TooLong { length: 57, max: 56 }),
    ];
    for (word, expected) in cases {
        let (_producer, mut consumer, region) = near_the_end();
        meddle(&region, 0, word);
        meddle(&region, 224, WRAP);
        assert_eq!(reason(&mut consumer), expected, "{word:#x}");
    }
}

// r[verify ring.malformed.sticky]
#[test]
fn a_malformed_frame_never_heals() {
    let (_producer, mut consumer, region) = ring(256);
    meddle(&region, 0, header(99, 1));
    let first = consumer.try_read().unwrap_err();
    for word in [0, header(8, 1), WRAP, u64::MAX] {
        meddle(&region, 0, word);
        assert!(consumer.is_ready());
        assert_eq!(consumer.try_read().unwrap_err(), first);
    }
    assert!(first.to_string().contains("99 bytes, at most 56"), "{first}");
}

// r[verify ring.read_position.checked]
#[test]
fn an_impossible_read_position_ends_the_link() {
    for claimed in [1, 4, 65, 256, u64::MAX, u64::MAX - 7, 1 << 63] {
        let (mut producer, _consumer, region) = ring(256);
        while commit(&mut producer, &[0; 24], 0).is_ok() {}
        region.word(0).unwrap().store(claimed, Ordering::Release);
        let expected = GrantError::Corrupt { claimed, last: 0, written: 224 };
        assert_eq!(producer.try_grant(24).unwrap_err(), expected);
        region.word(0).unwrap().store(224, Ordering::Release);
        assert_eq!(producer.try_grant(0).unwrap_err(), expected, "it never heals");
        assert_eq!(producer.has_room(8).unwrap_err(), expected);
    }
    let (mut producer, mut consumer, region) = ring(256);
    while commit(&mut producer, &[0; 24], 0).is_ok() {}
    while take(&mut consumer).is_some() {}
    while commit(&mut producer, &[0; 24], 0).is_ok() {}
    region.word(0).unwrap().store(216, Ordering::Release);
    let error = producer.try_grant(24).unwrap_err();
    assert!(matches!(error, GrantError::Corrupt { claimed: 216, last: 224, .. }), "{error}");
}

/// Whether the bytes lie inside the data, behind a header. No bytes lie anywhere: those of an empty
/// frame in the last word of the data would begin at its end.
fn is_payload(region: &Region, bytes: &[u8]) -> bool {
    let start = bytes.as_ptr() as usize - region.address() as usize;
    bytes.is_empty() || (start >= 136 && start + bytes.len() <= 128 + 256)
}

fn any_word() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        Just(0),
        Just(WRAP),
        (0u64..70, 0u64..4).prop_map(|(length, kind)| header(length, kind)),
        (0u64..8).prop_map(|count| count * 8),
    ]
}

proptest! {
    // r[verify ring.hostile.producer]
    #[test]
    fn any_bytes_in_the_data_are_frames_or_an_error(
        words in proptest::collection::vec(any_word(), 32),
        changes in proptest::collection::vec((0u64..32, any_word()), 0..20),
    ) {
        let (_producer, mut consumer, region) = ring(256);
        for (count, word) in words.iter().enumerate() {
            meddle(&region, count as u64 * 8, *word);
        }
        let mut changes = changes.into_iter();
        let mut copy = Vec::new();
        let mut failed = None;
        for _ in 0..200 {
            let ready = consumer.is_ready();
            match consumer.try_read() {
                Ok(Some(frame)) => {
                    prop_assert!(ready);
                    prop_assert!(frame.header().length <= 56 && frame.header().kind != 0);
                    prop_assert!(is_payload(&region, frame.bytes()));
                    frame.copy_to(&mut copy);
                    prop_assert_eq!(copy.len(), frame.header().length as usize);
                    if let Some((place, word)) = changes.next() {
                        meddle(&region, place * 8, word);
                    }
                }
                Ok(None) => prop_assert!(!ready && failed.is_none()),
                Err(error) => {
                    prop_assert!(ready);
                    prop_assert_eq!(*failed.get_or_insert(error), error);
                }
            }
        }
    }

    // r[verify ring.hostile.consumer]
    #[test]
    fn any_read_position_is_room_or_an_error(
        claims in proptest::collection::vec((0u32..57, prop_oneof![any::<u64>(), (0u64..200).prop_map(|n| n * 8)]), 1..60),
    ) {
        let (mut producer, _consumer, region) = ring(256);
        let mut failed = None;
        for (length, claimed) in claims {
            region.word(0).unwrap().store(claimed, Ordering::Release);
            match producer.try_grant(length) {
                Ok(mut grant) => {
                    prop_assert_eq!(failed, None);
                    prop_assert_eq!(grant.bytes_mut().len(), length as usize);
                    prop_assert!(is_payload(&region, grant.bytes_mut()));
                    grant.bytes_mut().fill(0xff);
                    grant.commit(length, 1, 0, 0).unwrap();
                }
                Err(GrantError::Full) => prop_assert_eq!(failed, None),
                Err(error) => {
                    prop_assert_eq!(*failed.get_or_insert(error), error);
                }
            }
        }
    }
}
