//! Searching the index from another process.

use std::mem::offset_of;
use std::sync::atomic::Ordering;

use onecopy_shm::{ReadLine, ReadWord, ReadWords, Region};

use super::candidates::{Candidates, first_of};
use super::edges::{CREATE_LOAD, INSERT_LOAD, MASK_LOAD};
use super::life::LIFE_OFFSET;
use super::{
    BUCKETS_MIN, Entry, OpenIndexError, bucket_at, buckets_in, hash_key, region_bytes, word_index,
};
use crate::format::{INDEX_FORMAT_VERSION, INDEX_MAGIC, IndexHeader};
use crate::key::Key;

/// Finds keys in an index that another process writes. `Clone` and `Send`; takes no lock.
#[derive(Debug, Clone)]
pub struct IndexReader {
    words: ReadWords,
    mask: ReadWord,
    pub(super) life: ReadWord,
    buckets_max: u64,
    seed: u64,
}

impl IndexReader {
    /// Opens the index in a region, which may be mapped read-only.
    ///
    /// # Errors
    /// [`OpenIndexError`]: no index, another format, numbers that contradict each other.
    // r[impl index.open]
    pub fn open(region: &Region) -> Result<IndexReader, OpenIndexError> {
        let field = |offset: usize| region.read_word(offset as u64);
        // edge: index.create; the fields are read after the magic says that they are there.
        let magic = field(offset_of!(IndexHeader, magic))?.load(CREATE_LOAD);
        if magic != INDEX_MAGIC {
            return Err(OpenIndexError::Magic { found: magic, expected: INDEX_MAGIC });
        }
        let load = |offset| Ok::<u64, OpenIndexError>(field(offset)?.load(Ordering::Relaxed));
        let found = load(offset_of!(IndexHeader, format_version))?;
        if found != INDEX_FORMAT_VERSION {
            return Err(OpenIndexError::FormatVersion { found, expected: INDEX_FORMAT_VERSION });
        }
        let mask = field(offset_of!(IndexHeader, mask))?;
        let buckets_max = load(offset_of!(IndexHeader, buckets_max))?;
        let buckets = mask.load(Ordering::Relaxed).wrapping_add(1);
        let max = buckets_in(region);
        let legal = |count: u64| count.is_power_of_two() && count >= BUCKETS_MIN;
        if !legal(buckets) || !legal(buckets_max) || buckets > buckets_max || buckets_max > max {
            return Err(OpenIndexError::Buckets { buckets, buckets_max, min: BUCKETS_MIN, max });
        }
        // In bounds, since that many buckets fit the region.
        let words = region_bytes(buckets_max).unwrap_or(u64::MAX) / size_of::<u64>() as u64;
        let words = region.read_words(0, words)?;
        let seed = load(offset_of!(IndexHeader, seed))?;
        let life = field(LIFE_OFFSET as usize)?;
        Ok(IndexReader { words, mask, life, buckets_max, seed })
    }

    /// The hash of a key in this index.
    #[inline]
    pub fn hash(&self, key: &Key) -> u64 {
        hash_key(key, self.seed)
    }

    /// The slot of a key. `is_key` says of a candidate whether it has the key, and makes sure (by a
    /// lease) that it keeps it; it is asked once for each candidate that is passed by, too.
    ///
    /// A key that is in the index during the whole call is found. One that comes or goes meanwhile is
    /// found or not.
    // r[impl index.find]
    #[inline]
    pub fn find(&self, hash: u64, mut is_key: impl FnMut(u32) -> bool) -> Option<u32> {
        self.candidates(hash).find(|slot| is_key(*slot))
    }

    /// The slots that may have the key of this hash, in the order in which [`IndexReader::find`] asks
    /// about them.
    #[inline]
    pub fn candidates(&self, hash: u64) -> Candidates<'_> {
        Candidates::new(self, hash)
    }

    /// Tells the processor that the home bucket of a hash will be searched soon.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        if let Some(mask) = self.load_mask() {
            self.words.prefetch(word_index(bucket_at(hash, 0, mask), 0));
        }
    }

    /// The first slot in the home bucket of a hash that may have its key: what a batch prefetches, and
    /// in nearly every case the slot of the key. `None` says nothing; see [`IndexReader::find`].
    // r[impl index.candidate]
    #[inline]
    pub fn candidate(&self, hash: u64) -> Option<u32> {
        let bucket = self.bucket(bucket_at(hash, 0, self.load_mask()?))?;
        let entry = first_of(&bucket, hash);
        (!entry.is_empty()).then_some(entry.slot())
    }

    #[inline]
    pub(super) fn bucket(&self, bucket: u64) -> Option<ReadLine<'_>> {
        self.words.line(word_index(bucket, 0)).ok()
    }

    /// Number of buckets in use.
    pub fn bucket_count(&self) -> u64 {
        self.load_mask().map_or(0, |mask| mask + 1)
    }

    /// The mask, where it is one that the checked geometry allows.
    #[inline]
    pub(super) fn load_mask(&self) -> Option<u64> {
        // edge: index.mask; the buckets that it lets in were filled before, and whoever missed an
        // entry because it was erased from the lower half sees the larger mask.
        let mask = self.mask.load(MASK_LOAD);
        (mask < self.buckets_max && (mask + 1).is_power_of_two()).then_some(mask)
    }
}

/// An entry of a bucket.
#[inline]
pub(super) fn entry_of(bucket: &ReadLine<'_>, place: usize) -> Entry {
    // edge: index.insert; what the host wrote about a slot before it put the entry in is seen by
    // whoever loads the entry.
    Entry::from_word(bucket.load(place, INSERT_LOAD))
}
