//! Cutting guests off: why, how often, and what becomes of what they have.

use super::Host;
use super::core::Core;
use super::events::HostEvent;
use super::liveness::Gone;
use super::peer::{Ended, Peer};
use crate::format::SuspectReason;
use crate::service::Service;
use onecopy_shm::{crash_point, sigbus};
use std::sync::atomic::Ordering;
use thiserror::Error;

/// Why a host ended the link of a guest.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CutOffReason {
    /// What stands in its rings is no frame, or a position that cannot be.
    #[error("its rings are broken: {0}")]
    Ring(String),
    /// It has cut the file of its rings.
    #[error("the file of its rings was cut while it was in use")]
    RingsTorn,
    /// It has cut the file of its lease table.
    #[error("the file of its lease table was cut while it was in use")]
    LeasesTorn,
    /// Somebody asked for it.
    #[error("{0}")]
    ByHand(String),
}

/// Links ended by the host, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutOffs {
    /// For a broken ring.
    pub ring: u64,
    /// For a file of rings that was cut.
    pub rings_torn: u64,
    /// For a file of leases that was cut.
    pub leases_torn: u64,
    /// By hand.
    pub by_hand: u64,
}

impl CutOffs {
    fn count(&mut self, reason: &CutOffReason) {
        *match reason {
            CutOffReason::Ring(_) => &mut self.ring,
            CutOffReason::RingsTorn => &mut self.rings_torn,
            CutOffReason::LeasesTorn => &mut self.leases_torn,
            CutOffReason::ByHand(_) => &mut self.by_hand,
        } += 1;
    }

    /// Each figure with its name.
    pub(super) fn figures(&self) -> [(&'static str, u64); 5] {
        let CutOffs { ring, rings_torn, leases_torn, by_hand } = *self;
        [
            ("cut_off", ring + rings_torn + leases_torn + by_hand),
            ("cut_off_ring", ring),
            ("cut_off_rings_torn", rings_torn),
            ("cut_off_leases_torn", leases_torn),
            ("cut_off_by_hand", by_hand),
        ]
    }
}

impl<S: Service> Host<S> {
    /// Acts on links that ended in this turn.
    pub(super) fn sweep_ended(&mut self) {
        let mut index = 0;
        while index < self.peers.len() {
            match self.peers[index].ended.take() {
                Some(Ended::Goodbye) => self.recover(index, Gone::Goodbye),
                // Looked at once more: who was dead already has made room for another.
                Some(Ended::CutOff(reason)) => self.cut_off(index, reason),
                None => index += 1,
            }
        }
    }

    /// Ends a peer's link, not its life: what it holds is quarantined until it is proven dead.
    // r[impl peer.cut_off]
    // r[impl crash.stopped]
    pub(super) fn cut_off(&mut self, index: usize, reason: CutOffReason) {
        let peer = &mut self.peers[index];
        let (serial, pid) = (peer.who.serial, peer.who.process.pid);
        tracing::warn!(serial, pid, %reason, "guest cut off");
        self.core.control.set_attached(peer.who.row.into(), 0);
        crash_point!("peer.cut_off.stored");
        if let Some(link) = peer.link.take() {
            self.poller.forget_link(&link);
        }
        self.core.set_suspect(peer, SuspectReason::CutOff, reason.to_string());
        self.core.pool.quarantine(serial);
        self.core.counters.cut_off.count(&reason);
        self.core.tell(HostEvent::CutOff { serial, reason });
        if peer.is_dead() {
            self.recover(index, Gone::Dead);
        }
    }

    /// Cuts off whoever has cut a file under this host since this was last asked. Between tears it
    /// costs one load.
    // r[impl peer.torn]
    pub(super) fn cut_off_torn(&mut self) {
        let tears = sigbus::tears();
        if tears == self.tears_seen {
            return;
        }
        self.tears_seen = tears;
        for peer in self.peers.iter_mut() {
            if let Some(reason) = self.core.torn(peer) {
                peer.ended = Some(Ended::CutOff(reason));
            }
        }
        self.sweep_ended();
    }
}

impl<S: Service> Core<S> {
    /// Why this peer has to be cut off, if it has cut a file and its leases still count.
    fn torn(&self, peer: &Peer) -> Option<CutOffReason> {
        let (serial, row) = (peer.who.serial, peer.who.row);
        if peer.link.as_ref().is_some_and(|link| link.rings.is_torn()) {
            return Some(CutOffReason::RingsTorn);
        }
        // Guests of an earlier host have no link, and are told all the same.
        let attached = self.control.reader().attached(row.into())?.load(Ordering::Relaxed);
        let mut tables = self.leases.iter().filter(|leases| leases.who.serial == serial);
        let is_torn = attached != 0 && tables.any(|leases| leases.leases.is_torn());
        is_torn.then_some(CutOffReason::LeasesTorn)
    }
}
