//! Lookups: find where a block is, lease it, check that it is the one. Where it is says the index, or the
//! host where the index cannot.

use super::direct::{BATCH, Direct};
use super::{Block, BlockRef, Cache};
use crate::error::{AskError, Corrupt, LookupError, VerifyError};
use crate::key::Key;
use crate::protocol::{KeyAnswer, LOOKUP_PREFIX, ReportEntry, kind, lookup_answer};
use onecopy_shm::SlotRef;
use onecopy_transport::guest::{HoldsGuest, LeaseError, SlotGuard};
use std::time::Instant;
use zerocopy::little_endian as le;

/// How often a key is asked for again when its block goes between the answer and the lease.
pub(super) const TRIES: u32 = 4;

impl Cache {
    /// The block of this key, or `None`.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn lookup(&self, key: &Key) -> Result<Option<Block>, LookupError> {
        Ok(self.lookup_ref(key)?.map(BlockRef::into_owned))
    }

    /// The block of this key, or `None`, borrowed from this handle.
    ///
    /// # Errors
    /// [`LookupError`].
    #[inline]
    pub fn lookup_ref(&self, key: &Key) -> Result<Option<BlockRef<'_>>, LookupError> {
        if !self.verify
            && let Some(block) = self.find_at_once(key)
        {
            return Ok(Some(block));
        }
        self.lookup_thoroughly(key)
    }

    fn lookup_thoroughly(&self, key: &Key) -> Result<Option<BlockRef<'_>>, LookupError> {
        self.return_if_due();
        match self.find_direct(key)? {
            Direct::Known(Some(block)) if self.verify => {
                self.verified(block, self.until()).map(Some)
            }
            Direct::Known(found) => Ok(found),
            Direct::AskHost => self.lookup_asking(key, self.until()),
        }
    }

    /// The blocks of these keys, in their order. A key given twice is found twice.
    ///
    /// # Errors
    /// [`LookupError`]; the first one ends the whole batch, and no lease stays.
    pub fn lookup_many(&self, keys: &[Key]) -> Result<Vec<Option<Block>>, LookupError> {
        let found = self.lookup_many_ref(keys)?;
        Ok(found.into_iter().map(|block| block.map(BlockRef::into_owned)).collect())
    }

    /// The blocks of these keys, in their order, borrowed from this handle.
    ///
    /// # Errors
    /// [`LookupError`]; the first one ends the whole batch, and no lease stays.
    pub fn lookup_many_ref(&self, keys: &[Key]) -> Result<Vec<Option<BlockRef<'_>>>, LookupError> {
        let mut blocks = Vec::with_capacity(keys.len());
        for keys in keys.chunks(BATCH) {
            blocks.append(&mut self.lookup_batch(keys, false)?);
        }
        Ok(blocks)
    }

    /// The blocks of the longest prefix of these keys that is there: the first miss ends it.
    ///
    /// # Errors
    /// [`LookupError`]; the first one ends the whole batch, and no lease stays.
    pub fn lookup_prefix(&self, keys: &[Key]) -> Result<Vec<Block>, LookupError> {
        Ok(self.lookup_prefix_ref(keys)?.into_iter().map(BlockRef::into_owned).collect())
    }

    /// The blocks of the longest prefix of these keys that is there, borrowed from this handle.
    ///
    /// # Errors
    /// [`LookupError`]; the first one ends the whole batch, and no lease stays.
    pub fn lookup_prefix_ref(&self, keys: &[Key]) -> Result<Vec<BlockRef<'_>>, LookupError> {
        let mut blocks = Vec::new();
        for keys in keys.chunks(BATCH) {
            let before = blocks.len();
            blocks.extend(self.lookup_batch(keys, true)?.into_iter().map_while(|block| block));
            if blocks.len() - before < keys.len() {
                break;
            }
        }
        Ok(blocks)
    }

    /// Checks a block's payload and tells the host when it is wrong, so that nobody else finds it.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify<G: HoldsGuest>(&self, block: &Block<G>) -> Result<(), VerifyError> {
        self.verify_until(block, self.until())
    }

    /// At most [`BATCH`] keys; with `prefix` what is behind the first miss is not looked up by the host,
    /// and a miss here.
    fn lookup_batch(
        &self,
        keys: &[Key],
        prefix: bool,
    ) -> Result<Vec<Option<BlockRef<'_>>>, LookupError> {
        let until = self.until();
        self.return_if_due();
        let found = match self.find_batch_direct(keys, prefix)? {
            Direct::Known(found) => found,
            Direct::AskHost => return self.lookup_batch_asking(keys, prefix, until),
        };
        if !self.verify {
            return Ok(found);
        }
        let verified = found
            .into_iter()
            .map(|block| block.map(|block| self.verified(block, until)).transpose());
        verified.collect()
    }

    fn lookup_batch_asking(
        &self,
        keys: &[Key],
        prefix: bool,
        until: Instant,
    ) -> Result<Vec<Option<BlockRef<'_>>>, LookupError> {
        self.shared.count_asked(keys.len(), self.lookup);
        let segment = self.current().segment_id();
        let flags = if prefix { LOOKUP_PREFIX } else { 0 };
        let mut blocks = Vec::with_capacity(keys.len());
        for frame in keys.chunks(self.entries_max(kind::LOOKUP)?) {
            let words: Vec<le::U64> = self.ask_frame(kind::LOOKUP, flags, frame, until)?;
            for (key, word) in frame.iter().zip(words) {
                blocks.push(self.lease_again(key, lookup_answer(word), segment, until)?);
                if prefix && matches!(blocks.last(), Some(None)) {
                    return Ok(blocks);
                }
            }
        }
        Ok(blocks)
    }

    fn lookup_asking(
        &self,
        key: &Key,
        until: Instant,
    ) -> Result<Option<BlockRef<'_>>, LookupError> {
        self.shared.count_asked(1, self.lookup);
        let ask = || {
            let segment = self.current().segment_id();
            let word: le::U64 = self.ask_one(kind::LOOKUP, 0, key, until)?;
            Ok(lookup_answer(word).map(|slot| (slot, segment)))
        };
        ask_and_lease(ask, |(slot, segment)| self.lease(key, slot, segment, until))
    }

    /// Leases what a batch found; a block that went meanwhile is asked for again.
    fn lease_again(
        &self,
        key: &Key,
        slot: Option<SlotRef>,
        segment: u128,
        until: Instant,
    ) -> Result<Option<BlockRef<'_>>, LookupError> {
        let Some(slot) = slot else { return Ok(None) };
        match self.lease(key, slot, segment, until)? {
            Some(block) => Ok(Some(block)),
            None => self.lookup_asking(key, until),
        }
    }

    /// Leases the slot that the host named; `None` when the block has gone since, or the host: slots of
    /// another segment are others, and the lease of an attach that is over protects nothing.
    // r[impl kv.wrong_key]
    pub(super) fn lease(
        &self,
        key: &Key,
        slot: SlotRef,
        segment: u128,
        until: Instant,
    ) -> Result<Option<BlockRef<'_>>, LookupError> {
        let guest = self.current();
        if guest.segment_id() != segment {
            return Ok(None);
        }
        let guard = match SlotGuard::lease(guest.clone(), slot) {
            Ok(Some(guard)) => guard,
            Ok(None) => return Ok(None),
            Err(LeaseError::CutOff) if guest.is_superseded() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let block = Block::new(guard);
        let found = block.key();
        block.check_intact().map_err(LeaseError::Torn)?;
        if found != *key {
            return Err(LookupError::WrongKey { slot, wanted: *key, found });
        }
        if self.verify { self.verified(block, until).map(Some) } else { Ok(Some(block)) }
    }

    /// A block whose payload was checked; the host is told of one that is wrong.
    fn verified<'a>(
        &self,
        block: BlockRef<'a>,
        until: Instant,
    ) -> Result<BlockRef<'a>, LookupError> {
        match self.verify_until(&block, until) {
            Ok(()) => Ok(block),
            Err(VerifyError::Corrupt(corrupt)) => Err(LookupError::Corrupt(corrupt)),
            Err(VerifyError::NotReported { corrupt, .. }) => Err(LookupError::Corrupt(corrupt)),
            Err(VerifyError::Torn(torn)) => Err(LookupError::Lease(LeaseError::Torn(torn))),
        }
    }

    fn verify_until<G: HoldsGuest>(
        &self,
        block: &Block<G>,
        until: Instant,
    ) -> Result<(), VerifyError> {
        let verified = block.verify();
        // Zeroes in place of what was cut are no block that was damaged.
        block.check_intact()?;
        let Err(corrupt) = verified else { return Ok(()) };
        match self.report(&corrupt, until) {
            Ok(()) => Err(VerifyError::Corrupt(corrupt)),
            Err(error) => Err(VerifyError::NotReported { corrupt, error }),
        }
    }

    /// Tells the host that a block is corrupt.
    fn report(&self, corrupt: &Corrupt, until: Instant) -> Result<(), AskError> {
        let entry = ReportEntry { slot: corrupt.slot.to_u64().into(), key: corrupt.key };
        self.ask_one::<_, KeyAnswer>(kind::REPORT, 0, &entry, until).map(|_| ())
    }
}

