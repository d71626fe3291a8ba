//! The search as the host does it, in words that it writes; readers have `candidates.rs`.

use super::{Entry, bucket_at, word_index};
use crate::format::{BUCKET_ENTRIES, OVERFLOW_BIT, PROBE_BUCKETS_MAX};

/// Looks through the buckets that a key of this hash can be in. `load` gives a word of the region by
/// its index; `is_key` is asked for each slot whose fingerprint is the wanted one.
// r[impl index.find]
// r[impl index.overflow]
#[inline]
pub(super) fn find(
    load: impl Fn(u64) -> u64,
    mask: u64,
    hash: u64,
    mut is_key: impl FnMut(u32) -> bool,
) -> Option<u32> {
    for step in 0..PROBE_BUCKETS_MAX {
        let bucket = bucket_at(hash, step, mask);
        let first = load(word_index(bucket, 0));
        for place in 0..BUCKET_ENTRIES {
            let word = if place == 0 { first } else { load(word_index(bucket, place)) };
            let entry = Entry::from_word(word);
            if entry.has_fingerprint_of(hash) && !entry.is_empty() && is_key(entry.slot()) {
                return Some(entry.slot());
            }
        }
        if first & OVERFLOW_BIT == 0 {
            return None;
        }
    }
    None
}
