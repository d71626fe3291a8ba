//! Attaching anew: what a guest still uses of its earlier attaches becomes the new attach's, the rest
//! is free, and the earlier attaches are over.
//!
//! Which those are is not the guest's to say: they are the ones of its own process that had the same
//! lease table. Leases need no handing over, because the table stays.

use super::Host;
use super::core::{Carried, Core, bad_slot, malformed};
use super::liveness::Gone;
use super::peer::Who;
use crate::Serial;
use crate::service::Service;
use crate::wire::{Handover, RequestError, kind};
use onecopy_shm::{SlotRef, crash_point};
use std::mem::size_of;
use zerocopy::{FromBytes, little_endian as le};

const WORD_BYTES: usize = size_of::<u64>();

impl<S: Service> Core<S> {
    /// Takes the slots of one frame over. The first one that is not of an earlier attach ends it with
    /// an error; those before it are the guest's own, and stay taken over.
    // r[impl peer.handover]
    pub fn hand_over(&mut self, who: &Who, bytes: &[u8]) -> Result<Carried, RequestError> {
        let wrong = |offset| malformed(kind::HANDOVER, bytes, offset);
        let (head, words) = Handover::read_from_prefix(bytes).map_err(|_| wrong(0))?;
        if !words.len().is_multiple_of(WORD_BYTES) {
            return Err(wrong(bytes.len() / WORD_BYTES * WORD_BYTES));
        }
        for (index, word) in words.chunks_exact(WORD_BYTES).enumerate() {
            let slot = le::U64::read_from_bytes(word).ok();
            let slot = slot.and_then(|slot| SlotRef::from_u64(slot.get()));
            self.adopt(who, slot.ok_or(wrong((index + 1) * WORD_BYTES))?)?;
        }
        match head.last.get() {
            0 => Ok(Carried::Answer { length: 0, flags: 0 }),
            _ => Ok(Carried::Settled),
        }
    }

    // r[impl peer.handover.own]
    // r[impl crash.t5]
    fn adopt(&mut self, who: &Who, slot: SlotRef) -> Result<(), RequestError> {
        let owner = self.pool.slot(slot).map(|view| view.owner);
        let owner = owner.filter(|&owner| self.is_earlier(owner, who)).ok_or(bad_slot(slot, 0))?;
        self.pool.adopt(owner, who.serial, slot).map_err(|_| bad_slot(slot, 0))?;
        crash_point!("peer.handover.adopted");
        Ok(())
    }

    fn is_earlier(&self, serial: Serial, who: &Who) -> bool {
        let mut known = self.leases.iter().map(|leases| &leases.who);
        known.any(|known| known.serial == serial && known.is_earlier_of(who))
    }
}

impl<S: Service> Host<S> {
    /// Ends the attaches that guests have given up in this turn.
    pub(super) fn settle_earlier(&mut self) {
        while let Some(peer) = self.peers.iter_mut().find(|peer| peer.settles) {
            peer.settles = false;
            crash_point!("peer.handover.told");
            let who = peer.who;
            while let Some(earlier) =
                self.peers.iter().position(|peer| peer.who.is_earlier_of(&who))
            {
                self.recover(earlier, Gone::HandedOver);
            }
        }
    }
}
