//! What can go wrong with a ring, by operation.

use super::layout::{CAPACITY_MAX_BYTES, CAPACITY_MIN_BYTES};
use crate::error::RegionError;
use crate::frame::{FrameFieldError, HeaderWordError};
use thiserror::Error;

/// Why a region cannot be used as a ring.
#[derive(Debug, Error)]
pub enum RingError {
    /// The capacity is no power of two within the limits.
    #[error(
        "ring capacity {capacity_bytes} is not a power of two from {CAPACITY_MIN_BYTES} to {CAPACITY_MAX_BYTES}"
    )]
    Capacity {
        /// The capacity that was asked for, in bytes.
        capacity_bytes: u64,
    },
    /// The ring was used before: rings are never reset in place.
    #[error(
        "ring memory is not fresh: read position {read_position}, first header {header:#x}, expected zeroes"
    )]
    NotFresh {
        /// The read position that was found.
        read_position: u64,
        /// The first header word that was found.
        header: u64,
    },
    /// The region is too small, not aligned or not writable.
    #[error(transparent)]
    Region(#[from] RegionError),
}

/// Why the producer got no room.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum GrantError {
    /// Not now: the consumer has to release frames first. This is back-pressure.
    #[error("the ring is full")]
    Full,
    /// Never in this ring.
    #[error("a payload of {length} bytes never fits this ring, at most {max}")]
    TooLarge {
        /// The length that was asked for, in bytes.
        length: u32,
        /// The longest payload this ring takes, in bytes.
        max: u32,
    },
    /// The consumer's read position is impossible. Every later call says the same.
    #[error(
        "the consumer claims read position {claimed}, expected a multiple of 8 from {last} to {written}"
    )]
    Corrupt {
        /// What the consumer claims to have read, as a position.
        claimed: u64,
        /// The last position it claimed that was possible.
        last: u64,
        /// What was written, as a position.
        written: u64,
    },
}

/// Why a grant was not committed. Nothing became visible.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CommitError {
    /// More bytes than were granted.
    #[error("commit of {length} bytes, but {granted} were granted")]
    TooLong {
        /// The length that was to be committed, in bytes.
        length: u32,
        /// What was granted, in bytes.
        granted: u32,
    },
    /// A header field does not fit.
    #[error(transparent)]
    Field(#[from] FrameFieldError),
}

/// Why the consumer cannot read on. Every later call says the same.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ReadError {
    /// The producer wrote something that is no frame.
    #[error("malformed frame at position {position}, header {header:#018x}: {reason}")]
    Malformed {
        /// Where the header stands, as a position.
        position: u64,
        /// The header word as it was read.
        header: u64,
        /// What is wrong with it.
        reason: MalformedReason,
    },
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum MalformedReason {
    /// The word is no header.
    #[error(transparent)]
    Word(#[from] HeaderWordError),
    /// The payload is longer than this ring allows.
    #[error("payload of {length} bytes, at most {max}")]
    TooLong {
        /// The length that the header claims, in bytes.
        length: u32,
        /// The longest payload of this ring, in bytes.
        max: u32,
    },
    /// The frame would run over the end of the ring.
    #[error("frame of {frame_bytes} bytes where {left_bytes} are left to the end of the ring")]
    PastEnd {
        /// Header and payload, in bytes.
        frame_bytes: u64,
        /// What is left from the header to the end, in bytes.
        left_bytes: u64,
    },
    /// A wrap that skips more than any frame could have needed.
    #[error("wrap with {left_bytes} bytes left to the end of the ring, where every frame fits")]
    EarlyWrap {
        /// What is left from the header to the end, in bytes.
        left_bytes: u64,
    },
    /// A wrap behind a wrap.
    #[error("two wraps in a row")]
    WrapTwice,
    /// A wrap was published without the frame behind it.
    #[error("wrap without a frame behind it")]
    WrapWithoutFrame,
}
