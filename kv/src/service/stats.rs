//! Figures as they are told.

use super::{Capacity, Core};
use crate::stats::CacheStats;

impl Core {
    /// What was counted, and what is published and pinned now.
    // r[impl kv.stats]
    pub(super) fn stats(&self) -> CacheStats {
        let mut stats = self.counted;
        stats.pins = self.pins.total();
        stats.pinned_blocks = self.usage.pinned_blocks;
        stats.blocks = self.usage.blocks;
        stats.guarded_blocks = u64::from(self.policy.guarded_count());
        stats.bytes = self.usage.bytes;
        stats.slot_bytes = self.usage.slot_bytes;
        stats.index_buckets = self.index.bucket_count();
        match self.capacity {
            Capacity::Unbounded => {}
            Capacity::Blocks(blocks) => stats.capacity_blocks = blocks,
            Capacity::Bytes(bytes) => stats.capacity_bytes = bytes,
        }
        stats
    }
}
