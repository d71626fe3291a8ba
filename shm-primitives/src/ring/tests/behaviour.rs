use super::*;
use crate::FrameFieldError;

// r[verify ring.layout]
#[test]
fn the_layout_is_what_the_spec_draws() {
    let layout = ring_layout(4096).unwrap();
    assert_eq!((layout.read_position_offset, layout.data_offset), (0, 128));
    assert_eq!((layout.capacity_bytes, layout.size_bytes), (4096, 4224));
    let (mut producer, mut consumer, region) = ring(4096);
    commit(&mut producer, b"12345678", 0x77).unwrap();
    assert_eq!(region.word(128).unwrap().load(Ordering::Relaxed), 0x77 << 40 | 1 << 24 | 8);
    assert_eq!(region.word(136).unwrap().load(Ordering::Relaxed), u64::from_ne_bytes(*b"12345678"));
    assert!(take(&mut consumer).is_some());
    assert!(!consumer.is_ready());
    assert_eq!(region.word(0).unwrap().load(Ordering::Relaxed), 16);
}

// r[verify ring.capacity]
#[test]
fn capacities_that_are_no_power_of_two_are_refused() {
    for capacity in [0, 1, 8, 32, 65, 96, 4095, u32::MAX] {
        let error = Producer::new(fresh(4096), capacity).unwrap_err();
        assert!(matches!(error, RingError::Capacity { .. }), "{capacity}: {error}");
    }
    assert!(matches!(Consumer::new(fresh(4096), 8192), Err(RingError::Region(_))));
    let (producer, consumer, _) = ring(4096);
    assert_eq!(producer.frame_length_max(), 1016);
    assert_eq!(consumer.frame_length_max(), 1016);
}

// r[verify ring.fresh]
#[test]
fn a_used_ring_is_refused() {
    let (mut producer, mut consumer, region) = ring(256);
    commit(&mut producer, b"x", 1).unwrap();
    let error = Producer::new(region.clone(), 256).unwrap_err();
    assert!(matches!(error, RingError::NotFresh { read_position: 0, .. }), "{error}");
    take(&mut consumer).unwrap();
    assert!(take(&mut consumer).is_none());
    let error = Consumer::new(region, 256).unwrap_err();
    assert!(matches!(error, RingError::NotFresh { read_position: 16, .. }), "{error}");
}

// r[verify ring.commit]
#[test]
fn frames_arrive_once_in_order_with_header_and_payload() {
    let (mut producer, mut consumer, _) = ring(1024);
    assert!(!consumer.is_ready());
    for id in 0..3 {
        let mut grant = producer.try_grant(5).unwrap();
        grant.bytes_mut().copy_from_slice(&[id as u8; 5]);
        grant.commit(5, 7, 0xa5, id).unwrap();
    }
    for id in 0..3 {
        assert!(consumer.is_ready());
        let frame = consumer.try_read().unwrap().unwrap();
        let header = frame.header();
        assert_eq!((header.length, header.kind, header.flags), (5, 7, 0xa5));
        assert_eq!(header.request_id, id);
        assert_eq!(frame.bytes(), [id as u8; 5]);
    }
    assert!(consumer.try_read().unwrap().is_none());
}

// r[verify ring.grant.dropped]
#[test]
fn a_dropped_grant_leaves_no_trace() {
    let (mut producer, mut consumer, region) = ring(256);
    commit(&mut producer, &[1; 40], 1).unwrap();
    let before = region.word(DATA_OFFSET + 48).unwrap().load(Ordering::Relaxed);
    for _ in 0..100 {
        let mut grant = producer.try_grant(40).unwrap();
        grant.bytes_mut().fill(0xff);
        drop(grant);
    }
    assert_eq!(region.word(DATA_OFFSET + 48).unwrap().load(Ordering::Relaxed), before);
    assert_eq!(take(&mut consumer).unwrap().0, 1);
    assert!(take(&mut consumer).is_none());
    commit(&mut producer, &[2; 8], 2).unwrap();
    assert_eq!(take(&mut consumer).unwrap(), (2, vec![2; 8]));
    assert!(take(&mut consumer).is_none());
}

