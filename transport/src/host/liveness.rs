//! Who lives, who is late, who is gone, and taking back what the gone ones held.
//!
//! A late heartbeat or a closed socket is suspicion: the guest gets no new work. Only a readable
//! pidfd, a lease table that nobody has mapped, or the guest's own goodbye is proof, and only proof lets
//! its slots be reused.

use super::Host;
use super::core::{Carried, Core};
use super::events::HostEvent;
use super::peer::{Ended, Link, Peer, Suspected, Who};
use crate::Serial;
use crate::control::Suspicion;
use crate::format::{PeerState, SuspectReason};
use crate::pool::Holding;
use crate::segment::{AreaFile, FileError};
use crate::service::{Service, ServiceContext};
use crate::socket::WakeByte;
use crate::wire::{PARTING_BYTE, Settled, kind};
use onecopy_shm::FRAME_HEADER_BYTES;
use onecopy_shm::crash_point;
use std::time::Instant;

/// How it is known that an attach is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// Its process is proven dead.
    Dead,
    /// It said goodbye.
    Goodbye,
    /// Its process has nothing of the segment mapped any more.
    Unmapped,
    /// Its guest attached anew and has taken over what it still uses.
    HandedOver,
}

/// Scratch for the answers that nobody waits for any more.
const UNREAD_REPLY_BYTES: usize = 64 << 10;

impl<S: Service> Host<S> {
    /// A peer's pidfd is readable.
    // r[impl crash.t8]
    pub(super) fn on_death(&mut self, serial: Serial) {
        if let Some(index) = self.peers.iter().position(|peer| peer.who.serial == serial)
            && self.peers[index].is_dead()
        {
            self.recover(index, Gone::Dead);
        }
    }

    /// A peer's socket was closed: no proof of anything, but it cannot be woken any more.
    // r[impl peer.closed_socket]
    // r[impl crash.t9]
    // r[impl attach.given_up]
    pub(super) fn on_socket_closed(&mut self, serial: Serial) {
        let Some(index) = self.peers.iter().position(|peer| peer.who.serial == serial) else {
            return;
        };
        if self.peers[index].is_dead() {
            self.recover(index, Gone::Dead);
            return;
        }
        let Host { peers, core, poller, .. } = self;
        let peer = &mut peers[index];
        if let Some(link) = peer.link.as_mut() {
            poller.forget(&link.socket);
            link.closed = true;
            if matches!(link.socket.try_receive_byte(), Ok(WakeByte::Byte(PARTING_BYTE))) {
                peer.ended = Some(Ended::Goodbye);
                self.sweep_ended();
                return;
            }
        }
        core.suspect(peer, SuspectReason::SocketClosed);
        // A process that executes another program lets go of its mappings before its sockets.
        self.recover_if_unmapped(index);
    }

    /// Takes back everything that a dead or departed guest held. Can be done again from any point.
    // r[impl peer.recover]
    // r[impl crash.t4]
    // r[impl crash.guest]
    pub(super) fn recover(&mut self, index: usize, gone: Gone) {
        let started = Instant::now();
        let mut peer = self.peers.swap_remove(index);
        let who = peer.who;
        if let Some(pidfd) = &peer.pidfd {
            self.poller.forget(pidfd);
        }
        if let Some(link) = peer.link.as_ref() {
            self.poller.forget_link(link);
        }
        self.core.set_state(&mut peer, PeerState::Dead);
        crash_point!("peer.recover.dead_stored");
        self.core.carry_out_rest(&mut peer);
        crash_point!("peer.recover.requests_done");
        let waited_for = self.is_settling(who.serial);
        let (leases, held) = match waited_for {
            true => (self.core.lease_count(who.serial), self.core.service.held_by(who.serial)),
            false => (0, 0),
        };
        let holding = self.core.take_back_all(&who);
        crash_point!("peer.recover.slots_back");
        let slots = holding.slots;
        self.part_with(&who);
        if waited_for {
            self.settled(who.serial, Settled { proven: true, slots: holding, leases, held });
        }
        match gone {
            Gone::Goodbye => self.core.counters.departed += 1,
            Gone::Dead | Gone::Unmapped => self.core.counters.recovered += 1,
            Gone::HandedOver => self.core.counters.handed_over += 1,
        }
        let took = started.elapsed();
        tracing::info!(
            serial = who.serial,
            pid = who.process.pid,
            ?gone,
            slots,
            ?took,
            "guest recovered"
        );
        self.core.tell(HostEvent::Recovered {
            serial: who.serial,
            pid: who.process.pid,
            goodbye: matches!(gone, Gone::Goodbye | Gone::HandedOver),
            slots,
            took,
            at: Instant::now(),
        });
    }

