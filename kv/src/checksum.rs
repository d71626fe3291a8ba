//! Checksum of a block's payload.

use std::num::NonZeroU64;

use xxhash_rust::xxh3::xxh3_64;

#[cfg(test)]
mod tests;

/// xxh3 (64 bits) of a payload, as it stands in a slot's cold line.
///
/// A digest of 0 is kept as 1, so that the word 0 can say that no checksum was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum(NonZeroU64);

/// A payload that is not the one its checksum was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the checksum of {size_bytes} bytes is {found:#018x}, expected {expected:#018x}")]
pub struct ChecksumMismatch {
    /// The checksum stored beside the payload.
    pub expected: u64,
    /// The checksum of the bytes as they are.
    pub found: u64,
    /// Size of the payload in bytes.
    pub size_bytes: usize,
}

impl Checksum {
    /// The checksum of these bytes.
    // r[impl checksum.word]
    pub fn of(bytes: &[u8]) -> Checksum {
        Checksum(NonZeroU64::new(xxh3_64(bytes)).unwrap_or(NonZeroU64::MIN))
    }

    /// What a stored word says: a checksum, or (0) that there is none.
    pub fn from_word(word: u64) -> Option<Checksum> {
        NonZeroU64::new(word).map(Checksum)
    }

    /// The word to store; never 0.
    pub fn to_word(self) -> u64 {
        self.0.get()
    }

    /// Checks a payload.
    ///
    /// # Errors
    /// [`ChecksumMismatch`] when the bytes are not the ones the checksum was made of.
    // r[impl checksum.verify]
    pub fn verify(self, bytes: &[u8]) -> Result<(), ChecksumMismatch> {
        let found = Checksum::of(bytes);
        if found == self {
            return Ok(());
        }
        let (expected, found) = (self.to_word(), found.to_word());
        Err(ChecksumMismatch { expected, found, size_bytes: bytes.len() })
    }
}
