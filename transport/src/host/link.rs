//! The host's ends of a guest's rings and of its touch log.

use crate::Serial;
use crate::format::RingsHeader;
use crate::layout::RingsLayout;
use crate::touch::TouchReader;
use onecopy_shm::{Consumer, Mapping, Producer, ReadWord, Region, Waker};
use std::error::Error;
use std::mem::offset_of;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The host's ends of a guest's rings.
pub(super) struct Rings {
    pub requests: Consumer,
    pub replies: Producer,
    /// Tells whether the guest sleeps.
    pub waker: Waker,
    pub heartbeat: ReadWord,
    pub touches: TouchReader,
    mapping: Arc<Mapping>,
}

impl Rings {
    /// The rings in a fresh, zeroed file.
    pub fn open(
        rings: &Region,
        serial: Serial,
        capacity: u32,
        touch_entries: u32,
    ) -> Result<Rings, Box<dyn Error>> {
        let layout = RingsLayout::new(capacity, touch_entries)?;
        let word = |offset: usize| rings.word(offset as u64);
        word(offset_of!(RingsHeader, serial))?.store(serial.into(), Ordering::Relaxed);
        word(offset_of!(RingsHeader, capacity_bytes))?.store(capacity.into(), Ordering::Relaxed);
        let entries = offset_of!(RingsHeader, touch_entries);
        word(entries)?.store(touch_entries.into(), Ordering::Relaxed);
        let ring = |offset| rings.subregion(offset, layout.ring_bytes);
        let asleep = rings.read_word(offset_of!(RingsHeader, guest_asleep) as u64)?;
        Ok(Rings {
            requests: Consumer::new(ring(layout.requests)?, capacity)?,
            replies: Producer::new(ring(layout.replies)?, capacity)?,
            waker: Waker::new(asleep),
            heartbeat: rings.read_word(offset_of!(RingsHeader, guest_heartbeat) as u64)?,
            touches: TouchReader::new(rings, layout.touches, touch_entries)?,
            mapping: Arc::clone(rings.mapping()),
        })
    }

    /// Whether the guest has cut the file under the host, as far as has been met.
    pub fn is_torn(&self) -> bool {
        self.mapping.is_torn()
    }
}
