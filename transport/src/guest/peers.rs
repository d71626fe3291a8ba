//! Asking the host about its peers, and having one settled that is not proven dead.

use super::link::Outgoing;
use super::{CallError, Guest, LinkError, Reply};
use crate::Serial;
use crate::wire::{
    PeerInfo, PeerRecord, PeersAfter, Settle, Settled, SettledWords, Settlement, kind,
};
use std::time::Instant;
use zerocopy::{FromBytes, IntoBytes};

impl Guest {
    /// Every peer of the host, by serial: those that are attached and those whose death is not
    /// proven yet.
    ///
    /// # Errors
    /// [`CallError`].
    // r[impl guest.peers]
    pub fn peers(&self, deadline: Instant) -> Result<Vec<PeerInfo>, CallError> {
        let mut peers: Vec<PeerInfo> = Vec::new();
        loop {
            let after = peers.last().map_or(0, |peer| peer.serial);
            let after = PeersAfter { serial: u64::from(after).into() };
            let reply = self.ask_about_peers(kind::PEERS, after.as_bytes(), deadline)?;
            let records = <[PeerRecord]>::ref_from_bytes(&reply);
            let records =
                records.map_err(|_| self.no_answer(kind::PEERS, &reply, "whole records"))?;
            if records.is_empty() {
                return Ok(peers);
            }
            for record in records {
                let last = peers.last().map_or(0, |peer| peer.serial);
                // By serial, so that an end comes whatever the host says.
                let next = record.decode().filter(|peer| peer.serial > last);
                peers.push(
                    next.ok_or_else(|| self.no_answer(kind::PEERS, &reply, "peers by serial"))?,
                );
            }
        }
    }

    /// Has the host settle a peer: kill its process and wait for the proof, until shortly before the
    /// deadline, or write off what it holds. Only the host's own user and root may.
    ///
    /// # Errors
    /// [`CallError::Refused`] with a [`crate::wire::SettleError`] says why it was not done; else
    /// [`CallError`].
    pub fn settle(
        &self,
        serial: Serial,
        how: Settlement,
        deadline: Instant,
    ) -> Result<Settled, CallError> {
        let left = deadline.saturating_duration_since(Instant::now());
        // The host's answer that it was in vain is to come in time.
        let patience = left.saturating_sub(left / 8);
        let settle = Settle::new(serial, how, patience);
        let reply = self.ask_about_peers(kind::SETTLE, settle.as_bytes(), deadline)?;
        let words = SettledWords::read_from_bytes(&reply);
        words
            .map(|words| words.decode())
            .map_err(|_| self.no_answer(kind::SETTLE, &reply, "five words"))
    }

    /// What no host sends ends the link.
    // r[impl guest.answer.checked]
    pub(super) fn no_answer(&self, kind: u8, reply: &Reply, expected: &'static str) -> CallError {
        let link = &self.inner.link;
        let length = reply.len() as u32;
        link.broken(&mut link.lock(), LinkError::WrongLength { kind, length, expected })
    }

    fn ask_about_peers(
        &self,
        kind: u8,
        payload: &[u8],
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        self.inner.enter()?;
        let outgoing = Outgoing::inline(kind, payload.len() as u32);
        self.inner.ask(outgoing, |target| target.copy_from_slice(payload), deadline)
    }
}
