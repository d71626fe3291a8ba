//! The host: owns a segment, serves the guests that attach to it.
//!
//! One thread turns the loop ([`Host::serve`]); other threads talk to it through a [`HostHandle`].
//! Everything a guest can write is read once into a local and then checked; what the guests hold is
//! known from the host's own heap alone.

mod accept;
mod core;
mod cut_off;
mod deferred;
mod error;
mod events;
mod files;
mod growth;
mod guard;
mod handle;
mod handover;
mod inherit;
mod leases;
mod link;
mod liveness;
mod memory;
mod options;
mod peer;
mod peers;
mod poller;
mod refill;
mod reserve;
mod roster;
mod serve;
mod settle;
mod start;
mod stats;
mod takeover;
#[cfg(test)]
mod tests;
mod text;
mod touches;
mod turn;
mod unmapped;
mod wake;
mod walks;

pub use cut_off::{CutOffReason, CutOffs};
pub use error::StartError;
pub use events::HostEvent;
pub(crate) use files::scan_of;
pub use handle::{HandleError, HostHandle};
pub use memory::MemoryError;
pub use options::HostOptions;
pub use reserve::{PeerReservation, SpawnError};
pub use serve::ServeError;
pub use stats::Counters;

pub use crate::wire::{PeerInfo, SettleError, Settled, Settlement, SuspectInfo};

use crate::audit::AuditReport;
use crate::layout::Geometry;
use crate::segment::{SegmentDir, SegmentLock};
use crate::service::Service;
use crate::socket::AttachListener;
use accept::Greeting;
use core::Core;
use handle::Command;
use onecopy_shm::Sleeper;
use poller::Poller;
use roster::Roster;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;
use wake::WakeHandle;

/// The owner of a segment.
///
/// Dropping it says goodbye to every guest and leaves the segment whole, or removes it if it was
/// started with `remove_on_leave`.
pub struct Host<S: Service> {
    core: Core<S>,
    peers: Roster,
    greetings: Vec<Greeting>,
    greeting_last: u32,
    /// Gone guests whose files are still there.
    unremoved: Vec<peer::Who>,
    listener: AttachListener,
    poller: Poller,
    sleeper: Sleeper,
    dir: SegmentDir,
    control_file: Arc<OwnedFd>,
    pool_file: Arc<OwnedFd>,
    commands: Receiver<Command>,
    handle: HostHandle,
    wake: WakeHandle,
    tick_at: Instant,
    started: Instant,
    /// Coarse clock when this life started, in seconds.
    clock_base_s: u64,
    /// Tears of guarded mappings, of whomever, that were acted on.
    tears_seen: u64,
    leaving: bool,
    /// The service keeps what guests of an earlier host may have asked it to keep.
    guard_up: bool,
    /// Until then at most; `None` for as long as one of them may come back.
    guard_until: Option<Instant>,
    /// The start has come to its end: from here on there is a host to say goodbye for.
    serving: bool,
    /// Until it is given back nobody else may be the host.
    lock: Option<SegmentLock>,
}

impl<S: Service> Host<S> {
    /// What other threads use to talk to this host.
    pub fn handle(&self) -> HostHandle {
        self.handle.clone()
    }

    /// The segment's geometry.
    pub fn geometry(&self) -> &Geometry {
        &self.core.geometry
    }

    /// Where the segment is.
    pub fn segment(&self) -> &std::path::Path {
        self.dir.path().as_path()
    }

    /// The service.
    pub fn service(&self) -> &S {
        &self.core.service
    }

    /// Which life of the host this is, from 1.
    pub fn boot_epoch(&self) -> u64 {
        self.core.control.reader().boot_epoch()
    }

    /// Every figure with its name.
    pub fn stats(&self) -> Vec<(&'static str, u64)> {
        self.core.stats()
    }

    /// Checks everything that must add up.
    pub fn audit(&self) -> AuditReport {
        self.core.audit()
    }
}

impl<S: Service> std::fmt::Debug for Host<S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Host")
            .field("segment", &self.segment())
            .field("peers", &self.peers.len())
            .finish_non_exhaustive()
    }
}
