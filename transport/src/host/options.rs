//! What a host is started with.

use crate::error::GeometryError;
use crate::growth_helper::GrowthHelper;
use crate::host::{HostEvent, MemoryError};
use crate::layout::{GRANULE_BYTES_DEFAULT, Geometry, SLOTS_MAX};
use crate::memory::MemoryOptions;
use crate::pool::ClassTable;
use crate::segment::Backing;
use crate::service::Service;
use crate::socket::Allowed;
use onecopy_shm::LEASES_MAX;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// Options of a host. Geometry (sizes, granule, classes, `guests_max`, `leases_max`) is used when
/// the segment is made; an existing segment keeps its own.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Directory of the segment.
    pub segment: PathBuf,
    /// Where the pool lies, if not in the segment's directory: a file or a device.
    pub pool: Option<PathBuf>,
    /// Bytes of pool to start with; rounded up to the extent unit.
    pub pool_bytes: u64,
    /// Largest size the pool can ever have, in bytes; rounded up to the extent unit.
    pub pool_bytes_max: u64,
    /// Smallest slot in bytes; a power of two, 64 B to 2 MiB.
    pub granule_bytes: u64,
    /// Largest slot in bytes; `None` means an eighth of the largest pool.
    pub slot_bytes_max: Option<u64>,
    /// The slot sizes, if not the default ones.
    pub classes: Option<Vec<u64>>,
    /// Most guests attached at once, 1 to 2048.
    pub guests_max: u32,
    /// Data capacity of each ring, in bytes; a power of two, 1 KiB to 64 MiB.
    pub ring_capacity_bytes: u32,
    /// Payloads of at most this many bytes travel in the frame; at most what a frame can hold.
    pub inline_bytes_max: u32,
    /// Uses that each of the eight shards of a guest's touch log holds until the host takes them (a
    /// thread keeps to one shard); a power of two, 8 to 65,536. What does not fit is lost to the order
    /// of eviction.
    pub touch_entries: u32,
    /// How often a guest must change its heartbeat word.
    pub heartbeat_interval: Duration,
    /// A guest that is silent for so many heartbeat intervals is suspect.
    pub suspect_after_intervals: u32,
    /// Send SIGKILL to the process of a guest that has been suspect for so long, and so obtain the
    /// proof of its death. Counted while the host's own loop turns. Not for a guest of an earlier host
    /// that has not attached anew: nothing tells whether it has had a reason to. `None`: never.
    pub kill_suspects_after: Option<Duration>,
    /// Cells in each lease table: the most leases one guest process can hold.
    pub leases_max: u32,
    /// Most bytes of slots granted to one guest; `None` means a quarter of the largest pool, and
    /// at least two of the largest slots.
    pub grant_bytes_max: Option<u64>,
    /// For so long after a restart nothing that was there before is given up for room, unless all
    /// guests of the host before have come back or are gone. Zero: not at all.
    pub restart_grace: Duration,
    /// Most slots granted to one guest, whatever their size; at least 1.
    pub grant_slots_max: u32,
    /// Most requests of one guest that the host has taken and not answered yet; at least 1. Those that
    /// it has not taken are bounded by the guest's ring.
    pub requests_max: u32,
    /// Most free slots kept ready in one guest's magazine of one class.
    pub magazine_slots_max: u32,
    /// Never sleep: poll the rings without pause.
    pub polling: bool,
    /// Users and groups that may attach, besides the host's own user.
    pub allowed: Allowed,
    /// Survive guests that cut the files which they may write: a handler for SIGBUS is installed in
    /// this process (see `onecopy_shm::sigbus`), and the guest is cut off. Without it such a guest
    /// ends the host.
    pub guard: bool,
    /// Remove the segment when the host leaves in order.
    pub remove_on_leave: bool,
    /// Who reserves memory. Without a helper the host does so itself, and where a control group runs
    /// out of memory in spite of what its numbers said, the kernel may kill the host. The default is
    /// this program, if its `main` calls [`GrowthHelper::register`].
    pub growth_helper: Option<GrowthHelper>,
    /// How the memory of pool and control area is taken.
    pub memory: MemoryOptions,
    /// Set to true by anybody, it ends a start that is still taking memory: it fails with
    /// `GrowError::GivenUp` and removes what it has made. Of a segment that stood there before, all
    /// stays. It is looked at between steps of 64 MiB.
    pub start_given_up: Option<Arc<AtomicBool>>,
    /// Where to tell of attaches, deaths and growth.
    pub events: Option<Sender<HostEvent>>,
}

