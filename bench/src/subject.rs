//! A pair of rings between two processes, requests one way and replies the other.

use std::os::fd::OwnedFd;

use onecopy_shm::{Access, Consumer, Mapping, Producer, Region, ring_layout};

use crate::bounce::shared_memory;
use crate::error::BenchError;
use crate::payload::{check, fill};

/// Bytes of data of one ring.
const CAPACITY_BYTES: u32 = 64 * 1024;
/// Rings begin at multiples of this, so that they share no line and no pair of lines.
const RING_ALIGN_BYTES: u64 = 4096;
/// The doorbell words of the two sides, each with a line of its own.
const DOORBELLS_BYTES: u64 = 4096;
/// The kind of every frame here.
const KIND: u8 = 1;

/// The memory of the two rings and of two doorbells.
pub(crate) struct Link {
    region: Region,
    ring_bytes: u64,
}

/// Where one ring begins and the next may.
fn ring_stride() -> Result<(u64, u64), BenchError> {
    let size_bytes = ring_layout(u64::from(CAPACITY_BYTES))?.size_bytes;
    Ok((size_bytes, size_bytes.next_multiple_of(RING_ALIGN_BYTES)))
}

impl Link {
    /// Fresh memory for a link, to be handed to the partner.
    pub(crate) fn memory() -> Result<OwnedFd, BenchError> {
        let (_, stride) = ring_stride()?;
        shared_memory("link", DOORBELLS_BYTES + 2 * stride)
    }

    /// Maps a link.
    pub(crate) fn open(file: &OwnedFd) -> Result<Link, BenchError> {
        let (ring_bytes, stride) = ring_stride()?;
        let size_bytes = DOORBELLS_BYTES + 2 * stride;
        let mapping = Mapping::map(file, size_bytes, Access::ReadWrite)?;
        Ok(Link { region: mapping.region(0, size_bytes)?, ring_bytes })
    }

    /// The memory with the doorbells, at its start.
    pub(crate) fn doorbells(&self) -> Result<Region, BenchError> {
        Ok(self.region.subregion(0, DOORBELLS_BYTES)?)
    }

    /// The ends of the side that asks.
    pub(crate) fn asking(&self) -> Result<(Producer, Consumer), BenchError> {
        Ok((self.producer(0)?, self.consumer(1)?))
    }

    /// The ends of the side that answers.
    pub(crate) fn answering(&self) -> Result<(Producer, Consumer), BenchError> {
        Ok((self.producer(1)?, self.consumer(0)?))
    }

    fn producer(&self, index: u64) -> Result<Producer, BenchError> {
        Ok(Producer::new(self.ring(index)?, CAPACITY_BYTES)?)
    }

    fn consumer(&self, index: u64) -> Result<Consumer, BenchError> {
        Ok(Consumer::new(self.ring(index)?, CAPACITY_BYTES)?)
    }

    fn ring(&self, index: u64) -> Result<Region, BenchError> {
        let (_, stride) = ring_stride()?;
        Ok(self.region.subregion(DOORBELLS_BYTES + index * stride, self.ring_bytes)?)
    }
}

/// Sends one frame of `length` bytes, a multiple of eight. The ring has room: there are never more
/// frames in it than fit.
#[inline]
pub(crate) fn send(
    producer: &mut Producer,
    length: u32,
    trip: u64,
    word: impl Fn(usize) -> u64,
) -> Result<(), BenchError> {
    let mut grant = producer.try_grant(length)?;
    fill(grant.bytes_mut(), word);
    // The low 24 bits are the request id.
    Ok(grant.commit(length, KIND, 0, (trip & 0xFF_FFFF) as u32)?)
}

/// Takes one frame if there is one, and checks every byte of it.
#[inline]
pub(crate) fn take(
    consumer: &mut Consumer,
    length: u32,
    trip: u64,
    word: impl Fn(usize) -> u64,
) -> Result<Option<()>, BenchError> {
    let Some(frame) = consumer.try_read()? else { return Ok(None) };
    check(frame.bytes(), length as usize, trip, word)?;
    frame.release();
    Ok(Some(()))
}
