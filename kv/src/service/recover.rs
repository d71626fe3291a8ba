//! Taking up what an earlier life of the host left.
//!
//! The slot table is the truth: the note of a published slot holds its key. The index is made anew
//! from it, so that an index that was torn by a crash, or entries of slots that were retired
//! meanwhile, cannot mislead anybody.

use super::{CacheServiceOptions, Core, Usage, pins};
use crate::index::{IndexWriter, buckets_for};
use crate::note::{Cold, Note, USED_WORD, is_expired};
use crate::stats::CacheStats;
use onecopy_shm::SlotRef;
use onecopy_transport::pool::ClassIndex;
use onecopy_transport::service::{Found, ServiceContext, ServiceError, ServiceStart};

/// Most blocks of each class whose use is noted in one tick: a cache miss each.
const NOTES_PER_TICK: usize = 512;

/// A block of an earlier life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FoundBlock {
    pub used: u64,
    pub published_s: u64,
    pub slot: u32,
    pub class: ClassIndex,
}

impl Core {
    pub(super) fn start(
        options: &CacheServiceOptions,
        start: ServiceStart<'_>,
    ) -> Result<Core, ServiceError> {
        let slots_max = u32::try_from(start.geometry.slots_max).unwrap_or(u32::MAX);
        // The lower half of a random number is as random as the whole.
        let index = make_index(&start, start.segment_id as u64)?;
        Ok(Core {
            index,
            policy: options.policy.build(slots_max),
            pins: pins::Pins::default(),
            capacity: options.capacity,
            pins_per_peer_max: options.pins_per_peer_max,
            usage: Usage::default(),
            counted: CacheStats::default(),
            found: Vec::new(),
            noted: 0,
            is_over: false,
        })
    }

    /// Keeps a block that is the first of its key and whose time is not over.
    // r[impl kv.recover]
    pub(super) fn slot_found(&mut self, slot: SlotRef, context: &mut ServiceContext<'_>) -> Found {
        let Some(view) = context.pool.slot(slot) else { return Found::Retire };
        let note = Note::from_words(context.pool.note(slot.slot));
        if is_expired(note.expiry_s.into(), context.clock_s) {
            self.counted.expired += 1;
            return Found::Retire;
        }
        let hash = self.index.hash(&note.key);
        if self.find(&note.key, context.pool).is_some()
            || self.index.insert(hash, slot.slot).is_err()
        {
            return Found::Retire;
        }
        let cold = Cold::from_words(context.pool.cold(slot.slot));
        let Cold { used, published_s, .. } = cold;
        let (slot, class) = (slot.slot, view.class);
        self.found.push(FoundBlock { used, published_s, slot, class });
        self.usage.add(&view, view.length_bytes);
        Found::Keep
    }

    /// Gives the blocks of an earlier life to the policy, oldest first. Called before anything else
    /// is done with them; they have all been found by then.
    // r[impl kv.recover_order]
    pub(super) fn settle_found(&mut self) {
        self.index.set_whole();
        if self.found.is_empty() {
            return;
        }
        let mut found = std::mem::take(&mut self.found);
        found.sort_unstable_by_key(|block| (block.used, block.published_s, block.slot));
        for block in found {
            self.policy.restore(block.slot, block.class, block.used);
        }
        self.noted = self.policy.stamp();
    }

    /// Notes for the next life of the host which blocks were used since the last note. Bounded: when
    /// more were used, the less recent of them keep the note they had.
    // r[impl kv.note_used]
    pub(super) fn note_used(&mut self, context: &mut ServiceContext<'_>) {
        let Core { policy, noted, .. } = self;
        policy.renewed_since(*noted, NOTES_PER_TICK, &mut |slot, stamp| {
            context.pool.set_cold_word(slot, USED_WORD, stamp);
        });
        *noted = policy.stamp();
    }
}

/// Most buckets that an index for so many slots ever has.
pub(super) fn buckets_max(slots: u64) -> u64 {
    buckets_for(u32::try_from(slots).unwrap_or(u32::MAX))
}

/// An index for the blocks that are there: it doubles when there are more.
// r[impl index.begin]
fn make_index(start: &ServiceStart<'_>, seed: u64) -> Result<IndexWriter, ServiceError> {
    let ready = buckets_max(start.slots_ready.min(start.geometry.slots_max));
    let buckets = buckets_max(start.slots_published).min(ready);
    let create = if start.fresh { IndexWriter::create } else { IndexWriter::create_anew };
    let made = create(&start.region, buckets, seed);
    let mut index = made.map_err(|error| ServiceError { reason: error.to_string() })?;
    index.set_buckets_ready(ready);
    Ok(index)
}
