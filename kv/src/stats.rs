//! Figures of the cache since the host's start, as it counts them and as they travel.

use zerocopy::little_endian as le;

macro_rules! stats {
    ($($(#[$meta:meta])* $name:ident,)+) => {
        /// Figures of the cache. Counts start at 0 with each life of the host.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        #[non_exhaustive]
        pub struct CacheStats { $($(#[$meta])* pub $name: u64,)+ }

        impl CacheStats {
            /// Names of the figures, in the order in which they travel.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)+];

            /// The figures in the order of [`CacheStats::NAMES`].
            pub fn words(&self) -> [u64; CacheStats::NAMES.len()] { [$(self.$name,)+] }

            /// Figures that travelled; those that the other side does not know are 0.
            pub fn from_words(words: &[le::U64]) -> CacheStats {
                let mut words = words.iter();
                CacheStats { $($name: words.next().map_or(0, |word| word.get()),)+ }
            }
        }
    };
}

stats! {
    /// Keys looked up and found.
    hits,
    /// Keys looked up and not found.
    misses,
    /// Blocks published.
    publishes,
    /// Blocks not published because their key was there.
    duplicates,
    /// Blocks not published for any other reason.
    refusals,
    /// Keys deleted.
    deletes,
    /// Deletes that were refused because somebody had the key pinned.
    deletes_busy,
    /// Blocks evicted: for capacity, for room in the pool or in the index.
    evictions,
    /// Of these, for room in the pool.
    evictions_for_room,
    /// Of these, for room in the index.
    evictions_for_index,
    /// Blocks retired because their time was over.
    expired,
    /// Blocks retired because a reader found them corrupt.
    corrupt,
    /// Reports about blocks that were not there any more.
    reports_stale,
    /// Blocks taken out because a peer that was written off may still read them.
    withdrawn,
    /// Pins held now, each counted as often as it was asked for.
    pins,
    /// Blocks pinned now.
    pinned_blocks,
    /// Blocks published now.
    blocks,
    /// Bytes of their payloads.
    bytes,
    /// Bytes of their slots: what a capacity in bytes counts.
    slot_bytes,
    /// Capacity in blocks; 0 where it is not counted in blocks.
    capacity_blocks,
    /// Capacity in bytes of slots; 0 where it is not counted in bytes.
    capacity_bytes,
    /// Blocks that are neither evicted nor deleted because the host was restarted, and a guest of the
    /// host before that may have them pinned has not come back.
    guarded_blocks,
    /// Buckets of the index that are in use, each with eight places.
    index_buckets,
    /// Keys that guests found without asking the host, as far as their notes of it have come: some are
    /// lost, and none tells of a key that was not found. They are not among `hits`.
    direct_hits,
}

impl CacheStats {
    /// Size of the figures as they travel, in bytes.
    pub const SIZE_BYTES: usize = CacheStats::NAMES.len() * 8;
}
