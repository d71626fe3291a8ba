//! Doubling the index beside the host's other work.

use super::Core;
use crate::index::hash_key;
use crate::note::Note;
use onecopy_transport::pool::VarSlotPool;

/// Most buckets by which a doubling goes on with each publish: enough to be through before the next one
/// is due.
pub(super) const BUCKETS_PER_PUBLISH: u64 = 4;
/// Most buckets by which it goes on in one tick: up to eight cache misses each.
pub(super) const BUCKETS_PER_TICK: u64 = 512;

impl Core {
    /// Goes on with a doubling of the index, or begins one.
    // r[impl index.pace]
    pub(super) fn advance_index(&mut self, buckets: u64, pool: &VarSlotPool) {
        let seed = self.index.seed();
        self.index.advance(buckets, |slot| hash_of(slot, seed, pool));
    }

    /// Takes out some of what a doubling of the index left where this hash belongs. Whether that was anything.
    pub(super) fn make_index_place(&mut self, hash: u64, pool: &VarSlotPool) -> bool {
        let seed = self.index.seed();
        self.index.make_place(hash, |slot| hash_of(slot, seed, pool))
    }
}

/// The hash of the key in the note of a published slot.
fn hash_of(slot: u32, seed: u64, pool: &VarSlotPool) -> u64 {
    hash_key(&Note::from_words(pool.note(slot)).key, seed)
}
