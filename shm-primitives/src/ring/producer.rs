#![expect(unsafe_code, reason = "proves that a grant's bytes are its own")]
//! The writing end of a ring.

use super::edges::{COMMIT_STORE, RELEASE_LOAD, mutant};
use super::error::{CommitError, GrantError, RingError};
use super::layout::{HEADER_BYTES, frame_bytes, frame_length_max};
use super::memory::{GrantBytes, RingMemory};
use crate::crash_point;
use crate::frame::{EMPTY_WORD, FrameHeader, WRAP_WORD};
#[cfg(not(loom))]
use crate::region::Region;
use crate::sync::Ordering;

/// How far behind the next header lines are asked for, in bytes: that header's own line was written
/// by the commit, the one behind it is written by the next.
const PREFETCH_BYTES: u64 = 64;

/// The writing end of a ring: the only writer of its data.
#[derive(Debug)]
pub struct Producer {
    memory: RingMemory,
    /// Where the next header goes. Private; the word there is zero.
    write: u64,
    /// The consumer's read position when it was last looked at.
    read_seen: u64,
    /// No frame may reach beyond this position: `read_seen` and the capacity, or zero for good once
    /// the consumer was caught.
    limit: u64,
    length_max: u32,
    failed: Option<GrantError>,
}

/// Where a frame would go.
#[derive(Clone, Copy)]
struct Place {
    /// Position of its header: the write position, or the start of the ring behind it.
    start: u64,
    /// Position behind the word that will follow it.
    end: u64,
}

impl Producer {
    /// Takes the writing end of a ring over fresh, zeroed memory: rings are never reset in place.
    ///
    /// # Errors
    /// When the region is too small, not aligned, not writable, or was used before.
    #[cfg(not(loom))]
    pub fn new(region: Region, capacity_bytes: u32) -> Result<Producer, RingError> {
        Producer::over(RingMemory::new(&region, u64::from(capacity_bytes))?)
    }

    // r[impl ring.fresh]
    pub(super) fn over(memory: RingMemory) -> Result<Producer, RingError> {
        // Relaxed: whoever handed the memory over ordered it; a used ring is a mistake, not a race.
        let read_position = memory.load_read_position(Ordering::Relaxed);
        let header = memory.load_header(0, Ordering::Relaxed);
        if read_position != 0 || header != EMPTY_WORD {
            return Err(RingError::NotFresh { read_position, header });
        }
        let limit = memory.capacity_bytes();
        let length_max = frame_length_max(limit);
        Ok(Producer { memory, write: 0, read_seen: 0, limit, length_max, failed: None })
    }

    /// The longest payload this ring takes, in bytes.
    pub fn frame_length_max(&self) -> u32 {
        self.length_max
    }

