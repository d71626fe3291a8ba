//! The host's end of the index: the only one that changes it.

use std::iter;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

use onecopy_shm::error::RegionError;
use onecopy_shm::{Region, Word, Words};

use super::double::Phase;
use super::edges::{CREATE_STORE, INSERT_STORE};
use super::life::LIFE_OFFSET;
use super::{
    BUCKETS_MIN, CreateIndexError, Entry, InsertError, bucket_at, buckets_in, hash_key, probe,
    region_bytes, word_index,
};
use crate::format::{
    BUCKET_ENTRIES, INDEX_FORMAT_VERSION, INDEX_MAGIC, IndexHeader, OVERFLOW_BIT, PROBE_BUCKETS_MAX,
};
use crate::key::Key;

/// The index as its host has it. There is one at a time for a region; the segment's lock sees to it.
#[derive(Debug)]
pub struct IndexWriter {
    words: Words,
    pub(super) mask_word: Word,
    pub(super) life_word: Word,
    pub(super) mask: u64,
    seed: u64,
    pub(super) count: u64,
    /// How many entries pass by each bucket on the way from their home: at most 7 homes times 8.
    pub(super) passing: Vec<u8>,
    pub(super) phase: Phase,
    /// Buckets for which the region is real memory.
    pub(super) buckets_ready: u64,
    /// Buckets for which it has room.
    pub(super) buckets_max: u64,
}

impl IndexWriter {
    /// Makes an empty index of `buckets` buckets in a region that is zeroed so far. What is behind is
    /// not touched before [`IndexWriter::set_buckets_ready`] says that it may be.
    ///
    /// # Errors
    /// [`CreateIndexError`]: not a power of two, below [`BUCKETS_MIN`], more than fit the region.
    // r[impl index.format]
    pub fn create(
        region: &Region,
        buckets: u64,
        seed: u64,
    ) -> Result<IndexWriter, CreateIndexError> {
        let max = buckets_in(region);
        if !buckets.is_power_of_two() || buckets < BUCKETS_MIN || buckets > max {
            let size_bytes = region.size_bytes();
            return Err(CreateIndexError::Buckets { buckets, min: BUCKETS_MIN, max, size_bytes });
        }
        let store = |offset: usize, value, ordering| {
            region.word(offset as u64).map(|word| word.store(value, ordering))
        };
        store(offset_of!(IndexHeader, format_version), INDEX_FORMAT_VERSION, Ordering::Relaxed)?;
        store(offset_of!(IndexHeader, mask), buckets - 1, Ordering::Relaxed)?;
        store(offset_of!(IndexHeader, buckets_max), max, Ordering::Relaxed)?;
        store(offset_of!(IndexHeader, seed), seed, Ordering::Relaxed)?;
        // edge: index.create; whoever sees the magic sees the fields.
        store(offset_of!(IndexHeader, magic), INDEX_MAGIC, CREATE_STORE)?;
        Ok(IndexWriter::over(region, buckets - 1, max, seed)?)
    }

    /// The hash of a key in this index.
    pub fn hash(&self, key: &Key) -> u64 {
        hash_key(key, self.seed)
    }

    /// What the hash of a key starts from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Number of entries.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Number of buckets in use.
    pub fn bucket_count(&self) -> u64 {
        self.mask + 1
    }

    /// The slot of a key; `is_key` says of a candidate whether it has the key.
    pub fn find(&self, hash: u64, is_key: impl FnMut(u32) -> bool) -> Option<u32> {
        probe::find(|index| self.load(index), self.mask, hash, is_key)
    }

    /// Puts an entry in. That the key is not there yet is the caller's to know.
    ///
    /// # Errors
    /// [`InsertError::Full`] with the slots of which one has to go; nothing was changed.
    // r[impl index.insert]
    // r[impl index.full]
    pub fn insert(&mut self, hash: u64, slot: u32) -> Result<(), InsertError> {
        if slot == 0 {
            return Err(InsertError::SlotZero);
        }
        let free = (0..PROBE_BUCKETS_MAX).find_map(|step| {
            let bucket = bucket_at(hash, step, self.mask);
            self.free_place(bucket).map(|place| (step, bucket, place))
        });
        let Some((steps, bucket, place)) = free else {
            return Err(InsertError::Full { candidates: self.candidates(hash) });
        };
        // First the bits, then the entry: whoever may find it is led to it.
        for step in 0..steps {
            self.pass_by(bucket_at(hash, step, self.mask));
        }
        self.put(bucket, place, Entry::new(hash, slot));
        self.count += 1;
        Ok(())
    }

    /// Takes the entry of a slot out. Whether it was there.
    // r[impl index.remove]
    pub fn remove(&mut self, hash: u64, slot: u32) -> bool {
        let wanted = Entry::new(hash, slot);
        let found = (0..PROBE_BUCKETS_MAX).find_map(|step| {
            let bucket = bucket_at(hash, step, self.mask);
            self.place_of(bucket, wanted).map(|place| (step, bucket, place))
        });
        let Some((steps, bucket, place)) = found.filter(|_| slot != 0) else { return false };
        self.take_out(hash, steps, bucket, place);
        self.remove_ghost(hash, wanted, bucket, place);
        self.count -= 1;
        true
    }

