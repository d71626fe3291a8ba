//! Requests for which the host has to walk through all of its tables: its audit, and the peers with
//! their leases.
//!
//! Such a request waits for the end of the turn in which it was taken. Then one walk is made, for one
//! guest, and answers everybody who has asked for the same before it. So what a walk tells is never older
//! than the request, a guest that asks without end delays the others by one walk in a turn, and all
//! walks together take a bounded share of the host's time.

use super::Host;
use super::core::{Carried, Core, malformed};
use super::peer::{Link, Peer, Who};
use super::stats::Counters;
use crate::Serial;
use crate::service::Service;
use crate::wire::{PeerRecord, PeersAfter, RequestError, kind};
use onecopy_shm::FrameHeader;
use rustix::time::{ClockId, clock_gettime};
use std::mem::size_of;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, IntoBytes};

/// Most peers in one answer: their lease tables are looked through for it.
const PEERS_PER_ANSWER_MAX: usize = 32;
/// Between two walks the host does other things for at least so many times as long as the first took.
const REST_PER_WALK: u32 = 3;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// The audit, from its beginning.
    Audit,
    /// The peers behind this serial.
    Peers { after: u64 },
}

impl Walk {
    fn kind(self) -> u8 {
        match self {
            Walk::Audit => kind::AUDIT,
            Walk::Peers { .. } => kind::PEERS,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    serial: Serial,
    request_id: u32,
    walk: Walk,
}

/// The requests that wait for a walk.
#[derive(Debug)]
pub(super) struct Walks {
    waiting: Vec<Waiting>,
    /// For whom the last walk was made: the next one is for somebody behind it.
    last: Serial,
    rest_until: Instant,
}

impl Walks {
    pub fn new() -> Walks {
        Walks { waiting: Vec::new(), last: 0, rest_until: Instant::now() }
    }

    /// Requests of one guest that wait.
    pub fn count_of(&self, serial: Serial) -> usize {
        self.waiting.iter().filter(|waiting| waiting.serial == serial).count()
    }

    /// Forgets a guest that is gone.
    pub fn forget(&mut self, serial: Serial) {
        self.waiting.retain(|waiting| waiting.serial != serial);
    }

    /// Who is next of those that wait and have room for an answer.
    fn next(&self, mut has_room: impl FnMut(Serial) -> bool) -> Option<Waiting> {
        let mut serials: Vec<Serial> = self.waiting.iter().map(|waiting| waiting.serial).collect();
        // Those behind the last come first.
        serials.sort_unstable_by_key(|&serial| (serial <= self.last, serial));
        serials.dedup();
        let serial = serials.into_iter().find(|&serial| has_room(serial))?;
        self.waiting.iter().find(|waiting| waiting.serial == serial).copied()
    }
}

impl<S: Service> Core<S> {
    /// Puts a request aside until the next walk.
    pub fn wait_for_walk(
        &mut self,
        who: &Who,
        request_id: u32,
        walk: Walk,
    ) -> Result<Carried, RequestError> {
        self.check_requests(who.serial)?;
        self.walks.waiting.push(Waiting { serial: who.serial, request_id, walk });
        Ok(Carried::Silent)
    }

    /// A request for peers.
    pub fn ask_peers(
        &mut self,
        who: &Who,
        header: &FrameHeader,
        bytes: &[u8],
    ) -> Result<Carried, RequestError> {
        let after = PeersAfter::read_from_bytes(bytes);
        let after = after.map_err(|_| malformed(kind::PEERS, bytes, 0))?;
        self.wait_for_walk(who, header.request_id, Walk::Peers { after: after.serial.get() })
    }
}

impl<S: Service> Host<S> {
    /// Makes a walk if somebody waits for one and the last was not just now. Returns whether it did.
    // r[impl link.walks]
    pub(super) fn walk(&mut self) -> bool {
        if self.core.walks.waiting.is_empty() || Instant::now() < self.core.walks.rest_until {
            return false;
        }
        let Some(Waiting { serial, walk, .. }) = self.next_walk() else { return false };
        let started = time_of_thread();
        let made = match walk {
            Walk::Audit => self.core.audit_text().into_bytes(),
            Walk::Peers { after } => self.peer_records(after),
        };
        let took = time_of_thread().saturating_sub(started);
        self.core.walks.rest_until = Instant::now() + took * REST_PER_WALK;
        self.core.walks.last = serial;
        self.core.counters.walks += 1;
        self.tell_walk(walk, &made);
        true
    }

    /// How long it is until a walk can be made, if somebody waits for one.
    pub(super) fn walk_in(&mut self) -> Option<Duration> {
        self.next_walk()?;
        Some(self.core.walks.rest_until.saturating_duration_since(Instant::now()))
    }

    fn next_walk(&mut self) -> Option<Waiting> {
        let Host { peers, core, .. } = self;
        core.walks.next(|serial| {
            let peer = peers.iter_mut().find(|peer| peer.who.serial == serial);
            peer.and_then(|peer| peer.link.as_mut()).is_some_and(|link| {
                let replies = &mut link.rings.replies;
                replies.has_room(replies.frame_length_max()).unwrap_or(false)
            })
        })
    }

    /// Answers everybody who has asked for this. Who has no room waits for the next one.
    fn tell_walk(&mut self, walk: Walk, made: &[u8]) {
        let Host { peers, core, .. } = self;
        let Core { walks, counters, .. } = core;
        walks.waiting.retain(|waiting| {
            if waiting.walk != walk {
                return true;
            }
            let peer = peers.iter_mut().find(|peer| peer.who.serial == waiting.serial);
            // Nobody is left to be told who has no link any more.
            peer.is_some_and(|peer| !tell(peer, waiting, made, counters))
        });
    }

    fn peer_records(&self, after: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for serial in self.serials_after(after).into_iter().take(self.peers_per_answer()) {
            if let Some(info) = self.peer_info(serial) {
                bytes.extend_from_slice(PeerRecord::encode(&info).as_bytes());
            }
        }
        bytes
    }

    /// As many as a frame takes; all rings of a host have the same size.
    fn peers_per_answer(&self) -> usize {
        let links = self.peers.iter().filter_map(|peer| peer.link.as_ref());
        let room = links.map(|link| link.rings.replies.frame_length_max()).min().unwrap_or(0);
        (room as usize / size_of::<PeerRecord>()).min(PEERS_PER_ANSWER_MAX)
    }
}

/// Time that this thread has run. A host that was stopped in the middle of a walk has not worked on it.
fn time_of_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Answers one request; false where there is no room for that.
fn tell(peer: &mut Peer, waiting: &Waiting, made: &[u8], counters: &mut Counters) -> bool {
    let Some(link) = peer.link.as_mut() else { return true };
    let Link { rings, text, unannounced, .. } = link;
    let room = rings.replies.frame_length_max();
    let Ok(mut grant) = rings.replies.try_grant(room) else { return false };
    let reply = grant.bytes_mut();
    let length = match waiting.walk {
        Walk::Audit => {
            *text = made.to_vec();
            super::text::write_piece(text, 0, reply).unwrap_or(0)
        }
        Walk::Peers { .. } => {
            reply[..made.len()].copy_from_slice(made);
            made.len() as u32
        }
    };
    *unannounced |= grant.commit(length, waiting.walk.kind(), 0, waiting.request_id).is_ok();
    counters.guests_woken += u64::from(link.announce());
    true
}

#[cfg(test)]
mod tests;
