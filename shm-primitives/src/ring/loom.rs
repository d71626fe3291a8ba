//! Models of the ring: the shipped source over loom's memory, payload bytes included. Eight words of
//! data, so that wraps and full rings happen.

use super::memory::RingMemory;
use super::{Consumer, GrantError, Producer};
use crate::frame::FrameHeader;
use crate::sync::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const CAPACITY_BYTES: u64 = 64;

/// How often something happened, over all orders that were tried.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicU64>);

impl Counter {
    fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn happened(&self) -> bool {
        self.0.load(Relaxed) > 0
    }
}

fn ring() -> (Producer, Consumer) {
    let memory = RingMemory::model(CAPACITY_BYTES).unwrap();
    (Producer::over(memory.clone()).unwrap(), Consumer::over(memory).unwrap())
}

/// A payload word that would pass for a header, so that meeting it where a header belongs is noticed
/// as a frame that was never committed.
fn payload_word(id: u32) -> [u8; 8] {
    FrameHeader { length: 0, kind: 200, flags: 0, request_id: id }.encode().unwrap().to_ne_bytes()
}

/// Commits one frame as soon as there is room.
fn commit(producer: &mut Producer, id: u32, length: u32, full: &Counter) {
    loop {
        match producer.try_grant(length) {
            Ok(mut grant) => {
                grant.bytes_mut().copy_from_slice(&payload_word(id)[..length as usize]);
                grant.commit(length, 1, 7, id).unwrap();
                return;
            }
            Err(GrantError::Full) => {
                full.count();
                thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Reads one frame if there is one and compares all of it.
fn read(consumer: &mut Consumer, id: u32, length: u32) -> bool {
    let Some(frame) = consumer.try_read().unwrap() else {
        return false;
    };
    let header = frame.header();
    assert_eq!(header, FrameHeader { length, kind: 1, flags: 7, request_id: id });
    assert_eq!(frame.bytes(), &payload_word(id)[..length as usize]);
    true
}

fn read_all(consumer: &mut Consumer, lengths: &[u32]) {
    for (id, length) in lengths.iter().enumerate() {
        while !read(consumer, id as u32, *length) {
            thread::yield_now();
        }
    }
    assert!(consumer.try_read().unwrap().is_none());
}

fn model(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}

/// The frames of `lengths` through the ring, one thread at each end.
fn all_arrive(lengths: &'static [u32], preemptions: usize) -> (Counter, Counter) {
    let (full, wrapped) = (Counter::default(), Counter::default());
    let counters = (full.clone(), wrapped.clone());
    model(preemptions, move || {
        let (mut producer, mut consumer) = ring();
        let (full, wrapped) = (full.clone(), wrapped.clone());
        let writer = thread::spawn(move || {
            for (id, length) in lengths.iter().enumerate() {
                commit(&mut producer, id as u32, *length, &full);
            }
            let strides: u64 = lengths.iter().map(|length| 8 + u64::from(*length)).sum();
            if producer.position() > strides {
                wrapped.count();
            }
        });
        read_all(&mut consumer, lengths);
        writer.join().unwrap();
    });
    counters
}

// The fourth 16-byte frame finds the ring full; the last two wrap, and behind the last one the next
// header belongs where the second frame's payload was.
#[test]
fn frames_arrive_in_order_each_once_over_a_wrap_and_a_full_ring() {
    let (full, wrapped) = all_arrive(&[8, 8, 8, 0, 8, 0], 2);
    assert!(full.happened() && wrapped.happened());
}

// The fifth frame is as small as can be: the zero that follows it goes to the last word of the first
// frame's payload, the closest that the producer may come to a reader.
#[test]
fn released_bytes_are_reused_only_after_the_reader_is_through() {
    let (full, _) = all_arrive(&[8, 8, 8, 8, 0, 8], 3);
    assert!(full.happened());
}

#[test]
fn a_wrap_is_seen_with_its_frame() {
    let wrapped = Counter::default();
    let count = wrapped.clone();
    model(4, move || {
        let (mut producer, mut consumer) = ring();
        let never = Counter::default();
        // Up to the last word, in one thread: the start of the data holds old frames.
        for (id, length) in [8, 8, 8, 0].into_iter().enumerate() {
            commit(&mut producer, id as u32, length, &never);
            assert!(read(&mut consumer, id as u32, length));
        }
        assert!(consumer.try_read().unwrap().is_none());
        let writer = thread::spawn(move || {
            commit(&mut producer, 4, 8, &never);
            commit(&mut producer, 5, 0, &never);
            producer.position()
        });
        for (id, length) in [(4, 8), (5, 0)] {
            while !read(&mut consumer, id, length) {
                thread::yield_now();
            }
        }
        if writer.join().unwrap() == 64 + 16 + 8 {
            wrapped.count();
        }
        assert!(consumer.try_read().unwrap().is_none());
    });
    assert!(count.happened());
}

#[test]
fn a_dropped_grant_shows_nothing() {
    model(4, || {
        let (mut producer, mut consumer) = ring();
        let never = Counter::default();
        for (id, length) in [8, 8, 8, 0].into_iter().enumerate() {
            commit(&mut producer, id as u32, length, &never);
            assert!(read(&mut consumer, id as u32, length));
        }
        assert!(consumer.try_read().unwrap().is_none());
        let writer = thread::spawn(move || {
            // This one would wrap.
            let mut grant = producer.try_grant(8).unwrap();
            grant.bytes_mut().copy_from_slice(&payload_word(666));
            drop(grant);
            // This one does not.
            commit(&mut producer, 4, 0, &never);
        });
        while !read(&mut consumer, 4, 0) {
            thread::yield_now();
        }
        writer.join().unwrap();
        assert!(consumer.try_read().unwrap().is_none());
    });
}

#[test]
fn a_shorter_commit_is_followed_by_a_zero_of_its_own() {
    model(4, || {
        let (mut producer, mut consumer) = ring();
        let never = Counter::default();
        // Once around, so that every word holds something.
        for (id, length) in [8, 8, 8, 8].into_iter().enumerate() {
            commit(&mut producer, id as u32, length, &never);
            assert!(read(&mut consumer, id as u32, length));
        }
        assert!(consumer.try_read().unwrap().is_none());
        let writer = thread::spawn(move || {
            let mut grant = producer.try_grant(8).unwrap();
            grant.bytes_mut().copy_from_slice(&payload_word(666));
            grant.commit(0, 1, 7, 4).unwrap();
        });
        while !read(&mut consumer, 4, 0) {
            thread::yield_now();
        }
        assert!(consumer.try_read().unwrap().is_none());
        writer.join().unwrap();
        assert!(consumer.try_read().unwrap().is_none());
    });
}

#[test]
fn what_is_ready_can_be_read() {
    let full = Counter::default();
    let count = full.clone();
    model(3, move || {
        let (mut producer, mut consumer) = ring();
        for id in 0..3 {
            commit(&mut producer, id, 8, &Counter::default());
        }
        let full = full.clone();
        let writer = thread::spawn(move || {
            commit(&mut producer, 3, 8, &full);
        });
        for id in 0..4 {
            while !consumer.is_ready() {
                thread::yield_now();
            }
            assert!(read(&mut consumer, id, 8));
        }
        assert!(!consumer.is_ready());
        writer.join().unwrap();
    });
    assert!(count.happened());
}