    /// Room for a payload of up to `length_max` bytes in one piece, or an error at once.
    ///
    /// # Errors
    /// [`GrantError::Full`] until the consumer releases frames, [`GrantError::TooLarge`] for a payload
    /// that never fits, [`GrantError::Corrupt`] for good when the consumer's position is impossible.
    // r[impl ring.full]
    // r[impl crash.p1]
    #[inline]
    pub fn try_grant(&mut self, length_max: u32) -> Result<Grant<'_>, GrantError> {
        let place = self.place(length_max)?;
        if place.end > self.limit && !self.fits_now(place)? {
            return Err(GrantError::Full);
        }
        if mutant!("ring_grant_publishes_wrap") && place.start != self.write {
            self.memory.store_header(self.write, WRAP_WORD, COMMIT_STORE);
        }
        // SAFETY: `place` put header and payload before the end of the data. The consumer has released
        // everything up to `place.end` less the capacity and does not look behind the write position
        // before a commit, and this grant borrows the only producer: nobody else touches the bytes.
        let bytes = unsafe { self.memory.grant_bytes(place.start + HEADER_BYTES, length_max) };
        crash_point!("ring.grant.after");
        Ok(Grant { producer: self, start: place.start, length_max, bytes })
    }

    /// Whether [`Producer::try_grant`] would give this many bytes now.
    ///
    /// # Errors
    /// As for [`Producer::try_grant`], but no room is `false`.
    pub fn has_room(&mut self, length: u32) -> Result<bool, GrantError> {
        let place = self.place(length)?;
        Ok(place.end <= self.limit || self.fits_now(place)?)
    }

    /// Lets this side die after so many header stores: the test's SIGKILL.
    #[cfg(all(test, not(loom)))]
    pub(super) fn die_after(&mut self, stores: u64) {
        self.memory.stores_left.set(stores);
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn stores_left(&self) -> u64 {
        self.memory.stores_left.get()
    }

    /// Where the next header goes, for tests that ask whether a wrap happened.
    #[cfg(all(test, loom))]
    pub(super) fn position(&self) -> u64 {
        self.write
    }

    // r[impl ring.contiguous]
    // r[impl ring.too_large]
    #[inline]
    fn place(&self, length: u32) -> Result<Place, GrantError> {
        if length > self.length_max {
            return Err(GrantError::TooLarge { length, max: self.length_max });
        }
        let frame = frame_bytes(length);
        let left = self.memory.capacity_bytes() - self.memory.offset(self.write);
        let start = if frame <= left { self.write } else { self.write + left };
        // Room is counted with the word that will follow, which the commit sets to zero.
        let following = if mutant!("ring_room_without_following") { 0 } else { HEADER_BYTES };
        Ok(Place { start, end: start + frame + following })
    }

    /// Looks at the consumer's read position, which costs the transfer of its cache line.
    // r[impl ring.read_position.checked]
    // r[impl ring.hostile.consumer]
    #[cold]
    fn fits_now(&mut self, place: Place) -> Result<bool, GrantError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        // edge: ring.release
        let claimed = self.memory.load_read_position(RELEASE_LOAD);
        let (last, written) = (self.read_seen, self.write);
        if !(last..=written).contains(&claimed) || !claimed.is_multiple_of(HEADER_BYTES) {
            let corrupt = GrantError::Corrupt { claimed, last, written };
            self.failed = Some(corrupt);
            self.limit = 0;
            return Err(corrupt);
        }
        self.read_seen = claimed;
        self.limit = claimed + self.memory.capacity_bytes();
        Ok(place.end <= self.limit)
    }

    /// Publishes the frame whose payload is in place at `start`.
    // r[impl ring.commit]
    // r[impl ring.following_zero]
    // r[impl ring.death]
    // r[impl crash.p4]
    // r[impl crash.p5]
    #[inline]
    fn publish(&mut self, start: u64, length: u32, header: u64) {
        let next = start + frame_bytes(length);
        let zero_first = !mutant!("ring_following_zero_late");
        // Relaxed: ordered by the store that publishes.
        if zero_first && !mutant!("ring_following_zero_omitted") {
            self.memory.store_header(next, EMPTY_WORD, Ordering::Relaxed);
        }
        if start == self.write {
            crash_point!("ring.commit.before");
            // edge: ring.commit
            self.memory.store_header(start, header, COMMIT_STORE);
        } else {
            self.publish_wrapped(start, header);
        }
        if !zero_first {
            self.memory.store_header(next, EMPTY_WORD, Ordering::Relaxed);
        }
        crash_point!("ring.commit.after");
        self.write = next;
        self.memory.prefetch_for_write(next + PREFETCH_BYTES);
    }

    /// Publishes a frame at the start of the ring: the wrap that leads there comes last, so that one
    /// store shows both.
    // r[impl ring.wrap]
    // r[impl crash.p3]
    #[cold]
    fn publish_wrapped(&mut self, start: u64, header: u64) {
        if mutant!("ring_wrap_before_frame") {
            self.memory.store_header(self.write, WRAP_WORD, COMMIT_STORE);
            self.memory.store_header(start, header, COMMIT_STORE);
            return;
        }
        self.memory.store_header(start, header, Ordering::Relaxed);
        crash_point!("ring.wrap.before");
        // edge: ring.commit
        self.memory.store_header(self.write, WRAP_WORD, COMMIT_STORE);
    }
}

/// Room for one payload. Nobody sees it before [`Grant::commit`]; dropping it abandons it without a
/// trace.
// r[impl ring.grant.dropped]
#[must_use = "a grant that is dropped is abandoned"]
#[derive(Debug)]
pub struct Grant<'a> {
    producer: &'a mut Producer,
    start: u64,
    length_max: u32,
    bytes: GrantBytes,
}

impl Grant<'_> {
    /// The granted bytes, to be filled. What stands there is left from earlier frames.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.as_mut()
    }

    /// Makes the first `length` bytes visible to the consumer as one frame.
    ///
    /// # Errors
    /// When `length` is more than was granted, or `kind` or `request_id` cannot be told in a header
    /// (see [`FrameHeader`]); nothing becomes visible then.
    // r[impl ring.commit.shorter]
    #[inline]
    pub fn commit(
        mut self,
        length: u32,
        kind: u8,
        flags: u8,
        request_id: u32,
    ) -> Result<(), CommitError> {
        if length > self.length_max {
            return Err(CommitError::TooLong { length, granted: self.length_max });
        }
        let header = FrameHeader { length, kind, flags, request_id }.encode()?;
        self.bytes.finish();
        self.producer.publish(self.start, length, header);
        Ok(())
    }
}