    fn over(
        region: &Region,
        mask: u64,
        buckets_max: u64,
        seed: u64,
    ) -> Result<IndexWriter, RegionError> {
        // In bounds, since that many buckets fit the region.
        let words = region_bytes(buckets_max).unwrap_or(u64::MAX) / size_of::<u64>() as u64;
        let words = region.words(0, words)?;
        let mask_word = region.word(offset_of!(IndexHeader, mask) as u64)?;
        let life_word = region.word(LIFE_OFFSET)?;
        let passing = vec![0; usize::try_from(mask + 1).unwrap_or(usize::MAX)];
        let (phase, buckets_ready) = (Phase::Stable, mask + 1);
        Ok(IndexWriter {
            words,
            mask_word,
            life_word,
            mask,
            seed,
            count: 0,
            passing,
            phase,
            buckets_ready,
            buckets_max,
        })
    }

    /// Empties a place in which a key of this hash stands so many steps behind its home.
    pub(super) fn take_out(&mut self, hash: u64, steps: u64, bucket: u64, place: u64) {
        // First the entry, then the bits: what they lead to is not there any more.
        self.put(bucket, place, Entry::EMPTY);
        for step in 0..steps {
            self.pass_no_more(bucket_at(hash, step, self.mask));
        }
    }

    /// How far behind the home of a hash a bucket is, where it is one the key may be in.
    pub(super) fn steps_to(&self, hash: u64, bucket: u64) -> Option<u64> {
        let steps = bucket.wrapping_sub(hash) & self.mask;
        (steps < PROBE_BUCKETS_MAX).then_some(steps)
    }

    /// Calls `each` with bucket, place and entry of everything that is not empty.
    pub(super) fn for_each_entry(&self, mut each: impl FnMut(u64, u64, Entry)) {
        for bucket in 0..=self.mask {
            for place in 0..BUCKET_ENTRIES {
                let entry = self.entry(bucket, place);
                if !entry.is_empty() {
                    each(bucket, place, entry);
                }
            }
        }
    }

    pub(super) fn overflows(&self, bucket: u64) -> bool {
        self.load(word_index(bucket, 0)) & OVERFLOW_BIT != 0
    }

    /// How many entries pass by a bucket, as counted.
    pub(super) fn passing_by(&self, bucket: u64) -> u8 {
        self.passing.get(bucket as usize).copied().unwrap_or(0)
    }

    fn candidates(&self, hash: u64) -> Vec<u32> {
        let buckets = (0..PROBE_BUCKETS_MAX).map(|step| bucket_at(hash, step, self.mask));
        buckets
            .flat_map(|bucket| (0..BUCKET_ENTRIES).map(move |place| (bucket, place)))
            .map(|(bucket, place)| self.entry(bucket, place).slot())
            .collect()
    }

    fn free_place(&self, bucket: u64) -> Option<u64> {
        (0..BUCKET_ENTRIES).find(|&place| self.entry(bucket, place).is_empty())
    }

    fn place_of(&self, bucket: u64, wanted: Entry) -> Option<u64> {
        (0..BUCKET_ENTRIES).find(|&place| self.entry(bucket, place) == wanted)
    }

    pub(super) fn entry(&self, bucket: u64, place: u64) -> Entry {
        Entry::from_word(self.load(word_index(bucket, place)))
    }

    /// Writes an entry and leaves the bucket's overflow bit as it is.
    fn put(&mut self, bucket: u64, place: u64, entry: Entry) {
        let kept = if place == 0 { self.load(word_index(bucket, 0)) & OVERFLOW_BIT } else { 0 };
        self.store_with_copy(bucket, place, entry.0 | kept);
    }

    // r[impl index.overflow]
    fn pass_by(&mut self, bucket: u64) {
        self.count_passing(bucket, |passing| passing.saturating_add(1));
        if !self.overflows(bucket) {
            self.set_overflow(bucket, true);
        }
    }

    fn pass_no_more(&mut self, bucket: u64) {
        self.count_passing(bucket, |passing| passing.saturating_sub(1));
        if self.passing_by(bucket) == 0 {
            self.set_overflow(bucket, false);
        }
    }

    fn count_passing(&mut self, bucket: u64, change: impl Fn(u8) -> u8) {
        for bucket in iter::once(bucket).chain(self.copy_of(bucket)) {
            if let Some(passing) = self.passing.get_mut(bucket as usize) {
                *passing = change(*passing);
            }
        }
    }

    fn set_overflow(&mut self, bucket: u64, wanted: bool) {
        let word = self.load(word_index(bucket, 0)) & !OVERFLOW_BIT;
        self.store_with_copy(bucket, 0, if wanted { word | OVERFLOW_BIT } else { word });
    }

    fn store_with_copy(&mut self, bucket: u64, place: u64, word: u64) {
        self.store(word_index(bucket, place), word);
        if let Some(copy) = self.copy_of(bucket) {
            self.store(word_index(copy, place), word);
        }
    }

    /// A word of the region. Indexes come from masked buckets and places below eight, for which the
    /// array was checked to be large enough; a word outside would read as empty.
    pub(super) fn load(&self, index: u64) -> u64 {
        // No edge: this process wrote it.
        self.words.load(index, Ordering::Relaxed).unwrap_or(0)
    }

    /// Stores a word; its index is as good as in `load`.
    pub(super) fn store(&mut self, index: u64, word: u64) {
        // edge: index.insert; what was written about the slot before is seen by whoever loads the
        // entry. Also keeps overflow bit and entry in their order, and both behind a larger mask.
        let stored = self.words.store(index, word, INSERT_STORE);
        debug_assert!(stored.is_ok(), "{stored:?}");
    }
}
