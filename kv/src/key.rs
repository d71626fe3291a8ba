//! The 32-byte name of a block.

use std::fmt;
use std::str::FromStr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

#[cfg(test)]
mod tests;

/// The caller's name of a block: 32 bytes, compared whole.
///
/// Any bytes are a legal key, all zeroes included; nothing assumes that they are evenly spread, so
/// a caller may use digests, identifiers or text that it padded itself.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub struct Key([u8; Key::SIZE_BYTES]);

/// Text that is no key in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseKeyError {
    /// Too few or too many digits.
    #[error("a key has 64 hexadecimal digits, found {found} characters")]
    Length {
        /// Characters in the text.
        found: usize,
    },
    /// A character that is no hexadecimal digit.
    #[error("a key has hexadecimal digits only, found {found:?} as character {index}")]
    Digit {
        /// Number of the character, from 0.
        index: usize,
        /// The character.
        found: char,
    },
}

impl Key {
    /// Size of a key in bytes.
    pub const SIZE_BYTES: usize = 32;

    /// The key of these bytes, as they are.
    pub const fn from_bytes(bytes: [u8; Key::SIZE_BYTES]) -> Key {
        Key(bytes)
    }

    /// The key of a text: its BLAKE3 digest, so that texts of any length name blocks.
    // r[impl key.text]
    pub fn from_text(text: &str) -> Key {
        Key(*blake3::hash(text.as_bytes()).as_bytes())
    }

    /// The bytes of the key.
    pub const fn as_bytes(&self) -> &[u8; Key::SIZE_BYTES] {
        &self.0
    }
}

impl From<[u8; Key::SIZE_BYTES]> for Key {
    fn from(bytes: [u8; Key::SIZE_BYTES]) -> Key {
        Key(bytes)
    }
}

impl fmt::Display for Key {
    // r[impl key.hex]
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Key({self})")
    }
}

impl FromStr for Key {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Key, ParseKeyError> {
        let found = text.chars().count();
        if found != 2 * Key::SIZE_BYTES {
            return Err(ParseKeyError::Length { found });
        }
        let mut bytes = [0u8; Key::SIZE_BYTES];
        for (index, found) in text.chars().enumerate() {
            let digit = found.to_digit(16).ok_or(ParseKeyError::Digit { index, found })?;
            if let Some(byte) = bytes.get_mut(index / 2) {
                *byte = (*byte << 4) | digit as u8;
            }
        }
        Ok(Key(bytes))
    }
}