impl HostOptions {
    /// The defaults for a segment at this path.
    pub fn new(segment: impl Into<PathBuf>) -> HostOptions {
        HostOptions {
            segment: segment.into(),
            pool: None,
            pool_bytes: 1 << 30,
            pool_bytes_max: 8 << 30,
            granule_bytes: GRANULE_BYTES_DEFAULT,
            slot_bytes_max: None,
            classes: None,
            guests_max: 64,
            ring_capacity_bytes: 64 << 10,
            inline_bytes_max: 4 << 10,
            touch_entries: 2048,
            heartbeat_interval: Duration::from_millis(100),
            suspect_after_intervals: 30,
            kill_suspects_after: None,
            leases_max: LEASES_MAX,
            grant_bytes_max: None,
            restart_grace: Duration::from_secs(10),
            grant_slots_max: 1 << 16,
            requests_max: 256,
            magazine_slots_max: 32,
            polling: false,
            allowed: Allowed::default(),
            guard: true,
            remove_on_leave: false,
            growth_helper: GrowthHelper::of_this_program(),
            memory: MemoryOptions::default(),
            start_given_up: None,
            events: None,
        }
    }

    /// The geometry of a new segment, checked.
    pub(super) fn geometry(&self, service: &dyn Service) -> Result<Geometry, GeometryError> {
        let unit_bytes = Geometry::unit_bytes_for(self.granule_bytes.max(1));
        let round_up = |bytes: u64| bytes.div_ceil(unit_bytes).saturating_mul(unit_bytes);
        let pool_bytes_max = round_up(self.pool_bytes_max.max(self.pool_bytes));
        let slot_bytes_max = self.slot_bytes_max.unwrap_or(pool_bytes_max / 8);
        let classes = match &self.classes {
            Some(list) => list.clone(),
            None => {
                ClassTable::default_classes(self.granule_bytes, slot_bytes_max)?.sizes().to_vec()
            }
        };
        let mut geometry = Geometry {
            granule_bytes: self.granule_bytes,
            unit_bytes,
            pool_bytes_max,
            slots_max: (pool_bytes_max / self.granule_bytes.max(1)).min(SLOTS_MAX),
            // Twice the guests: rows of peers that are not proven dead stay taken.
            peers_max: u64::from(self.guests_max) * 2,
            service_bytes: 0,
            service_id: service.id(),
            classes,
            leases_max: u64::from(self.leases_max),
        };
        geometry.service_bytes = service.region_bytes(&geometry);
        geometry.check()?;
        Ok(geometry)
    }

    /// Most bytes of slots one guest may hold.
    pub(super) fn grant_quota_bytes(&self, geometry: &Geometry) -> u64 {
        let largest = geometry.classes.last().copied().unwrap_or(0);
        self.grant_bytes_max.unwrap_or((geometry.pool_bytes_max / 4).max(2 * largest))
    }
}

/// Sizes that a pool can have: multiples of the extent unit, and of what its file takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PoolSteps {
    unit_bytes: u64,
    step_bytes: u64,
    size_bytes_max: u64,
}

impl PoolSteps {
    /// For a pool in this file.
    // r[impl pool-memory.hugetlbfs]
    pub fn new(geometry: &Geometry, backing: &Backing) -> PoolSteps {
        // Both are powers of two.
        let step_bytes = geometry.unit_bytes.max(backing.alignment_bytes());
        let size_bytes_max = geometry.pool_bytes_max - geometry.pool_bytes_max % step_bytes;
        PoolSteps { unit_bytes: geometry.unit_bytes, step_bytes, size_bytes_max }
    }

    /// The size of a new pool that is to have so many bytes: at least two units.
    pub fn at_start(&self, path: &Path, pool_bytes: u64) -> Result<u64, MemoryError> {
        let &PoolSteps { step_bytes, size_bytes_max, .. } = self;
        let needed_bytes = 2 * self.unit_bytes;
        if size_bytes_max < needed_bytes {
            let path = path.to_owned();
            return Err(MemoryError::TooSmall { path, step_bytes, size_bytes_max, needed_bytes });
        }
        Ok(self.round_up(pool_bytes.max(needed_bytes)))
    }

    /// The largest size.
    pub fn size_bytes_max(&self) -> u64 {
        self.size_bytes_max
    }

    /// The next size of at least so many bytes, or the largest.
    pub fn round_up(&self, size_bytes: u64) -> u64 {
        let steps = size_bytes.div_ceil(self.step_bytes);
        steps.saturating_mul(self.step_bytes).min(self.size_bytes_max)
    }
}