// r[verify ring.commit.shorter]
#[test]
fn a_commit_takes_no_more_than_it_fills() {
    let (mut producer, mut consumer, _) = ring(256);
    let mut grant = producer.try_grant(50).unwrap();
    assert_eq!(grant.bytes_mut().len(), 50);
    grant.bytes_mut()[..3].copy_from_slice(b"abc");
    grant.commit(3, 1, 0, 9).unwrap();
    assert_eq!(take(&mut consumer).unwrap(), (9, b"abc".to_vec()));

    let grant = producer.try_grant(50).unwrap();
    assert_eq!(grant.commit(51, 1, 0, 9), Err(CommitError::TooLong { length: 51, granted: 50 }));
    let grant = producer.try_grant(50).unwrap();
    let reserved = FrameFieldError::ReservedKind { kind: 0 };
    assert_eq!(grant.commit(1, 0, 0, 9), Err(CommitError::Field(reserved)));
    assert!(take(&mut consumer).is_none());
}

// r[verify ring.contiguous]
#[test]
fn frames_are_never_split() {
    let (mut producer, mut consumer, region) = ring(256);
    let base = region.address() as usize;
    for round in 0..200u32 {
        let length = 1 + round % 56;
        let mut grant = producer.try_grant(length).unwrap();
        let offset = grant.bytes_mut().as_ptr() as usize - base - 128;
        assert!(offset + length as usize <= 256 && offset.is_multiple_of(8));
        grant.bytes_mut().fill(round as u8);
        grant.commit(length, 1, 0, round).unwrap();
        assert_eq!(take(&mut consumer).unwrap(), (round, vec![round as u8; length as usize]));
        assert!(take(&mut consumer).is_none());
    }
}

#[test]
fn an_empty_frame_takes_the_last_word_of_the_data() {
    let (mut producer, mut consumer, region) = ring(256);
    for id in 0..4 {
        commit(&mut producer, &[0; 48], id).unwrap();
        take(&mut consumer).unwrap();
    }
    commit(&mut producer, &[0; 16], 4).unwrap();
    commit(&mut producer, &[], 5).unwrap();
    assert_eq!(region.word(DATA_OFFSET + 248).unwrap().load(Ordering::Relaxed), 5 << 40 | 1 << 24);
    take(&mut consumer).unwrap();
    let frame = consumer.try_read().unwrap().unwrap();
    assert!(frame.bytes().is_empty());
    assert_eq!(frame.word(0), None);
    frame.release();
    commit(&mut producer, &[6; 8], 6).unwrap();
    assert_eq!(take(&mut consumer).unwrap(), (6, vec![6; 8]));
    assert!(take(&mut consumer).is_none());
}

// r[verify ring.following_zero]
#[test]
fn old_bytes_are_never_met_where_a_header_belongs() {
    let (mut producer, mut consumer, _) = ring(256);
    for round in 0..1000u32 {
        // Payload words that would all pass for headers.
        let length = 8 * (round * 7 % 8);
        let stale = FrameHeader { length: 8, kind: 3, flags: 0, request_id: 666 }.encode().unwrap();
        let payload: Vec<u8> = stale.to_ne_bytes().repeat(length as usize / 8);
        commit(&mut producer, &payload, round).unwrap();
        assert_eq!(take(&mut consumer).unwrap(), (round, payload));
        assert!(!consumer.is_ready(), "round {round}");
        assert!(take(&mut consumer).is_none());
    }
}

// r[verify ring.full]
#[test]
fn a_full_ring_says_so_and_goes_on_after_release() {
    let (mut producer, mut consumer, _) = ring(256);
    let mut committed = 0;
    while producer.has_room(24).unwrap() {
        commit(&mut producer, &[committed as u8; 24], committed).unwrap();
        committed += 1;
    }
    // Eight frames of 32 bytes would leave no room for the word behind the last.
    assert_eq!(committed, 7);
    assert_eq!(producer.try_grant(24).unwrap_err(), GrantError::Full);
    for id in 0..committed {
        assert_eq!(take(&mut consumer).unwrap(), (id, vec![id as u8; 24]));
    }
    assert!(take(&mut consumer).is_none());
    commit(&mut producer, &[9; 56], 9).unwrap();
    assert_eq!(take(&mut consumer).unwrap(), (9, vec![9; 56]));
}

