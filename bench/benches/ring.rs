//! What a ring costs one process: no cache line leaves its core.
#![expect(clippy::unwrap_used, reason = "a benchmark without its memory cannot run")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use onecopy_shm::{Consumer, Mapping, Producer, ring_layout};

const CAPACITY_BYTES: u32 = 64 * 1024;
const KIND: u8 = 1;
/// Payloads, in bytes: a word, what shares a line with its header, and a batch.
const LENGTHS: [u32; 3] = [8, 56, 1024];

fn ring() -> (Producer, Consumer) {
    let size_bytes = ring_layout(u64::from(CAPACITY_BYTES)).unwrap().size_bytes;
    let region = Mapping::heap(size_bytes).unwrap().region(0, size_bytes).unwrap();
    let producer = Producer::new(region.clone(), CAPACITY_BYTES).unwrap();
    (producer, Consumer::new(region, CAPACITY_BYTES).unwrap())
}

fn send(producer: &mut Producer, length: u32, value: u8) {
    let mut grant = producer.try_grant(length).unwrap();
    grant.bytes_mut().fill(value);
    grant.commit(length, KIND, 0, u32::from(value)).unwrap();
}

/// Decodes and checks one header, gives the bytes back.
fn receive(consumer: &mut Consumer) -> u32 {
    let frame = consumer.try_read().unwrap().unwrap();
    let request_id = frame.header().request_id;
    black_box(frame.bytes());
    frame.release();
    request_id
}

/// One frame from its grant to its release.
fn grant_to_release(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring/grant_to_release");
    for length in LENGTHS {
        let (mut producer, mut consumer) = ring();
        let mut value = 0_u8;
        group.throughput(Throughput::Bytes(u64::from(length)));
        group.bench_function(length.to_string(), |bencher| {
            bencher.iter(|| {
                value = value.wrapping_add(1);
                send(&mut producer, length, value);
                assert_eq!(receive(&mut consumer), u32::from(value));
            });
        });
    }
    group.finish();
}

/// Reading alone: the header's word is loaded, decoded and checked, the frame released.
fn frame_decode(criterion: &mut Criterion) {
    const BATCH: u64 = 64;
    criterion.bench_function("ring/frame_decode", |bencher| {
        let (mut producer, mut consumer) = ring();
        bencher.iter_custom(|count| {
            let mut elapsed = Duration::ZERO;
            let mut left = count;
            while left > 0 {
                let batch = left.min(BATCH);
                (0..batch).for_each(|value| send(&mut producer, 56, value as u8));
                let start = Instant::now();
                (0..batch).for_each(|value| assert_eq!(receive(&mut consumer), value as u32));
                elapsed += start.elapsed();
                left -= batch;
            }
            elapsed
        });
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    grant_to_release(&mut criterion);
    frame_decode(&mut criterion);
    criterion.final_summary();
}
