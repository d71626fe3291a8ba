//! Tests of the ring on heap memory.

mod behaviour;
mod death;
mod hostile;
mod model;

use super::layout::DATA_OFFSET;
use super::*;
use crate::region::Region;
use crate::{FrameHeader, Mapping};
use std::sync::atomic::Ordering;

/// Fresh memory for a ring, as a region.
fn fresh(capacity_bytes: u32) -> Region {
    let size_bytes = ring_layout(u64::from(capacity_bytes)).unwrap().size_bytes;
    Mapping::heap(size_bytes).unwrap().region(0, size_bytes).unwrap()
}

/// Both ends of a fresh ring, and the memory for meddling.
fn ring(capacity_bytes: u32) -> (Producer, Consumer, Region) {
    let region = fresh(capacity_bytes);
    let producer = Producer::new(region.clone(), capacity_bytes).unwrap();
    let consumer = Consumer::new(region.clone(), capacity_bytes).unwrap();
    (producer, consumer, region)
}

fn commit(producer: &mut Producer, payload: &[u8], request_id: u32) -> Result<(), GrantError> {
    let length = payload.len() as u32;
    let mut grant = producer.try_grant(length)?;
    grant.bytes_mut().copy_from_slice(payload);
    grant.commit(length, 1, 0, request_id).unwrap();
    Ok(())
}

fn take(consumer: &mut Consumer) -> Option<(u32, Vec<u8>)> {
    let frame = consumer.try_read().unwrap()?;
    let taken = (frame.header().request_id, frame.bytes().to_vec());
    frame.release();
    Some(taken)
}

/// Writes a data word behind the ring's back.
fn meddle(region: &Region, offset: u64, word: u64) {
    region.word(DATA_OFFSET + offset).unwrap().store(word, Ordering::Release);
}

fn read_position(region: &Region) -> u64 {
    region.word(0).unwrap().load(Ordering::Acquire)
}