/// Asks where a block is and leases it. A block that goes between the two may be in another slot
/// already, so it is asked for again, a bounded number of times.
// r[impl kv.lookup_retry]
fn ask_and_lease<Place, Lease, Error>(
    mut ask: impl FnMut() -> Result<Option<Place>, Error>,
    mut lease: impl FnMut(Place) -> Result<Option<Lease>, Error>,
) -> Result<Option<Lease>, Error> {
    for _ in 0..TRIES {
        let Some(slot) = ask()? else { return Ok(None) };
        if let Some(leased) = lease(slot)? {
            return Ok(Some(leased));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: SlotRef = SlotRef { slot: 1, generation: 1 };

    // r[verify kv.lookup_retry]
    #[test]
    fn a_block_that_moves_is_asked_for_again_and_not_for_ever() {
        let mut asked = 0;
        let mut leases = [None, Some(7)].into_iter();
        let found = ask_and_lease(
            || {
                asked += 1;
                Ok::<_, ()>(Some(SLOT))
            },
            |_| Ok(leases.next().unwrap()),
        );
        assert_eq!((found, asked), (Ok(Some(7)), 2));
        let mut asked = 0;
        let never = ask_and_lease(
            || {
                asked += 1;
                Ok::<_, ()>(Some(SLOT))
            },
            |_| Ok(None::<()>),
        );
        assert_eq!((never, asked), (Ok(None), TRIES));
    }
}
