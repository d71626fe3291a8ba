//! The host's ends of a guest's rings, and where the rings lie in their file.

use crate::Serial;
use crate::format::{RINGS_REQUEST_OFFSET, RingsHeader, TABLE_ALIGNMENT_BYTES};
use onecopy_shm::{Consumer, Mapping, Producer, ReadWord, Region, Waker, ring_layout};
use std::error::Error;
use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Where the rings lie in `rings/<serial>`, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingsLayout {
    pub requests: u64,
    pub replies: u64,
    pub ring_bytes: u64,
    pub size_bytes: u64,
}

impl RingsLayout {
    /// The layout for rings of this capacity.
    pub fn new(capacity_bytes: u32) -> Result<RingsLayout, onecopy_shm::RingError> {
        let ring_bytes = ring_layout(capacity_bytes.into())?.size_bytes;
        let stride = ring_bytes.next_multiple_of(TABLE_ALIGNMENT_BYTES);
        let requests = RINGS_REQUEST_OFFSET;
        let replies = requests + stride;
        Ok(RingsLayout { requests, replies, ring_bytes, size_bytes: replies + stride })
    }
}

/// The host's ends of a guest's rings.
pub(super) struct Rings {
    pub requests: Consumer,
    pub replies: Producer,
    /// Tells whether the guest sleeps.
    pub waker: Waker,
    pub heartbeat: ReadWord,
    mapping: Arc<Mapping>,
}

impl Rings {
    /// The rings in a fresh, zeroed file.
    pub fn open(rings: &Region, serial: Serial, capacity: u32) -> Result<Rings, Box<dyn Error>> {
        let layout = RingsLayout::new(capacity)?;
        let word = |offset: usize| rings.word(offset as u64);
        word(offset_of!(RingsHeader, serial))?.store(serial.into(), Ordering::Relaxed);
        word(offset_of!(RingsHeader, capacity_bytes))?.store(capacity.into(), Ordering::Relaxed);
        let ring = |offset| rings.subregion(offset, layout.ring_bytes);
        let asleep = rings.read_word(offset_of!(RingsHeader, guest_asleep) as u64)?;
        Ok(Rings {
            requests: Consumer::new(ring(layout.requests)?, capacity)?,
            replies: Producer::new(ring(layout.replies)?, capacity)?,
            waker: Waker::new(asleep),
            heartbeat: rings.read_word(offset_of!(RingsHeader, guest_heartbeat) as u64)?,
            mapping: Arc::clone(rings.mapping()),
        })
    }

    /// Whether the guest has cut the file under the host, as far as has been met.
    pub fn is_torn(&self) -> bool {
        self.mapping.is_torn()
    }
}
