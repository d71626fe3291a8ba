//! Which life of the host made the index, and whether it is whole: a reader that misses a key while the
//! index is made anew has learnt nothing.

use std::mem::offset_of;
use std::sync::atomic::Ordering;

use onecopy_shm::Region;

use super::edges::{ANEW_STORE, LIFE_STORE};
use super::{CreateIndexError, IndexReader, IndexWriter, region_bytes};
use crate::format::IndexHeader;

/// Where the life stands in the region, in bytes.
pub(super) const LIFE_OFFSET: u64 = offset_of!(IndexHeader, life) as u64;

impl IndexWriter {
    /// Makes an empty index in a region that holds one of an earlier life. Readers may be searching it:
    /// from here to [`IndexWriter::set_whole`] what they miss is not known to be missing.
    ///
    /// # Errors
    /// As for [`IndexWriter::create`].
    // r[impl index.life]
    pub fn create_anew(
        region: &Region,
        buckets: u64,
        seed: u64,
    ) -> Result<IndexWriter, CreateIndexError> {
        let life = region.word(LIFE_OFFSET)?;
        // Odd already, where that life did not come to the end of its start.
        // No edge: this process and its forerunner wrote it.
        life.store(life.load(Ordering::Relaxed) | 1, LIFE_STORE);
        clear(region, buckets)?;
        IndexWriter::create(region, buckets, seed)
    }

    /// Every block that there is has its entry now.
    // r[impl index.life]
    pub fn set_whole(&mut self) {
        // No edge: this process wrote it.
        let life = self.life_word.load(Ordering::Relaxed);
        if life % 2 == 1 {
            // edge: index.life
            self.life_word.store(life.wrapping_add(1), LIFE_STORE);
        }
    }
}

impl IndexReader {
    /// The number of the index's life; odd while it is made anew.
    #[inline]
    pub fn life(&self) -> u64 {
        // Relaxed. edge: index.life, by the mask that each search loads first, and by the entries that it
        // loads before this is asked again.
        self.life.load(Ordering::Relaxed)
    }

    /// Whether the index has been whole since a search began, before which its life was this: what was
    /// missed then was not there.
    #[inline]
    pub fn was_whole(&self, life: u64) -> bool {
        life.is_multiple_of(2) && self.life() == life
    }
}

/// Zeroes an index of so many buckets, but for its life, from its start: the first word says what stands
/// there. What an earlier life had behind is written over before anybody is led there.
fn clear(region: &Region, buckets: u64) -> Result<(), CreateIndexError> {
    let count = region_bytes(buckets).unwrap_or(u64::MAX).min(region.size_bytes()) / 8;
    let words = region.words(0, count)?;
    for index in (0..count).filter(|index| index * 8 != LIFE_OFFSET) {
        // What is empty stays as it is. In bounds, since there are that many.
        if words.load(index, Ordering::Relaxed) != Ok(0) {
            // edge: index.life; whoever meets an entry that is gone sees the odd life.
            let stored = words.store(index, 0, ANEW_STORE);
            debug_assert!(stored.is_ok(), "{stored:?}");
        }
    }
    Ok(())
}
