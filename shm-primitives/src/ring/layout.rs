//! Where things are in the memory of a ring, and how long frames are there.
//!
//! ```text
//! offset 0      read position (u64)          written by the consumer alone
//!        8      unused, so that the line above and its neighbour are nobody else's
//!        128    data, `capacity_bytes`       written by the producer alone
//! ```

use super::error::RingError;
use crate::frame::{FRAME_HEADER_BYTES, FRAME_LENGTH_LIMIT};

/// The smallest ring, in bytes of data.
pub const CAPACITY_MIN_BYTES: u64 = 64;
/// The largest ring, in bytes of data.
pub const CAPACITY_MAX_BYTES: u64 = 1 << 31;

pub(super) const HEADER_BYTES: u64 = FRAME_HEADER_BYTES as u64;
/// Frames begin at multiples of this.
pub(super) const FRAME_ALIGN_BYTES: u64 = 8;
pub(super) const READ_POSITION_OFFSET: u64 = 0;
/// Two cache lines: processors fetch lines in pairs, and the producer's data must not come along
/// with the consumer's position.
pub(super) const DATA_OFFSET: u64 = 128;

// r[impl ring.layout]
const _: () = {
    assert!(READ_POSITION_OFFSET.is_multiple_of(64) && DATA_OFFSET.is_multiple_of(128));
    assert!(DATA_OFFSET >= READ_POSITION_OFFSET + 64);
    assert!(FRAME_ALIGN_BYTES >= HEADER_BYTES && FRAME_ALIGN_BYTES.is_power_of_two());
};

/// Where the parts of a ring are, in bytes from the start of its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLayout {
    /// The consumer's read position: a word with a cache line of its own.
    pub read_position_offset: u64,
    /// The first byte of the data.
    pub data_offset: u64,
    /// Bytes of data.
    pub capacity_bytes: u64,
    /// Bytes of the whole ring.
    pub size_bytes: u64,
}

/// Lays out a ring of `capacity_bytes` of data: a power of two from [`CAPACITY_MIN_BYTES`] to
/// [`CAPACITY_MAX_BYTES`].
///
/// # Errors
/// [`RingError::Capacity`] for any other capacity.
pub fn ring_layout(capacity_bytes: u64) -> Result<RingLayout, RingError> {
    let possible = CAPACITY_MIN_BYTES..=CAPACITY_MAX_BYTES;
    if !capacity_bytes.is_power_of_two() || !possible.contains(&capacity_bytes) {
        return Err(RingError::Capacity { capacity_bytes });
    }
    Ok(RingLayout {
        read_position_offset: READ_POSITION_OFFSET,
        data_offset: DATA_OFFSET,
        capacity_bytes,
        size_bytes: DATA_OFFSET + capacity_bytes,
    })
}

/// The longest payload that a ring of this capacity takes, in bytes: with its header a quarter of
/// the capacity, so that a wrap and a frame always fit beside each other.
// r[impl ring.capacity]
pub(super) fn frame_length_max(capacity_bytes: u64) -> u32 {
    let quarter = capacity_bytes / 4 - HEADER_BYTES;
    u32::try_from(quarter).map_or(FRAME_LENGTH_LIMIT, |quarter| quarter.min(FRAME_LENGTH_LIMIT))
}

/// Bytes from one header to the next.
#[inline]
pub(super) fn frame_bytes(length: u32) -> u64 {
    // A mask, since the alignment is a power of two, which `next_multiple_of` does not see.
    (u64::from(length) + HEADER_BYTES + FRAME_ALIGN_BYTES - 1) & !(FRAME_ALIGN_BYTES - 1)
}
