//! What the host tells of its peers.

use super::Host;
use super::peer::Peer;
use crate::Serial;
use crate::service::Service;
use crate::wire::{PeerInfo, SuspectInfo};

impl<S: Service> Host<S> {
    /// Every peer, by serial: those that are attached and those whose death is not proven yet.
    pub fn peer_infos(&self) -> Vec<PeerInfo> {
        self.serials_after(0).into_iter().filter_map(|serial| self.peer_info(serial)).collect()
    }

    /// Serials of the peers, from the first one above `after`.
    pub(super) fn serials_after(&self, after: u64) -> Vec<Serial> {
        let serials = self.peers.iter().map(|peer| peer.who.serial);
        let mut serials: Vec<Serial> =
            serials.filter(|&serial| u64::from(serial) > after).collect();
        serials.sort_unstable();
        serials
    }

    // r[impl peer.list]
    pub(super) fn peer_info(&self, serial: Serial) -> Option<PeerInfo> {
        let peer = self.peers.iter().find(|peer| peer.who.serial == serial)?;
        let Peer { who, state, suspected, .. } = peer;
        Some(PeerInfo {
            serial,
            pid: who.process.pid,
            uid: who.uid,
            role: who.role,
            state: *state,
            attached: peer.is_linked(),
            suspected: suspected.as_ref().map(|suspected| SuspectInfo {
                reason: suspected.reason,
                since: suspected.since.elapsed(),
                text: suspected.text.clone(),
            }),
            granted: self.core.pool.granted_to(serial),
            quarantined: self.core.pool.quarantined_of(serial),
            leases: self.core.lease_count(serial),
            held: self.core.service.held_by(serial),
        })
    }
}
