//! The peers, in the order in which turns look at them: in front those that asked for something
//! lately or noted what they used, behind them those that did not.
//!
//! To look at a guest that asks nothing costs a few cache lines. Those in front are looked at in every
//! turn, the others in a sweep: every sixteenth turn, and sooner when much was done for others
//! meanwhile. So many idle guests cost the others little, and none of them waits for long.

use super::peer::Peer;
use std::ops::{Deref, DerefMut};

/// Every so many turns all guests are looked at.
pub(super) const TURNS_PER_SWEEP: u32 = 16;
/// After so many requests of others all guests are looked at in the next turn.
pub(super) const REQUESTS_PER_SWEEP: u32 = 64;
/// A guest that has asked nothing in so many turns is not looked at in each of them any more.
const QUIET_TURNS: u32 = 256;

/// All peers. Their order says nothing to anybody else.
#[derive(Default)]
pub(super) struct Roster {
    peers: Vec<Peer>,
    /// So many of them, in front, have asked for something lately, or noted a use.
    eager: usize,
    /// Turns, or looks between turns, since the last sweep.
    turns: u32,
    /// Requests that were carried out since then.
    requests: u32,
}

impl Roster {
    /// Takes a peer in. It is found when all are looked at.
    pub fn push(&mut self, peer: Peer) {
        self.peers.push(peer);
    }

    /// Takes a peer out. Those behind it may change their places, none comes to be before it.
    pub fn swap_remove(&mut self, index: usize) -> Peer {
        if index < self.eager {
            self.eager -= 1;
            self.peers.swap(index, self.eager);
            return self.peers.swap_remove(self.eager);
        }
        self.peers.swap_remove(index)
    }

    /// The next turn is a sweep.
    pub fn sweep_next(&mut self) {
        self.turns = TURNS_PER_SWEEP;
    }

    /// Counts a turn, and says whether it is to be a sweep.
    // r[impl host.sweep]
    pub fn is_sweep_due(&mut self) -> bool {
        self.turns = self.turns.saturating_add(1);
        self.turns >= TURNS_PER_SWEEP || self.requests >= REQUESTS_PER_SWEEP
    }

    /// Serves those that asked lately; `serve` says how many requests it has carried out.
    pub fn serve_eager(&mut self, mut serve: impl FnMut(&mut Peer) -> u32) -> u32 {
        let mut all = 0;
        let mut index = 0;
        while index < self.eager {
            let peer = &mut self.peers[index];
            let served = serve(peer);
            all += served;
            let is_quiet = served == 0 && !peer.has_noted();
            peer.quiet_turns = if is_quiet { peer.quiet_turns.saturating_add(1) } else { 0 };
            if peer.quiet_turns >= QUIET_TURNS && !peer.is_owed() {
                self.eager -= 1;
                self.peers.swap(index, self.eager);
            } else {
                index += 1;
            }
        }
        self.requests = self.requests.saturating_add(all);
        all
    }

    /// Serves everybody.
    pub fn sweep(&mut self, mut serve: impl FnMut(&mut Peer) -> u32) -> u32 {
        let mut all = self.serve_eager(&mut serve);
        for index in self.eager..self.peers.len() {
            let peer = &mut self.peers[index];
            let served = serve(peer);
            all += served;
            if served > 0 || peer.has_noted() || peer.is_owed() {
                peer.quiet_turns = 0;
                // Who makes way was looked at already.
                self.peers.swap(index, self.eager);
                self.eager += 1;
            }
        }
        (self.turns, self.requests) = (0, 0);
        all
    }

    /// Those that asked lately.
    pub fn eager_mut(&mut self) -> &mut [Peer] {
        &mut self.peers[..self.eager]
    }
}

impl Deref for Roster {
    type Target = [Peer];

    fn deref(&self) -> &[Peer] {
        &self.peers
    }
}

impl DerefMut for Roster {
    fn deref_mut(&mut self) -> &mut [Peer] {
        &mut self.peers
    }
}
