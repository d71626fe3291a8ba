//! One turn of the host's loop: takes requests from every ring, answers them, wakes who sleeps.
//!
//! Each guest gets a bounded share of a turn. A request is copied out of the ring into the host's
//! own memory before anything in it is looked at, and is carried out only when the guest's ring
//! has room for the largest answer it can have.

use super::core::{Carried, Core};
use super::peer::{Ended, Link, Peer};
use super::{CutOffReason, Host};
use crate::format::PeerState;
use crate::service::Service;
use onecopy_shm::{GrantError, crash_point};
use std::time::Duration;

/// Most requests taken from one guest in one turn.
const REQUESTS_PER_TURN: u32 = 64;

/// What became of an attempt to serve one request.
enum Step {
    Served,
    Nothing,
    Ended(Ended),
}

impl<S: Service> Host<S> {
    /// Serves each guest's requests once around. Returns whether there was anything to do.
    pub fn turn(&mut self) -> bool {
        self.peers.sweep_next();
        self.next_turn()
    }

    /// A turn of the loop: those that asked lately are served, and all in every so many turns.
    // r[impl host.sweep]
    pub(super) fn next_turn(&mut self) -> bool {
        let Host { peers, core, .. } = self;
        let is_sweep = peers.is_sweep_due();
        let looked_at = if is_sweep { &mut peers[..] } else { peers.eager_mut() };
        // Whose request comes first must not decide about the uses of the others.
        if any_ready(looked_at) {
            core.take_touches_of(looked_at);
        }
        let (mut ended, mut settles) = (false, false);
        let serve = |peer: &mut Peer| {
            let served = core.serve(peer);
            ended |= peer.ended.is_some();
            settles |= peer.settles;
            served
        };
        let served = if is_sweep { peers.sweep(serve) } else { peers.serve_eager(serve) };
        if core.is_look_due() {
            core.reclaim();
        }
        if settles {
            self.settle_earlier();
        }
        if ended {
            self.sweep_ended();
        }
        self.cut_off_torn();
        if !self.core.deferred.is_empty() {
            self.answer_deferred();
        }
        let walked = self.walk();
        served > 0 || walked
    }

    /// Whether any guest's request could be carried out now, in a turn that serves all.
    pub(super) fn has_requests(&mut self) -> bool {
        self.peers.sweep_next();
        any_ready(&mut self.peers) || self.walk_in() == Some(Duration::ZERO)
    }

    /// Whether there is something for the next turn: what is looked at is what that would.
    pub(super) fn has_news(&mut self) -> bool {
        if self.peers.is_sweep_due() {
            return self.has_requests();
        }
        any_ready(self.peers.eager_mut())
    }
}

fn any_ready(peers: &mut [Peer]) -> bool {
    peers.iter_mut().filter_map(|peer| peer.link.as_mut()).any(Link::is_ready)
}

impl<S: Service> Core<S> {
    // r[impl link.bounded_work]
    // r[impl host.wakes]
    fn serve(&mut self, peer: &mut Peer) -> u32 {
        if let Some(link) = peer.link.as_mut() {
            link.rings.touches.renew();
        }
        let mut served = 0;
        let looks = self.counters.lease_looks;
        while served < REQUESTS_PER_TURN {
            match self.serve_one(peer) {
                Step::Served => {
                    served += 1;
                    // What it asks next comes after the end of its earlier attaches. And a look through
                    // all leases is its share of the turn: it may be for nothing each time.
                    if peer.settles || self.counters.lease_looks != looks {
                        break;
                    }
                }
                Step::Nothing => break,
                Step::Ended(ended) => {
                    peer.ended = Some(ended);
                    break;
                }
            }
        }
        if served > 0 {
            self.top_up(peer);
        }
        if let Some(link) = peer.link.as_mut() {
            self.counters.guests_woken += u64::from(link.announce());
        }
        served
    }

    // r[impl link.reply_room]
    // r[impl peer.goodbye]
    fn serve_one(&mut self, peer: &mut Peer) -> Step {
        let Peer { who, link: Some(link), stock, settles, ended: None, .. } = peer else {
            return Step::Nothing;
        };
        let header = match link.next_request() {
            Ok(Some(header)) => header,
            Ok(None) => return Step::Nothing,
            Err(reason) => return Step::Ended(Ended::CutOff(CutOffReason::Ring(reason))),
        };
        self.take_touches(&mut link.rings.touches);
        let bound = self.reply_bytes_max(who, &header, &link.request_bytes, &link.rings.replies);
        let Link { rings, request_bytes, text, waiting, unannounced, .. } = link;
        let mut grant = match rings.replies.try_grant(bound) {
            Ok(grant) => grant,
            Err(GrantError::Full) => {
                *waiting = Some((header, bound));
                return Step::Nothing;
            }
            Err(error) => return Step::Ended(Ended::CutOff(broken(&error))),
        };
        let carried = self.carry_out(who, stock, text, &header, request_bytes, grant.bytes_mut());
        let (length, flags) = match carried {
            Carried::Answer { length, flags } => (length, flags),
            Carried::Goodbye { length } => (length, 0),
            Carried::Settled => (0, 0),
            Carried::Silent => return Step::Served,
        };
        if matches!(carried, Carried::Goodbye { .. }) {
            // The guest relies on the answer: whoever is the host after it must not wait for it.
            self.control.set_peer_state(who.row.into(), PeerState::Dead);
            crash_point!("host.goodbye.recorded");
        }
        if let Err(error) = grant.commit(length, header.kind, flags, header.request_id) {
            return Step::Ended(Ended::CutOff(broken(&error)));
        }
        *unannounced = true;
        *settles |= matches!(carried, Carried::Settled);
        match carried {
            Carried::Goodbye { .. } => Step::Ended(Ended::Goodbye),
            _ => Step::Served,
        }
    }
}

fn broken(error: &dyn std::error::Error) -> CutOffReason {
    CutOffReason::Ring(error.to_string())
}
