//! Checking an index against the slots it names.

use std::collections::HashSet;

use super::{Entry, IndexWriter, bucket_at};

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
        let mut seen = HashSet::new();
        let mut passing = vec![0u32; self.bucket_count() as usize];
        let mut found = 0;
        self.for_each_entry(|bucket, place, entry| {
            found += 1;
            let slot = entry.slot();
            if !seen.insert(slot) {
                return report(IndexFault::Twice { bucket, place, slot });
            }
            let Some(hash) = hash_of(slot) else {
                return report(IndexFault::NotPublished { bucket, place, slot });
            };
            let steps = self.steps_to(hash, bucket).filter(|_| Entry::new(hash, slot) == entry);
            let Some(steps) = steps else {
                return report(IndexFault::Unreachable { bucket, place, slot });
            };
            for step in 0..steps {
                let passed = bucket_at(hash, step, self.bucket_count() - 1);
                if let Some(count) = passing.get_mut(passed as usize) {
                    *count += 1;
                }
            }
        });
        if found != self.count() {
            report(IndexFault::Count { found, counted: self.count() });
        }
        for (bucket, &found) in (0..).zip(&passing) {
            let (counted, overflow) = (u32::from(self.passing_by(bucket)), self.overflows(bucket));
            if found != counted || (found > 0) != overflow {
                report(IndexFault::Passing { bucket, found, counted, overflow });
            }
        }
    }
}