    /// The rest of the end of a peer whose slots have been dealt with: what the service keeps for
    /// it, its leases, its row and its files.
    pub(super) fn part_with(&mut self, who: &Who) {
        let mut context = ServiceContext { pool: &mut self.core.pool, clock_s: self.core.clock_s };
        self.core.service.peer_gone(who.serial, &mut context);
        crash_point!("peer.recover.pins_dropped");
        self.core.control.set_attached(who.row.into(), 0);
        self.core.leases.retain(|leases| leases.who.serial != who.serial);
        self.core.parked.retain(|parked| parked.serial != who.serial);
        self.core.deferred.retain(|deferred| deferred.serial != who.serial);
        self.core.settling.retain(|settling| !settling.is_asked_by(who.serial));
        self.core.walks.forget(who.serial);
        self.lift_guard_if_due();
        self.core.reclaim();
        crash_point!("peer.recover.leases_dropped");
        // The row goes first: files without a row are swept at the next start, a row without its
        // lease table would be in the way of it.
        self.core.control.clear_peer(who.row.into());
        crash_point!("peer.recover.row_cleared");
        self.remove_files(who);
        crash_point!("peer.recover.files_removed");
    }

    /// Unlinks the files of one attach; its lease table only if no other attach uses it. What the
    /// system refuses is tried again at the next tick.
    // r[impl resources.removed-later]
    pub(super) fn remove_files(&mut self, who: &Who) {
        if let Err(error) = self.try_remove_files(who) {
            tracing::warn!(serial = who.serial, %error, "files of a gone guest were not removed yet");
            self.unremoved.push(*who);
        }
    }

    /// Tries again what [`Host::remove_files`] could not do.
    pub(super) fn remove_rest(&mut self) {
        for who in std::mem::take(&mut self.unremoved) {
            if self.try_remove_files(&who).is_err() {
                self.unremoved.push(who);
            }
        }
    }

    fn try_remove_files(&self, who: &Who) -> Result<(), FileError> {
        let shared = self.peers.iter().any(|peer| peer.who.lease_serial == who.lease_serial);
        let removed = self.dir.remove_file(AreaFile::Rings(who.serial));
        if !shared {
            self.dir.remove_file(AreaFile::Leases(who.lease_serial))?;
        }
        removed.map(|_| ())
    }

    /// Looks at every heartbeat. Called once per tick of the host's own clock, so that a host that
    /// was stopped for a while counts one tick and suspects nobody.
    // r[impl peer.suspect]
    pub(super) fn check_heartbeats(&mut self) {
        let Host { peers, core, .. } = self;
        let tick = core.tick;
        let silent_ticks_max = u64::from(core.options.suspect_after_intervals);
        for peer in peers.iter_mut() {
            let Some(link) = peer.link.as_ref() else { continue };
            let beat = link.rings.heartbeat.load(std::sync::atomic::Ordering::Relaxed);
            if beat != peer.heartbeat_seen {
                peer.heartbeat_seen = beat;
                peer.heartbeat_tick = tick;
                if peer.state == PeerState::Suspect && !link.socket.is_closed().unwrap_or(true) {
                    core.clear(peer);
                }
            } else if peer.state == PeerState::Attached
                && tick.saturating_sub(peer.heartbeat_tick) > silent_ticks_max
            {
                core.suspect(peer, SuspectReason::HeartbeatLate);
            }
        }
    }
}

