//! The kinds of campaign: how large pool and cache are, and what the guests do with them.

use super::blocks::LENGTH_MAX;
use onecopy::service::{CacheService, CacheServiceOptions, Capacity};
use onecopy_transport::host::HostOptions;
use std::path::Path;
use std::time::Duration;

/// How often a guest must change its heartbeat word.
const HEARTBEAT: Duration = Duration::from_millis(10);
/// A guest that is silent for so many heartbeats is suspect.
const SUSPECT_AFTER: u32 = 4;

/// One kind of campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// Room for everything, in a pool that grows: nothing is ever evicted, and what was acknowledged
    /// must be there.
    Kept,
    /// The pool is full: slots are had by evicting blocks of the same class.
    FullPool,
    /// The cache holds few blocks.
    FewBlocks,
    /// The cache holds few bytes.
    FewBytes,
}

impl Profile {
    /// Every kind, in the order in which campaigns take turns; every second one keeps everything.
    pub const TURNS: [Profile; 6] = [
        Profile::Kept,
        Profile::FullPool,
        Profile::Kept,
        Profile::FewBlocks,
        Profile::Kept,
        Profile::FewBytes,
    ];

    /// Whether nothing may be evicted.
    // r[impl soak.profiles]
    pub fn keeps_all(self) -> bool {
        self == Profile::Kept
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Kept => "kept",
            Profile::FullPool => "full-pool",
            Profile::FewBlocks => "few-blocks",
            Profile::FewBytes => "few-bytes",
        }
    }

    /// How long a guest is silent at least until it is suspect, several times over.
    pub fn suspicion() -> Duration {
        HEARTBEAT * (SUSPECT_AFTER + 2)
    }

    /// Options of the host of such a campaign.
    pub fn host_options(self, segment: &Path, guests: u32) -> HostOptions {
        let (pool_bytes, pool_bytes_max) = match self {
            Profile::Kept => (8 << 20, 256 << 20),
            Profile::FullPool => (16 << 20, 24 << 20),
            Profile::FewBlocks | Profile::FewBytes => (8 << 20, 128 << 20),
        };
        HostOptions {
            pool_bytes,
            pool_bytes_max,
            slot_bytes_max: Some(LENGTH_MAX),
            guests_max: guests * 2 + 8,
            heartbeat_interval: HEARTBEAT,
            suspect_after_intervals: SUSPECT_AFTER,
            leases_max: 1024,
            grant_bytes_max: Some(24 << 20),
            magazine_slots_max: 16,
            ..HostOptions::new(segment)
        }
    }

    /// The service of its host.
    pub fn service(self) -> CacheService {
        let capacity = match self {
            Profile::Kept | Profile::FullPool => Capacity::Unbounded,
            Profile::FewBlocks => Capacity::Blocks(100),
            Profile::FewBytes => Capacity::Bytes(8 << 20),
        };
        CacheService::new(CacheServiceOptions { capacity, ..CacheServiceOptions::default() })
    }
}
