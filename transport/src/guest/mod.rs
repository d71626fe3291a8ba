//! The guest's side of a segment: attach, ask, reserve slots and fill them, lease slots and read
//! them.
//!
//! | edge | store | load |
//! | --- | --- | --- |
//! | guest.noticed | what the growth callbacks did, then the noticed size (Release) | the noticed size (Acquire), then memory below it |
//! | guest.clones | what a clone of a guard read, then its count (AcqRel) | the count (Acquire), then the release of the lease |
//! | guest.closing | a lease, fence (SeqCst), load of `closing` | `closing`, fence (SeqCst), look through the leases; where the host fences for readers, the fence of this side is carried out in theirs as well |
//!
//! The edges of the rings, the doorbells and the leases are those of `onecopy-shm`.

mod areas;
mod attach;
mod bytes;
mod calls;
mod claim;
mod clones;
mod closing;
mod desk;
mod error;
mod flight;
mod goodbye;
mod growth;
mod held;
mod kept;
mod lease;
mod lease_area;
mod link;
mod magazine;
mod options;
mod parker;
mod peers;
mod pending;
mod populate;
mod pulse;
mod reattach;
mod reply;
mod request;
mod reserve;
mod slots;
mod succession;
#[cfg(feature = "tokio")]
mod tasks;
mod text;
mod uses;
mod wait;
mod watcher;

#[cfg(test)]
mod tests;

pub use areas::AreaError;
pub use attach::AttachError;
pub use claim::ATTACH_FD_VARIABLE;
pub use error::{
    CallError, DetachError, Forked, LeaseError, LinkEnd, LinkError, ReserveError, StaleReservation,
    Torn,
};
pub use flight::Pending;
pub use held::Reservation;
pub use lease::{HoldsGuest, SlotGuard};
pub use options::{GuestOptions, REQUESTS_MAX};
pub use reply::Reply;
#[cfg(feature = "tokio")]
pub use tasks::{AsyncGuest, TasksError};

use crate::Serial;
use crate::control::ControlReader;
use crate::format::Role;
use crate::layout::Geometry;
use crate::touch::TouchLog;
use areas::{Areas, PoolViews};
use clones::Leases;
use closing::Closing;
use growth::Growth;
use kept::KeptSlots;
use link::Link;
use onecopy_shm::{Access, ForkGuard, Region};
use populate::Populated;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use succession::Succession;
use watcher::Watcher;

/// One attach to a host: a peer of its own. Cheap to clone; clones are the same peer, and threads
/// may share one.
///
/// The attach ends with a goodbye when the last clone, guard, reservation, reply and pending request
/// is gone, or with [`Guest::detach`]. In a forked child every method says [`Forked`] and dropping
/// does nothing; views of the pool that were made before the fork are not mapped there.
#[derive(Clone, Debug)]
pub struct Guest {
    inner: Arc<Inner>,
}

/// What all clones, guards and reservations of one attach share.
// r[impl guest.leases-last]
#[derive(Debug)]
struct Inner {
    fork: ForkGuard,
    serial: Serial,
    role: Role,
    options: GuestOptions,
    /// Payloads of at most this many bytes travel in the frame.
    inline_bytes_max: u32,
    segment_id: u128,
    control: ControlReader,
    areas: Areas,
    pool: PoolViews,
    /// For a writer that populates what it is granted.
    populated: Option<Populated>,
    /// Behind the pool: fields are dropped in their order.
    leases: Arc<Leases>,
    kept: Arc<KeptSlots>,
    lease_serial: Serial,
    growth: Arc<Growth>,
    link: Link,
    touches: TouchLog,
    /// Slots of the slot table known to be real.
    slots_seen: AtomicU64,
    /// A goodbye is under way: no new leases.
    closing: Closing,
    succession: Succession,
    watcher: Mutex<Option<Watcher>>,
    /// Held by the thread that is being told a text.
    text_turn: Mutex<()>,
}

/// Where the pool is mapped, for registering the memory with a device.
#[derive(Clone, Copy, Debug)]
pub struct PoolMapping {
    /// Address of the first byte; it never changes in the life of the guest.
    pub base_address: usize,
    /// Bytes mapped: the largest size the pool can ever have.
    pub size_bytes_max: u64,
    /// Bytes that are real now; what lies beyond must not be touched.
    pub published_bytes: u64,
    /// What this process may do with it.
    pub access: Access,
}

impl Guest {
    /// Whether this is a forked child of the process that attached: nothing of the segment is mapped here,
    /// and every method says [`Forked`].
    #[inline]
    pub fn is_in_forked_child(&self) -> bool {
        !self.inner.fork.is_this_process()
    }

    /// Which attach this is.
    pub fn serial(&self) -> Serial {
        self.inner.serial
    }

    /// What this guest may do.
    pub fn role(&self) -> Role {
        self.inner.role
    }

    /// The segment's geometry, as it was checked at the attach.
    pub fn geometry(&self) -> &Geometry {
        self.inner.control.geometry()
    }

    /// The segment's random id.
    pub fn segment_id(&self) -> u128 {
        self.inner.segment_id
    }

    /// Payloads of at most this many bytes travel in the frame, larger ones by slot.
    pub fn inline_bytes_max(&self) -> u32 {
        self.inner.inline_bytes_max
    }

    /// The control area, to read.
    pub fn control(&self) -> &ControlReader {
        &self.inner.control
    }

    /// The service's region of the control area, read-only.
    pub fn service_region(&self) -> Region {
        self.inner.control.service_region()
    }

    /// Where the pool is mapped: writable for a writer, read-only for a reader. (A writer has it
    /// read-only a second time, for what it leases.)
    // r[impl guest.pool-mapping]
    pub fn pool(&self) -> PoolMapping {
        let region = self.inner.pool.write.as_ref().unwrap_or(&self.inner.pool.read);
        PoolMapping {
            base_address: region.address().addr(),
            size_bytes_max: region.size_bytes(),
            published_bytes: self.inner.control.pool_bytes(),
            access: region.access(),
        }
    }

    /// Where the pool is mapped read-only: the addresses that [`SlotGuard`]s point into.
    pub fn pool_read_only(&self) -> PoolMapping {
        let region = &self.inner.pool.read;
        PoolMapping {
            base_address: region.address().addr(),
            size_bytes_max: region.size_bytes(),
            published_bytes: self.inner.control.pool_bytes(),
            access: region.access(),
        }
    }

    /// Calls back when the pool has grown, with the size before and after in bytes, before this
    /// guest hands out any slot of the new part. Returns the size from which on it is told. It may
    /// run on any thread that uses the guest, and on the watcher; it must not keep the guest alive.
    // r[impl guest.growth.callback]
    pub fn on_growth(&self, callback: impl Fn(u64, u64) + Send + Sync + 'static) -> u64 {
        self.inner.growth.add(Arc::new(callback))
    }
}