impl<S: Service> Core<S> {
    /// Carries out the whole frames that a gone guest left in its ring.
    fn carry_out_rest(&mut self, peer: &mut Peer) {
        let Peer { who, link, stock, .. } = peer;
        let Some(mut link) = link.take() else { return };
        link.rings.touches.renew();
        self.take_touches(&mut link.rings.touches);
        let mut unread = vec![0; UNREAD_REPLY_BYTES];
        // As much as the ring can hold and one that waits: whoever still has the ring mapped cannot
        // keep this going.
        let mut rest_bytes = 2 * u64::from(self.options.ring_capacity_bytes);
        while let Ok(Some(header)) = link.next_request() {
            // Nothing is evicted for a guest that is gone, and nobody waits for what it asked of the
            // host: an audit looks at every slot, and a ring holds thousands of requests.
            if matches!(
                header.kind,
                kind::REFILL | kind::PEERS | kind::SETTLE | kind::STATS | kind::AUDIT
            ) {
                continue;
            }
            let taken_bytes = u64::from(header.length) + u64::from(FRAME_HEADER_BYTES);
            let Some(left_bytes) = rest_bytes.checked_sub(taken_bytes) else { break };
            rest_bytes = left_bytes;
            let bound =
                self.reply_bytes_max(who, &header, &link.request_bytes, &link.rings.replies);
            unread.resize(unread.len().max(bound as usize), 0);
            let reply = &mut unread[..bound as usize];
            let Link { request_bytes, text, .. } = &mut link;
            let carried = self.carry_out(who, stock, text, &header, request_bytes, reply);
            if matches!(carried, Carried::Goodbye { .. }) {
                break;
            }
        }
    }

    fn take_back_all(&mut self, who: &Who) -> Holding {
        let quarantined = self.pool.release_quarantined(who.serial);
        quarantined.with(self.pool.take_back(who.serial))
    }

    /// Leases of this attach.
    pub fn lease_count(&self, serial: Serial) -> u64 {
        let tables = self.leases.iter().filter(|leases| leases.who.serial == serial);
        tables.map(|leases| leases.leases.count()).sum()
    }

    fn suspect(&mut self, peer: &mut Peer, reason: SuspectReason) {
        if peer.state == PeerState::Attached {
            // A guest that is killed closes its socket an instant before its pidfd says so.
            let (serial, pid) = (peer.who.serial, peer.who.process.pid);
            tracing::info!(serial, pid, %reason, "guest suspected");
            self.set_suspect(peer, reason, String::new());
            self.counters.suspected += 1;
            self.tell(HostEvent::Suspected { serial: peer.who.serial });
        }
    }

    fn clear(&mut self, peer: &mut Peer) {
        tracing::info!(serial = peer.who.serial, pid = peer.who.process.pid, "guest is back");
        peer.suspected = None;
        self.set_state(peer, PeerState::Attached);
        self.tell(HostEvent::Cleared { serial: peer.who.serial });
    }

    /// Makes a peer suspect, in the table too, for this reason and from now on.
    // r[impl peer.suspicion]
    pub fn set_suspect(&mut self, peer: &mut Peer, reason: SuspectReason, text: String) {
        let suspicion = Suspicion { reason, since_s: self.clock_s };
        self.control.set_suspicion(peer.who.row.into(), Some(suspicion));
        let (since, tick) = (Instant::now(), self.tick);
        peer.suspected = Some(Suspected { reason, text, since, tick, kill_tried: false });
        self.set_state(peer, PeerState::Suspect);
    }

    fn set_state(&mut self, peer: &mut Peer, state: PeerState) {
        peer.state = state;
        self.control.set_peer_state(peer.who.row.into(), state);
    }

    /// Tells the listener, if there still is one.
    pub fn tell(&mut self, event: HostEvent) {
        if let Some(events) = &self.options.events {
            let _ = events.send(event);
        }
    }
}
