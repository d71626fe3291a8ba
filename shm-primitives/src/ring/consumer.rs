#![expect(unsafe_code, reason = "proves that a frame's bytes stay put")]
//! The reading end of a ring.

use super::edges::{COMMIT_LOAD, RELEASE_STORE, mutant};
use super::error::{MalformedReason, ReadError, RingError};
use super::layout::{HEADER_BYTES, frame_bytes, frame_length_max};
use super::memory::{FrameBytes, RingMemory};
use crate::crash_point;
use crate::frame::{EMPTY_WORD, FrameHeader, HeaderWord};
#[cfg(not(loom))]
use crate::region::Region;
use crate::sync::Ordering;

/// The reading end of a ring. It writes the read position and nothing else.
#[derive(Debug)]
pub struct Consumer {
    memory: RingMemory,
    /// Where the next header is. Private; shared memory is never asked for it.
    read: u64,
    /// What the producer was last told.
    published: u64,
    /// How much may be released before the producer is told, in bytes.
    publish_every: u64,
    length_max: u32,
    /// The longest frame, header included; zero for good once the producer was caught.
    frame_bytes_max: u64,
    failed: Option<ReadError>,
}

/// A frame that passed every check.
#[derive(Clone, Copy)]
struct Found {
    start: u64,
    header: FrameHeader,
}

impl Consumer {
    /// Takes the reading end of a ring that nobody has read from.
    ///
    /// # Errors
    /// When the region is too small, not aligned, not writable, or was read from before.
    #[cfg(not(loom))]
    pub fn new(region: Region, capacity_bytes: u32) -> Result<Consumer, RingError> {
        Consumer::over(RingMemory::new(&region, u64::from(capacity_bytes))?)
    }

    // r[impl ring.fresh]
    pub(super) fn over(memory: RingMemory) -> Result<Consumer, RingError> {
        // Relaxed: the word is this side's own. The producer may have begun already.
        let read_position = memory.load_read_position(Ordering::Relaxed);
        if read_position != 0 {
            let header = memory.load_header(0, Ordering::Relaxed);
            return Err(RingError::NotFresh { read_position, header });
        }
        let capacity = memory.capacity_bytes();
        let length_max = frame_length_max(capacity);
        let publish_every = capacity / 4;
        let frame_bytes_max = frame_bytes(length_max);
        let (read, published, failed) = (0, 0, None);
        Ok(Consumer { memory, read, published, publish_every, length_max, frame_bytes_max, failed })
    }

    /// The longest payload this ring takes, in bytes.
    pub fn frame_length_max(&self) -> u32 {
        self.length_max
    }

