//! Making the index twice as large, in place and under its readers' eyes.

use super::IndexWriter;
use crate::format::{BUCKET_ENTRIES, IndexHeader};
use crate::index::word_index;
use std::mem::{offset_of, size_of};

impl IndexWriter {
    /// Doubles the number of buckets; `hash_of` tells the hash of the key that a slot holds. The part
    /// of the region that it grows into has to be real. Takes time with the number of buckets. False,
    /// and nothing done, where the region has no room.
    ///
    /// A key whose home was bucket `i` of `n` has home `i` or `i + n` of `2n`, and it stands as far
    /// behind it as before. So every bucket is first copied to its twin `n` further on; then the new
    /// mask is published, and a search finds every key by the old mask and by the new one; then each
    /// entry is erased where it is no longer looked for. A reader that still searches by the old mask
    /// and misses an entry because of that sees the new mask when it looks at it again.
    // r[impl index.double]
    pub fn double(&mut self, mut hash_of: impl FnMut(u32) -> Option<u64>) -> bool {
        let buckets = self.bucket_count();
        if buckets > self.buckets_max / 2 {
            return false;
        }
        for bucket in 0..buckets {
            for place in 0..BUCKET_ENTRIES {
                let word = self.load(word_index(bucket, place));
                self.store(word_index(bucket + buckets, place), word);
            }
        }
        self.mask = 2 * buckets - 1;
        // edge: index.mask; the upper half was filled before, and entries are erased from the lower
        // half only after.
        self.store((offset_of!(IndexHeader, mask) / size_of::<u64>()) as u64, self.mask);
        self.passing = vec![0; usize::try_from(2 * buckets).unwrap_or(usize::MAX)];
        // Half of all entries are where nothing looks for them, and so are some overflow bits.
        self.repair(&mut hash_of);
        true
    }

    /// What the hash of a key starts from.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}
