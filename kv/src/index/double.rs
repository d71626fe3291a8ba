//! Doubling in place, a few buckets at a time, while readers read.
//!
//! A key with home `h` and `n` buckets stands at `h + s` modulo `n`. With `2 n` buckets its home is `h`
//! or `h + n`, and the bucket `s` behind that is one of two: the bucket it stands in, or its *twin*, `n`
//! further on. This is so beyond the end of the table too; only which of the two it is turns round
//! there. So the whole lower half is copied, entries and overflow bits, and then everything is where a
//! search with the larger mask looks, and everything is there a second time, in the twin. That second
//! entry is a *ghost*: no search for its key comes by it. It is what a key would be whose hash differs
//! in the one bit that the larger mask adds, and is counted and erased as such.
//!
//! | phase | mask | a change of bucket `i` |
//! | --- | --- | --- |
//! | stable | `n - 1` | in `i` |
//! | copying | `n - 1` | in `i`, and in `i + n` if that is a copy already |
//! | erasing | `2 n - 1` | in `i`; who removes a key removes its ghost |
//!
//! A reader with the smaller mask finds all that stood there when the larger one was published. What it
//! misses it misses because of a store after that, and then it sees the larger mask.

use onecopy_shm::crash_point;

use super::edges::MASK_STORE;
use super::{Entry, IndexWriter, LOAD_MAX_PERCENT, bucket_at, word_index};
use crate::format::{BUCKET_ENTRIES, PROBE_BUCKETS_MAX};

/// Where a doubling stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// None is under way.
    Stable,
    /// The buckets below `next` have a copy in the half that no reader knows of.
    Copying { next: u64 },
    /// Both halves are in use; the pairs of twins from `next` on may hold ghosts.
    Erasing { next: u64 },
}

impl IndexWriter {
    /// Says up to how many buckets the region is real memory. Fewer than before are not taken.
    pub fn set_buckets_ready(&mut self, buckets: u64) {
        self.buckets_ready = buckets.clamp(self.buckets_ready, self.buckets_max);
    }

    /// Whether a doubling is under way.
    pub fn is_doubling(&self) -> bool {
        self.phase != Phase::Stable
    }

    /// Takes a doubling on by so many buckets at most, or begins one where there are more entries than
    /// [`LOAD_MAX_PERCENT`] allows and the memory is there. `hash_of` tells the hash of the key in a
    /// slot that has an entry.
    // r[impl index.double]
    pub fn advance(&mut self, buckets: u64, mut hash_of: impl FnMut(u32) -> u64) {
        for _ in 0..buckets {
            match self.phase {
                Phase::Stable if self.is_wanted() && self.can_double() => self.begin(),
                Phase::Stable => return,
                Phase::Copying { next } if next < self.bucket_count() => self.copy(next),
                Phase::Copying { .. } => self.publish_mask(),
                Phase::Erasing { next } => self.erase(next, &mut hash_of),
            }
        }
    }

    /// Erases some of what a doubling has left in the buckets that a key of this hash may be in and in
    /// their twins. Whether there was anything: it may have made a place for that key.
    pub fn make_place(&mut self, hash: u64, mut hash_of: impl FnMut(u32) -> u64) -> bool {
        if !matches!(self.phase, Phase::Erasing { .. }) {
            return false;
        }
        let half = self.half();
        let mut pairs = (0..PROBE_BUCKETS_MAX).map(|step| bucket_at(hash, step, half - 1));
        pairs.any(|pair| self.erase_pair(pair, &mut hash_of))
    }

    fn is_wanted(&self) -> bool {
        let places = self.bucket_count() * BUCKET_ENTRIES;
        self.count * 100 > places * LOAD_MAX_PERCENT
    }

    fn can_double(&self) -> bool {
        self.bucket_count() * 2 <= self.buckets_ready
    }

    pub(super) fn begin(&mut self) {
        let buckets = usize::try_from(self.bucket_count()).unwrap_or(usize::MAX);
        // All at once: it is moved by the system and not copied. Without memory it stays as it is.
        if self.passing.try_reserve_exact(buckets).is_ok() {
            self.phase = Phase::Copying { next: 0 };
        }
    }

    fn copy(&mut self, bucket: u64) {
        let twin = bucket + self.bucket_count();
        for place in 0..BUCKET_ENTRIES {
            let word = self.load(word_index(bucket, place));
            self.store(word_index(twin, place), word);
        }
        self.passing.push(self.passing_by(bucket));
        self.phase = Phase::Copying { next: bucket + 1 };
    }

    // r[impl crash.i1]
    // r[impl crash.i2]
    fn publish_mask(&mut self) {
        crash_point!("index.double.copied");
        self.mask = self.mask * 2 + 1;
        // edge: index.mask
        self.mask_word.store(self.mask, MASK_STORE);
        crash_point!("index.double.published");
        self.phase = Phase::Erasing { next: 0 };
    }

    fn erase(&mut self, pair: u64, hash_of: &mut impl FnMut(u32) -> u64) {
        self.erase_pair(pair, hash_of);
        let next = pair + 1;
        self.phase = if next < self.half() { Phase::Erasing { next } } else { Phase::Stable };
    }

    /// Erases the ghosts of a bucket of the lower half and its twin. Whether there were any.
    fn erase_pair(&mut self, pair: u64, hash_of: &mut impl FnMut(u32) -> u64) -> bool {
        let twin = pair + self.half();
        let mut any = false;
        for place in 0..BUCKET_ENTRIES {
            let entry = self.entry(pair, place);
            // A slot has one entry, so the same one in the twin means that one is a ghost.
            if entry.is_empty() || entry != self.entry(twin, place) {
                continue;
            }
            let hash = hash_of(entry.slot());
            let ghost = if self.steps_to(hash, pair).is_some() { twin } else { pair };
            any |= self.erase_ghost(hash, ghost, place);
        }
        any
    }

    /// Erases the ghost of a key of this hash, if its place is one where that can be.
    fn erase_ghost(&mut self, hash: u64, bucket: u64, place: u64) -> bool {
        let hash = self.ghost_hash(hash);
        let Some(steps) = self.steps_to(hash, bucket) else { return false };
        self.take_out(hash, steps, bucket, place);
        true
    }

    /// Erases the ghost of an entry that was taken out of this place, if it has one.
    pub(super) fn remove_ghost(&mut self, hash: u64, wanted: Entry, bucket: u64, place: u64) {
        if !matches!(self.phase, Phase::Erasing { .. }) {
            return;
        }
        let twin = bucket ^ self.half();
        if self.entry(twin, place) == wanted {
            self.erase_ghost(hash, twin, place);
        }
    }

    /// The hash of the key that a ghost would be the entry of. To be called while erasing.
    pub(super) fn ghost_hash(&self, hash: u64) -> u64 {
        hash ^ self.half()
    }

    /// The twin of a bucket, where one of both may hold ghosts of the other.
    pub(super) fn twin_of_ghost(&self, bucket: u64) -> Option<u64> {
        let pair = bucket & (self.half() - 1);
        matches!(self.phase, Phase::Erasing { next } if pair >= next)
            .then_some(bucket ^ self.half())
    }

    /// Buckets before the doubling that is being finished.
    fn half(&self) -> u64 {
        self.bucket_count() / 2
    }

    /// Where the copy of a bucket stands that is kept the same as it.
    pub(super) fn copy_of(&self, bucket: u64) -> Option<u64> {
        match self.phase {
            Phase::Copying { next } if bucket < next => Some(bucket + self.bucket_count()),
            _ => None,
        }
    }
}
