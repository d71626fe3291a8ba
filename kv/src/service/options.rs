//! What a cache is started with.

use crate::policy::PolicyKind;

/// How much may be published. Slots that are granted, retired or free do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Capacity {
    /// As much as the pool holds.
    #[default]
    Unbounded,
    /// So many blocks.
    Blocks(u64),
    /// So many bytes, counted by the slots that the blocks stand in.
    Bytes(u64),
}

// r[impl kv.policy]
/// Options of a [`super::CacheService`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheServiceOptions {
    /// How much may be published. Default: unbounded.
    pub capacity: Capacity,
    /// What goes first. Default: least recently used.
    pub policy: PolicyKind,
    /// The most blocks that one peer may have pinned at a time. Default: 65,536.
    pub pins_per_peer_max: u32,
}

impl Default for CacheServiceOptions {
    fn default() -> CacheServiceOptions {
        CacheServiceOptions {
            capacity: Capacity::default(),
            policy: PolicyKind::default(),
            pins_per_peer_max: 1 << 16,
        }
    }
}

impl Capacity {
    /// Whether so many blocks in slots of so many bytes fit.
    pub(super) fn holds(self, blocks: u64, slot_bytes: u64) -> bool {
        match self {
            Capacity::Unbounded => true,
            Capacity::Blocks(blocks_max) => blocks <= blocks_max,
            Capacity::Bytes(bytes_max) => slot_bytes <= bytes_max,
        }
    }
}