// r[verify ring.too_large]
#[test]
fn a_payload_that_never_fits_is_told_apart_from_full() {
    let (mut producer, _, _) = ring(256);
    assert_eq!(producer.frame_length_max(), 56);
    assert_eq!(producer.try_grant(57).unwrap_err(), GrantError::TooLarge { length: 57, max: 56 });
    assert!(producer.has_room(56).unwrap());
    assert!(producer.has_room(57).is_err());
}

// r[verify ring.read_position.published]
// r[verify ring.read_position.quarter]
#[test]
fn the_read_position_is_told_when_empty_and_every_quarter() {
    let (mut producer, mut consumer, region) = ring(256);
    for id in 0..6 {
        commit(&mut producer, &[0; 24], id).unwrap();
    }
    take(&mut consumer).unwrap();
    assert_eq!(read_position(&region), 0, "one frame is less than a quarter");
    take(&mut consumer).unwrap();
    assert_eq!(read_position(&region), 64, "a quarter");
    for _ in 0..3 {
        take(&mut consumer).unwrap();
    }
    assert_eq!(read_position(&region), 128);
    take(&mut consumer).unwrap();
    assert_eq!(read_position(&region), 192);
    commit(&mut producer, &[0; 24], 6).unwrap();
    take(&mut consumer).unwrap();
    assert_eq!(read_position(&region), 192);
    assert!(!consumer.is_ready());
    assert_eq!(read_position(&region), 224, "empty");
}

// r[verify ring.wrap]
#[test]
fn a_wrap_and_its_frame_become_visible_together() {
    let (mut producer, mut consumer, region) = ring(256);
    for id in 0..4 {
        commit(&mut producer, &[0; 48], id).unwrap();
        take(&mut consumer).unwrap();
    }
    assert!(take(&mut consumer).is_none());
    let mut grant = producer.try_grant(48).unwrap();
    grant.bytes_mut().fill(5);
    assert!(!consumer.is_ready(), "a grant alone shows nothing");
    let grant = producer.try_grant(48).unwrap();
    grant.commit(48, 1, 0, 5).unwrap();
    assert_eq!(region.word(DATA_OFFSET + 224).unwrap().load(Ordering::Relaxed), 0xff00_0000);
    assert_eq!(take(&mut consumer).unwrap(), (5, vec![5; 48]));
    assert!(take(&mut consumer).is_none());
    assert_eq!(read_position(&region), 256 + 56);
}

// r[verify ring.frame.copied]
#[test]
fn copies_take_each_word_once_and_stop_at_the_end() {
    let (mut producer, mut consumer, _) = ring(256);
    commit(&mut producer, &[0xee; 56], 0).unwrap();
    take(&mut consumer).unwrap();
    for length in 0..=20usize {
        let payload: Vec<u8> = (1..=length as u8).collect();
        commit(&mut producer, &payload, 1).unwrap();
        let frame = consumer.try_read().unwrap().unwrap();
        let mut copy = vec![7; 3];
        frame.copy_to(&mut copy);
        assert_eq!(copy, payload);
        let mut part = [0; 11];
        assert_eq!(frame.copy_into(&mut part), length.min(11));
        assert_eq!(part[..length.min(11)], payload[..length.min(11)]);
        for offset in 0..32 {
            let expected = (offset < length && offset % 8 == 0).then(|| {
                let mut bytes = [0; 8];
                let count = (length - offset).min(8);
                bytes[..count].copy_from_slice(&payload[offset..offset + count]);
                u64::from_ne_bytes(bytes)
            });
            assert_eq!(frame.word(offset), expected, "length {length} offset {offset}");
        }
        frame.release();
        assert!(take(&mut consumer).is_none());
    }
}

#[test]
fn both_ends_may_move_to_other_threads() {
    let (mut producer, mut consumer, _) = ring(256);
    let frames = 20_000u32;
    let writer = std::thread::spawn(move || {
        for id in 0..frames {
            let payload = vec![id as u8; id as usize % 57];
            while commit(&mut producer, &payload, id).is_err() {
                std::thread::yield_now();
            }
        }
    });
    let mut expected = 0;
    while expected < frames {
        match take(&mut consumer) {
            Some((id, payload)) => {
                assert_eq!(id, expected);
                assert_eq!(payload, vec![id as u8; id as usize % 57]);
                expected += 1;
            }
            None => std::thread::yield_now(),
        }
    }
    writer.join().unwrap();
}
