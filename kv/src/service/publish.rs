//! Publishing: the first writer of a key wins, and room is made before the block goes in.

use super::Core;
use super::double::BUCKETS_PER_PUBLISH;
use crate::checksum::Checksum;
use crate::index::InsertError;
use crate::key::Key;
use crate::note::{Cold, NOTE_CHECKSUM, Note, expiry_s};
use crate::protocol::{PublishEntry, PublishOutcome};
use onecopy_shm::crash_point;
use onecopy_shm::{SlotRef, SlotState};
use onecopy_transport::Serial;
use onecopy_transport::pool::SlotView;
use onecopy_transport::service::ServiceContext;

impl Core {
    /// Publishes one block, or says why not. Whatever the answer, the slot is no longer the
    /// guest's; only one that was never granted to it is left alone.
    // r[impl kv.publish]
    // r[impl kv.publish_consumes]
    pub(super) fn publish(
        &mut self,
        serial: Serial,
        entry: &PublishEntry,
        context: &mut ServiceContext<'_>,
    ) -> PublishOutcome {
        let Some((slot, view)) = granted(serial, entry, context) else {
            self.counted.refusals += 1;
            return PublishOutcome::BadSlot { slot: entry.slot.get() };
        };
        let outcome = self.try_publish(serial, entry, slot, &view, context);
        match outcome {
            PublishOutcome::Published => self.counted.publishes += 1,
            PublishOutcome::AlreadyThere { .. } => self.counted.duplicates += 1,
            _ => self.counted.refusals += 1,
        }
        let is_left =
            outcome != PublishOutcome::Published && granted(serial, entry, context).is_some();
        if is_left && let Err(error) = context.pool.give_back(serial, slot) {
            tracing::error!(%error, %slot, "a refused block's slot could not be freed");
        }
        outcome
    }

    // r[impl kv.publish_touch]
    fn try_publish(
        &mut self,
        serial: Serial,
        entry: &PublishEntry,
        slot: SlotRef,
        view: &SlotView,
        context: &mut ServiceContext<'_>,
    ) -> PublishOutcome {
        let length_bytes = entry.length_bytes.get();
        let slot_bytes = view.slot_bytes;
        if length_bytes > slot_bytes {
            return PublishOutcome::TooLong { length_bytes, slot_bytes };
        }
        if let Some(there) = self.find_live(&entry.key, context) {
            // The writer that comes second wanted this block too.
            self.policy.touch(there.slot);
            return PublishOutcome::AlreadyThere { slot: there.to_u64() };
        }
        if let Err(refusal) = self.make_room_for(slot_bytes, context) {
            return refusal;
        }
        self.put_in(serial, entry, slot, view, context)
    }

    /// Note and state word first, then the index entry: whoever finds the block finds it whole.
    // r[impl crash.s9]
    fn put_in(
        &mut self,
        serial: Serial,
        entry: &PublishEntry,
        slot: SlotRef,
        view: &SlotView,
        context: &mut ServiceContext<'_>,
    ) -> PublishOutcome {
        let length_bytes = entry.length_bytes.get();
        let (note, cold) = labels(entry, context.clock_s, self.policy.stamp() + 1);
        let published =
            context.pool.publish(serial, slot, length_bytes, &note.to_words(), &cold.to_words());
        if let Err(error) = published {
            tracing::error!(%error, %slot, "a granted slot could not be published");
            return PublishOutcome::BadSlot { slot: slot.to_u64() };
        }
        if let Err(refusal) = self.put_in_index(&entry.key, slot.slot, context) {
            // Published, and nobody can have found it.
            if let Err(error) = context.pool.retire(slot) {
                tracing::error!(%error, %slot, "a block without an index entry stays published");
            }
            return refusal;
        }
        crash_point!("slot.publish.indexed");
        self.advance_index(BUCKETS_PER_PUBLISH, context.pool);
        self.usage.add(view, length_bytes);
        self.policy.insert(slot.slot, view.class);
        PublishOutcome::Published
    }

    /// Where the key's part of the index is full, one of the blocks there is evicted.
    // r[impl kv.index_full]
    fn put_in_index(
        &mut self,
        key: &Key,
        slot: u32,
        context: &mut ServiceContext<'_>,
    ) -> Result<(), PublishOutcome> {
        let hash = self.index.hash(key);
        loop {
            let candidates = match self.index.insert(hash, slot) {
                Ok(()) => return Ok(()),
                Err(InsertError::Full { .. }) if self.make_index_place(hash, context.pool) => {
                    continue;
                }
                Err(InsertError::Full { candidates }) => candidates,
                Err(InsertError::SlotZero) => Vec::new(),
            };
            let neighbours = candidates.len() as u64;
            let victim = self.policy.victim_among(&candidates);
            self.evict(victim.ok_or(PublishOutcome::IndexFull { neighbours })?, context);
            self.counted.evictions_for_index += 1;
        }
    }
}

/// The slot of an entry, when it is granted to this guest.
fn granted(
    serial: Serial,
    entry: &PublishEntry,
    context: &ServiceContext<'_>,
) -> Option<(SlotRef, SlotView)> {
    let slot = SlotRef::from_u64(entry.slot.get())?;
    let view = context.pool.slot(slot)?;
    (view.state == SlotState::Granted && view.owner == serial).then_some((slot, view))
}

/// What is written beside a block.
// r[impl kv.note]
fn labels(entry: &PublishEntry, clock_s: u64, stamp: u64) -> (Note, Cold) {
    let checksum = Checksum::from_word(entry.checksum.get());
    let flags = if checksum.is_some() { NOTE_CHECKSUM } else { 0 };
    let expiry_s = expiry_s(clock_s, entry.ttl_s.get());
    (Note { key: entry.key, expiry_s, flags }, Cold::new(checksum, clock_s, stamp))
}
