//! The hash index: from a key to the slot that may hold it, in memory that every guest can read.
//!
//! The host alone writes it ([`IndexWriter`]); readers need no lock ([`IndexReader`]). It holds hashes
//! and slot ids only, so whoever searches says for each candidate whether that slot really has the
//! key: a wrong candidate costs a look and never gives wrong bytes.
//!
//! Buckets are cache lines of eight entries. A key lives in its home bucket or, where that is full,
//! in one of the seven behind it; a full bucket that a key had to pass by carries the overflow bit,
//! without which a search ends there. Entries are not moved. The host counts in its own heap how many
//! keys pass by each bucket and takes the bit away with the last, so that a long life of stores and
//! deletes does not make misses slow.
//!
//! The region has room for the largest index; the mask in its header says how much is in use, and
//! memory beyond that is taken as the pool grows. The index doubles in place: the keys of a bucket
//! stand in that bucket or in its twin afterwards, and as far behind their home as before.

use onecopy_shm::Region;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::format::{
    BUCKET_ENTRIES, FINGERPRINT_BITS, INDEX_HEADER_WORDS, OVERFLOW_BIT, PROBE_BUCKETS_MAX,
};
use crate::key::Key;

mod audit;
mod candidates;
mod double;
mod edges;
mod error;
mod life;
#[cfg(test)]
#[cfg(loom)]
mod loom;
mod probe;
mod reader;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
mod writer;

pub use audit::IndexFault;
pub use candidates::Candidates;
pub use error::{CreateIndexError, InsertError, OpenIndexError};
pub use reader::IndexReader;
pub use writer::IndexWriter;

/// Fewest buckets of an index: as many as a key can be in.
pub const BUCKETS_MIN: u64 = PROBE_BUCKETS_MAX;

/// Most places of an index that are taken, in percent: above it doubles.
///
/// Above it, keys that find their eight buckets full soon get frequent, and each costs a block that
/// the policy would have kept.
pub const LOAD_MAX_PERCENT: u64 = 48;

/// The hash of a key, by which it is found. The seed makes it differ from segment to segment, so
/// that keys which crowd one index do not crowd the next.
// r[impl index.hash]
#[inline]
pub fn hash_key(key: &Key, seed: u64) -> u64 {
    xxh3_64_with_seed(key.as_bytes(), seed)
}

/// Buckets for so many published slots: the least power of two that keeps the index at or below
/// [`LOAD_MAX_PERCENT`].
// r[impl index.size]
pub fn buckets_for(slots_max: u32) -> u64 {
    let entries = (u64::from(slots_max) * 100).div_ceil(LOAD_MAX_PERCENT);
    entries.div_ceil(BUCKET_ENTRIES).next_power_of_two().max(BUCKETS_MIN)
}

/// Size in bytes of a region with room for so many buckets. `None`: more than 64 bits can say.
pub fn region_bytes(buckets_max: u64) -> Option<u64> {
    buckets_max
        .checked_mul(BUCKET_ENTRIES)?
        .checked_add(INDEX_HEADER_WORDS)?
        .checked_mul(size_of::<u64>() as u64)
}

/// The largest power of two of buckets that a region has room for; 0 where it is too small for one.
fn buckets_in(region: &Region) -> u64 {
    let words = region.size_bytes() / size_of::<u64>() as u64;
    let buckets = words.saturating_sub(INDEX_HEADER_WORDS) / BUCKET_ENTRIES;
    buckets.checked_ilog2().map_or(0, |power| 1 << power)
}

/// An index entry: which slot, and enough of the hash to pass most others by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry(u64);

impl Entry {
    const EMPTY: Entry = Entry(0);

    fn new(hash: u64, slot: u32) -> Entry {
        Entry((fingerprint(hash) << 32) | u64::from(slot))
    }

    /// What a word of a bucket says, without the overflow bit.
    fn from_word(word: u64) -> Entry {
        Entry(word & !OVERFLOW_BIT)
    }

    fn slot(self) -> u32 {
        self.0 as u32
    }

    fn is_empty(self) -> bool {
        self.slot() == 0
    }

    #[inline]
    fn has_fingerprint_of(self, hash: u64) -> bool {
        const FINGERPRINT: u64 = !OVERFLOW_BIT & !(u32::MAX as u64);
        (self.0 ^ Entry::new(hash, 0).0) & FINGERPRINT == 0
    }
}

/// The upper bits of a hash; the lower ones choose the bucket.
#[inline]
fn fingerprint(hash: u64) -> u64 {
    hash >> (64 - FINGERPRINT_BITS)
}

/// The bucket `step` behind a hash's home.
#[inline]
fn bucket_at(hash: u64, step: u64, mask: u64) -> u64 {
    hash.wrapping_add(step) & mask
}

/// The index of a word in the region, by bucket and place.
#[inline]
fn word_index(bucket: u64, place: u64) -> u64 {
    INDEX_HEADER_WORDS + bucket * BUCKET_ENTRIES + place
}