    /// The next frame, or `None` when there is none yet.
    ///
    /// # Errors
    /// [`ReadError::Malformed`], for good, when what stands there is no frame: it never reads as
    /// empty.
    // r[impl ring.order]
    // r[impl crash.c1]
    #[inline]
    pub fn try_read(&mut self) -> Result<Option<Frame<'_>>, ReadError> {
        // edge: ring.commit
        let word = self.memory.load_header(self.read, COMMIT_LOAD);
        let found = match HeaderWord::frame(word) {
            Some(header) if self.is_whole(header) => Found { start: self.read, header },
            _ if word == EMPTY_WORD && !self.has_failed() => {
                self.read_empty();
                return Ok(None);
            }
            _ => self.find(word)?,
        };
        Ok(Some(self.frame(found)))
    }

    /// Whether [`Consumer::try_read`] has something to say: a frame or an error. One load of the next
    /// header word. Reading empty tells the producer what was released.
    #[inline]
    pub fn is_ready(&mut self) -> bool {
        // Relaxed: `try_read` loads it again before anything is read.
        let ready = self.memory.load_header(self.read, Ordering::Relaxed) != EMPTY_WORD;
        if !ready {
            self.read_empty();
        }
        ready || self.has_failed()
    }

    #[inline]
    fn has_failed(&self) -> bool {
        self.frame_bytes_max == 0
    }

    // r[impl ring.read_position.published]
    #[inline]
    fn read_empty(&mut self) {
        if self.published != self.read {
            self.publish();
        }
    }

    // r[impl crash.c3]
    #[inline]
    fn publish(&mut self) {
        // edge: ring.release
        self.memory.store_read_position(self.read, RELEASE_STORE);
        crash_point!("ring.release.after");
        self.published = self.read;
    }

    /// Whether a frame that begins at the read position is within the limit and the data. No frame is
    /// after a failure.
    // r[impl ring.frame.checked]
    // r[impl ring.malformed.sticky]
    #[inline]
    fn is_whole(&self, header: FrameHeader) -> bool {
        let left_bytes = self.memory.capacity_bytes() - self.memory.offset(self.read);
        frame_bytes(header.length) <= left_bytes.min(self.frame_bytes_max)
    }

    #[inline]
    fn frame(&mut self, found: Found) -> Frame<'_> {
        let Found { start, header } = found;
        crash_point!("ring.read.loaded");
        let next = start + frame_bytes(header.length);
        if mutant!("ring_release_before_read") {
            self.memory.store_read_position(next, RELEASE_STORE);
        }
        // SAFETY: `is_whole` or `check_frame` found header and payload, rounded up to words, before the
        // end of the data. The producer does not write them before it learns of a release, and the
        // frame, which borrows the only consumer, releases at its end.
        let bytes = unsafe { self.memory.frame_bytes(start + HEADER_BYTES, header.length) };
        Frame { consumer: self, next, header, bytes }
    }

    /// What a word means that is no frame at the read position: a frame behind a wrap, or an error.
    // r[impl ring.hostile.producer]
    #[cold]
    fn find(&mut self, word: u64) -> Result<Found, ReadError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let start = self.read;
        let found = match HeaderWord::decode(word) {
            Ok(HeaderWord::Frame(header)) => self.check_frame(start, header),
            other => return self.find_behind_wrap(word, other.map_err(MalformedReason::Word)),
        };
        found.map_err(|reason| self.fail(start, word, reason))
    }

    /// A wrap leads to a frame at the start of the ring, which was published with it.
    // r[impl ring.wrap.checked]
    fn find_behind_wrap(
        &mut self,
        word: u64,
        meaning: Result<HeaderWord, MalformedReason>,
    ) -> Result<Found, ReadError> {
        let left_bytes = self.memory.capacity_bytes() - self.memory.offset(self.read);
        if let Err(reason) = meaning {
            return Err(self.fail(self.read, word, reason));
        }
        if left_bytes >= self.memory.capacity_bytes() / 4 {
            return Err(self.fail(self.read, word, MalformedReason::EarlyWrap { left_bytes }));
        }
        let start = self.read + left_bytes;
        // Relaxed: the wrap was loaded with the edge, and stored after this header.
        let word = self.memory.load_header(start, Ordering::Relaxed);
        let found = match HeaderWord::decode(word) {
            Ok(HeaderWord::Frame(header)) => self.check_frame(start, header),
            Ok(HeaderWord::Wrap) => Err(MalformedReason::WrapTwice),
            Ok(HeaderWord::Empty) => Err(MalformedReason::WrapWithoutFrame),
            Err(reason) => Err(MalformedReason::Word(reason)),
        };
        found.map_err(|reason| self.fail(start, word, reason))
    }

    fn check_frame(&self, start: u64, header: FrameHeader) -> Result<Found, MalformedReason> {
        let (length, max) = (header.length, self.length_max);
        if length > max {
            return Err(MalformedReason::TooLong { length, max });
        }
        let frame_bytes = frame_bytes(length);
        let left_bytes = self.memory.capacity_bytes() - self.memory.offset(start);
        if frame_bytes > left_bytes {
            return Err(MalformedReason::PastEnd { frame_bytes, left_bytes });
        }
        Ok(Found { start, header })
    }

    fn fail(&mut self, position: u64, header: u64, reason: MalformedReason) -> ReadError {
        self.frame_bytes_max = 0;
        *self.failed.insert(ReadError::Malformed { position, header, reason })
    }

    // r[impl ring.read_position.quarter]
    #[inline]
    fn release(&mut self, next: u64) {
        self.read = next;
        if self.read - self.published >= self.publish_every {
            self.publish();
        }
    }
}

/// One frame in place. Dropping it releases its bytes to the producer.
///
/// The bytes stay put as long as the producer keeps the protocol. Where the producer is not believed,
/// take each word once ([`Frame::word`], [`Frame::copy_to`]) and check the copy.
#[derive(Debug)]
pub struct Frame<'a> {
    consumer: &'a mut Consumer,
    /// Position behind it.
    next: u64,
    header: FrameHeader,
    bytes: FrameBytes,
}

impl Frame<'_> {
    /// The header, as it was read once and checked.
    #[inline]
    pub fn header(&self) -> FrameHeader {
        self.header
    }

    /// The payload in place. Only for a producer that keeps the protocol.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// One load of the eight payload bytes at `offset`, a multiple of 8, in memory order. Bytes behind
    /// the payload's end are zero. `None` when `offset` is not less than the length, or not a multiple
    /// of 8.
    // r[impl ring.frame.copied]
    #[inline]
    pub fn word(&self, offset: usize) -> Option<u64> {
        let word = self.bytes.word(offset)?;
        let inside = (self.header.length as usize).saturating_sub(offset);
        Some(if inside >= 8 { word } else { keep_first_bytes(word, inside) })
    }

    /// Replaces what is in `target` with a copy of the payload, each word of it loaded once.
    pub fn copy_to(&self, target: &mut Vec<u8>) {
        target.clear();
        target.resize(self.header.length as usize, 0);
        self.copy_into(target);
    }

    /// Copies the first bytes of the payload, each word of it loaded once, as many as both have room
    /// for. Returns how many, in bytes.
    pub fn copy_into(&self, target: &mut [u8]) -> usize {
        let copied = target.len().min(self.header.length as usize);
        for (count, part) in target[..copied].chunks_mut(8).enumerate() {
            let word = self.bytes.word(count * 8).unwrap_or(0);
            part.copy_from_slice(&word.to_ne_bytes()[..part.len()]);
        }
        copied
    }

    /// Gives the bytes back to the producer, as dropping does.
    #[inline]
    pub fn release(self) {}
}

impl Drop for Frame<'_> {
    // r[impl crash.c2]
    #[inline]
    fn drop(&mut self) {
        crash_point!("ring.release.before");
        self.bytes.finish();
        self.consumer.release(self.next);
    }
}

/// The first bytes of a word in memory order, the others zero.
fn keep_first_bytes(word: u64, count: usize) -> u64 {
    let mut kept = [0; 8];
    kept[..count].copy_from_slice(&word.to_ne_bytes()[..count]);
    u64::from_ne_bytes(kept)
}
