//! Checking an index against the slots it names.

use std::collections::HashSet;
use std::iter;

use super::{Entry, IndexWriter, bucket_at, word_index};
use crate::format::BUCKET_ENTRIES;

/// What an audit of the index found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexFault {
    /// An entry of a slot that holds no key.
    #[error("bucket {bucket}, place {place}: slot {slot} is not published")]
    NotPublished {
        /// The bucket.
        bucket: u64,
        /// Which entry of it.
        place: u64,
        /// The slot it names.
        slot: u32,
    },
    /// An entry that no search for its slot's key meets.
    #[error("bucket {bucket}, place {place}: the key of slot {slot} is not looked for here")]
    Unreachable {
        /// The bucket.
        bucket: u64,
        /// Which entry of it.
        place: u64,
        /// The slot it names.
        slot: u32,
    },
    /// A second entry of a slot.
    #[error("bucket {bucket}, place {place}: slot {slot} has another entry")]
    Twice {
        /// The bucket.
        bucket: u64,
        /// Which entry of it.
        place: u64,
        /// The slot it names.
        slot: u32,
    },
    /// While the index doubles, a word of a copy that differs from what was copied.
    #[error(
        "bucket {bucket}, place {place}: found {found:#018x}, expected {expected:#018x}, of which it is a copy"
    )]
    Copy {
        /// The bucket that is a copy.
        bucket: u64,
        /// Which entry of it.
        place: u64,
        /// The word in it.
        found: u64,
        /// The word in the bucket that was copied.
        expected: u64,
    },
    /// More or fewer keys pass by a bucket than were counted, or its overflow bit says otherwise.
    #[error(
        "bucket {bucket}: {found} keys pass by, {counted} were counted, and the overflow bit is \
         {overflow}"
    )]
    Passing {
        /// The bucket.
        bucket: u64,
        /// Keys that pass by.
        found: u32,
        /// Keys that were counted.
        counted: u32,
        /// Whether the overflow bit is set.
        overflow: bool,
    },
    /// More or fewer entries than were counted.
    #[error("{found} entries, expected {counted}")]
    Count {
        /// Entries found.
        found: u64,
        /// Entries counted.
        counted: u64,
    },
}

impl IndexWriter {
    /// Checks every entry, bit and count, and calls `report` with each fault. `hash_of` tells the hash
    /// of the key that a slot holds, and nothing for a slot that is not published. That every published
    /// slot has an entry is for the caller to check, by [`IndexWriter::find`].
    // r[impl index.audit]
    pub fn audit(
        &self,
        mut hash_of: impl FnMut(u32) -> Option<u64>,
        mut report: impl FnMut(IndexFault),
    ) {
        let mut found =
            Found { passing: vec![0; self.bucket_count() as usize], ..Found::default() };
        self.for_each_entry(|bucket, place, entry| {
            if let Some(fault) = self.look_at(bucket, place, entry, &mut hash_of, &mut found) {
                report(fault);
            }
        });
        if found.count != self.count() {
            report(IndexFault::Count { found: found.count, counted: self.count() });
        }
        for (bucket, &passing) in (0..).zip(&found.passing) {
            for at in iter::once(bucket).chain(self.copy_of(bucket)) {
                let (counted, overflow) = (u32::from(self.passing_by(at)), self.overflows(at));
                if passing != counted || (passing > 0) != overflow {
                    report(IndexFault::Passing { bucket: at, found: passing, counted, overflow });
                }
            }
        }
        self.audit_copies(report);
    }

    fn look_at(
        &self,
        bucket: u64,
        place: u64,
        entry: Entry,
        hash_of: &mut impl FnMut(u32) -> Option<u64>,
        found: &mut Found,
    ) -> Option<IndexFault> {
        let slot = entry.slot();
        if self.twin_of_ghost(bucket).is_some_and(|twin| self.entry(twin, place) == entry)
            && let Some(hash) = hash_of(slot).map(|hash| self.ghost_hash(hash))
            && let Some(steps) = self.steps_to(hash, bucket)
        {
            // Whatever is wrong with its key's own entry is told there.
            found.pass(self, hash, steps);
            return None;
        }
        found.count += 1;
        if !found.slots.insert(slot) {
            return Some(IndexFault::Twice { bucket, place, slot });
        }
        let Some(hash) = hash_of(slot) else {
            return Some(IndexFault::NotPublished { bucket, place, slot });
        };
        let steps = self.steps_to(hash, bucket).filter(|_| Entry::new(hash, slot) == entry);
        let Some(steps) = steps else {
            return Some(IndexFault::Unreachable { bucket, place, slot });
        };
        found.pass(self, hash, steps);
        None
    }

    fn audit_copies(&self, mut report: impl FnMut(IndexFault)) {
        for original in 0..self.bucket_count() {
            let Some(bucket) = self.copy_of(original) else { break };
            for place in 0..BUCKET_ENTRIES {
                let expected = self.load(word_index(original, place));
                let found = self.load(word_index(bucket, place));
                if found != expected {
                    report(IndexFault::Copy { bucket, place, found, expected });
                }
            }
        }
    }
}

/// What was found of the entries so far.
#[derive(Default)]
struct Found {
    slots: HashSet<u32>,
    passing: Vec<u32>,
    count: u64,
}

impl Found {
    /// Counts an entry at each bucket that it passes by.
    fn pass(&mut self, index: &IndexWriter, hash: u64, steps: u64) {
        for step in 0..steps {
            let passed = bucket_at(hash, step, index.bucket_count() - 1);
            if let Some(count) = self.passing.get_mut(passed as usize) {
                *count += 1;
            }
        }
    }
}
