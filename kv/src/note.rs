//! What the cache writes into a slot's entry when it publishes: the note beside the state word,
//! and its part of the cold line.

use crate::checksum::Checksum;
use crate::key::Key;
use onecopy_transport::format::{COLD_BYTES, NOTE_BYTES};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

#[cfg(test)]
mod tests;

/// Flag of a note: the cold line holds a checksum.
pub const NOTE_CHECKSUM: u32 = 1;

/// Which word of a note holds the expiry, in its lower half.
pub const EXPIRY_WORD: usize = 4;

/// Which word of a cold part holds the stamp of the last use.
pub const USED_WORD: usize = 2;

/// A note as the words of a slot entry.
pub type NoteWords = [u64; NOTE_BYTES / 8];
/// The service's part of a cold line as words.
pub type ColdWords = [u64; COLD_BYTES / 8];

/// What a reader needs beside the state word. Written by the host alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Note {
    /// The block's name.
    pub key: Key,
    /// From this second of the segment's clock on the block is not found any more; 0 is never.
    pub expiry_s: u32,
    /// [`NOTE_CHECKSUM`].
    pub flags: u32,
}

/// What the read path does not need. Written by the host alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Cold {
    /// `Checksum` as a word, 0 for none.
    pub checksum: u64,
    /// Second of the segment's clock at which the block was published.
    pub published_s: u64,
    /// Stamp of the policy when the block was last used, as far as it was noted; 0 where it was not.
    pub used: u64,
    reserved: [u64; 4],
}

const _: () = {
    assert!(size_of::<Note>() == NOTE_BYTES);
    assert!(std::mem::offset_of!(Note, expiry_s) == EXPIRY_WORD * 8);
    assert!(cfg!(target_endian = "little"));
    assert!(size_of::<Cold>() == COLD_BYTES);
    assert!(std::mem::offset_of!(Cold, published_s) == 8);
    assert!(std::mem::offset_of!(Cold, used) == USED_WORD * 8);
};

impl Note {
    /// A note that was read from a slot entry.
    pub fn from_words(words: NoteWords) -> Note {
        zerocopy::transmute!(words)
    }

    /// As it stands in a slot entry.
    pub fn to_words(self) -> NoteWords {
        zerocopy::transmute!(self)
    }
}

impl Cold {
    /// The cold part of a block published at this second, with this stamp of the policy.
    pub fn new(checksum: Option<Checksum>, published_s: u64, used: u64) -> Cold {
        let checksum = checksum.map_or(0, Checksum::to_word);
        Cold { checksum, published_s, used, reserved: [0; 4] }
    }

    /// A cold part that was read from a slot entry.
    pub fn from_words(words: ColdWords) -> Cold {
        zerocopy::transmute!(words)
    }

    /// As it stands in a slot entry.
    pub fn to_words(self) -> ColdWords {
        zerocopy::transmute!(self)
    }
}

/// A key as it stands in the first words of a note.
pub fn key_words(key: &Key) -> [u64; Key::SIZE_BYTES / 8] {
    let bytes = *key.as_bytes();
    zerocopy::transmute!(bytes)
}

/// Whether a block with this [`EXPIRY_WORD`] has had its time at this second.
pub fn is_expired(expiry_word: u64, clock_s: u64) -> bool {
    let expiry_s = u64::from(expiry_word as u32);
    expiry_s != 0 && clock_s >= expiry_s
}

/// The second from which a block is expired that is published at `clock_s` with this time to live;
/// 0 for never.
///
/// The clock counts whole seconds, so one is added: a block lives at least its time, and less than
/// a second longer.
// r[impl kv.ttl_length]
pub fn expiry_s(clock_s: u64, ttl_s: u32) -> u32 {
    if ttl_s == 0 {
        return 0;
    }
    let expiry = clock_s.saturating_add(u64::from(ttl_s)).saturating_add(1);
    u32::try_from(expiry).unwrap_or(u32::MAX)
}
