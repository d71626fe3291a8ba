//! The frame header: one word in front of every payload in a ring.
//!
//! This file is the only place that packs or unpacks it. Who writes it: the producer of the ring.
//!
//! ```text
//!  63                    40 39      32 31      24 23                     0
//! +------------------------+----------+----------+------------------------+
//! |       request id       |  flags   |   kind   |  payload length, bytes |
//! +------------------------+----------+----------+------------------------+
//! ```
//!
//! Zero means "nothing here yet", and kind 255 alone in the word means "go on at the start".

use thiserror::Error;

#[cfg(test)]
#[cfg(not(loom))]
mod tests;

/// Bytes in front of each payload.
pub const FRAME_HEADER_BYTES: u32 = 8;
/// The longest payload that a header can tell, in bytes.
pub const FRAME_LENGTH_LIMIT: u32 = (1 << LENGTH_BITS) - 1;
/// The largest request id.
pub const REQUEST_ID_MAX: u32 = (1 << REQUEST_ID_BITS) - 1;
/// The largest kind a caller may use; the one above it is the ring's own.
pub const FRAME_KIND_MAX: u8 = WRAP_KIND - 1;

/// The word that no frame has: nothing was committed here yet.
pub(crate) const EMPTY_WORD: u64 = 0;
/// The word that sends the consumer to the start of the ring.
pub(crate) const WRAP_WORD: u64 = (WRAP_KIND as u64) << KIND_SHIFT;

const WRAP_KIND: u8 = 255;
const LENGTH_BITS: u32 = 24;
const REQUEST_ID_BITS: u32 = 24;
const KIND_SHIFT: u32 = LENGTH_BITS;
const FLAGS_SHIFT: u32 = KIND_SHIFT + 8;
const REQUEST_ID_SHIFT: u32 = FLAGS_SHIFT + 8;

// r[impl ring.header.layout]
const _: () = {
    assert!(FRAME_HEADER_BYTES as usize == size_of::<u64>());
    assert!(KIND_SHIFT == 24 && FLAGS_SHIFT == 32 && REQUEST_ID_SHIFT == 40);
    assert!(REQUEST_ID_SHIFT + REQUEST_ID_BITS == u64::BITS);
    assert!(WRAP_WORD == 0xff00_0000);
};

/// What a frame says about its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Payload length in bytes, 0 to [`FRAME_LENGTH_LIMIT`]; a ring's own limit may be lower.
    pub length: u32,
    /// What the payload is, 1 to [`FRAME_KIND_MAX`]; its meaning is the caller's.
    pub kind: u8,
    /// Eight bits of the caller's.
    pub flags: u8,
    /// Which request this belongs to, 0 to [`REQUEST_ID_MAX`].
    pub request_id: u32,
}

/// Why fields cannot be packed into a header.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FrameFieldError {
    /// Kind 0 reads as "nothing here" and 255 is the ring's own.
    #[error("frame kind {kind} is reserved, expected 1 to {FRAME_KIND_MAX}")]
    ReservedKind {
        /// The kind that was given.
        kind: u8,
    },
    /// The payload is longer than a header can tell.
    #[error("payload of {length} bytes does not fit a header, at most {FRAME_LENGTH_LIMIT}")]
    Length {
        /// The length that was given, in bytes.
        length: u32,
    },
    /// The request id is larger than a header can tell.
    #[error("request id {request_id} does not fit a header, at most {REQUEST_ID_MAX}")]
    RequestId {
        /// The id that was given.
        request_id: u32,
    },
}

/// Why a word is no header.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum HeaderWordError {
    /// The word is not zero, but its kind is.
    #[error("kind 0 in a header that is not empty")]
    ZeroKind,
    /// The kind says wrap, but the word says more.
    #[error("a wrap header that carries other fields")]
    WrapWithFields,
}

/// What a header word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderWord {
    /// Nothing was committed here yet.
    Empty,
    /// The next frame is at the start of the ring.
    Wrap,
    /// A frame.
    Frame(FrameHeader),
}

impl FrameHeader {
    /// Packs the fields into the word that is stored.
    ///
    /// # Errors
    /// When a field does not fit its bits, or the kind is reserved.
    // r[impl ring.header.fields]
    #[inline]
    pub fn encode(&self) -> Result<u64, FrameFieldError> {
        let Self { length, kind, flags, request_id } = *self;
        if kind == 0 || kind > FRAME_KIND_MAX {
            return Err(FrameFieldError::ReservedKind { kind });
        }
        if length > FRAME_LENGTH_LIMIT {
            return Err(FrameFieldError::Length { length });
        }
        if request_id > REQUEST_ID_MAX {
            return Err(FrameFieldError::RequestId { request_id });
        }
        Ok(u64::from(length)
            | u64::from(kind) << KIND_SHIFT
            | u64::from(flags) << FLAGS_SHIFT
            | u64::from(request_id) << REQUEST_ID_SHIFT)
    }

    #[inline]
    fn unpack(word: u64, kind: u8) -> FrameHeader {
        FrameHeader {
            length: word as u32 & FRAME_LENGTH_LIMIT,
            kind,
            flags: (word >> FLAGS_SHIFT) as u8,
            request_id: (word >> REQUEST_ID_SHIFT) as u32,
        }
    }
}

impl HeaderWord {
    /// Says what a word means; every value is a header, a wrap, empty or an error.
    // r[impl ring.header.decode]
    #[inline]
    pub(crate) fn decode(word: u64) -> Result<HeaderWord, HeaderWordError> {
        let kind = (word >> KIND_SHIFT) as u8;
        match kind {
            0 if word == EMPTY_WORD => Ok(HeaderWord::Empty),
            0 => Err(HeaderWordError::ZeroKind),
            WRAP_KIND if word == WRAP_WORD => Ok(HeaderWord::Wrap),
            WRAP_KIND => Err(HeaderWordError::WrapWithFields),
            kind => Ok(HeaderWord::Frame(FrameHeader::unpack(word, kind))),
        }
    }

    /// The frame's header, if the word is one: [`HeaderWord::decode`] for where nothing else matters.
    #[inline]
    pub(crate) fn frame(word: u64) -> Option<FrameHeader> {
        let kind = (word >> KIND_SHIFT) as u8;
        (1..=FRAME_KIND_MAX).contains(&kind).then(|| FrameHeader::unpack(word, kind))
    }
}
