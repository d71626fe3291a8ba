//! Making room: by capacity, in the pool, and in the index.

use super::{Capacity, Core};
use crate::note::Note;
use crate::protocol::PublishOutcome;
use onecopy_transport::pool::ClassIndex;
use onecopy_transport::service::ServiceContext;

/// Most blocks, and most bytes beyond the first block, that are evicted at once for room in the
/// pool: a refill takes several slots, but not many large ones.
const ROOM_BLOCKS: u32 = 8;
const ROOM_BYTES: u64 = 1 << 20;
/// Of a class with many slots one in so many is evicted ahead, and at most so many blocks: what is
/// evicted together is looked up in the lease tables together.
const ROOM_SHARE: u32 = 128;
const ROOM_BLOCKS_MAX: u32 = 1024;

impl Core {
    /// Evicts until a block in a slot of this size fits the capacity. Nothing is evicted when that
    /// could not be enough.
    // r[impl kv.capacity]
    // r[impl kv.capacity_too_large]
    // r[impl kv.guard]
    pub(super) fn make_room_for(
        &mut self,
        slot_bytes: u64,
        context: &mut ServiceContext<'_>,
    ) -> Result<(), PublishOutcome> {
        if !self.capacity.holds(1, slot_bytes) {
            let capacity_bytes = match self.capacity {
                Capacity::Bytes(bytes) => bytes,
                Capacity::Blocks(_) | Capacity::Unbounded => 0,
            };
            return Err(PublishOutcome::LargerThanCapacity { slot_bytes, capacity_bytes });
        }
        let pinned = (self.usage.pinned_blocks, self.usage.pinned_slot_bytes);
        let all_pinned =
            PublishOutcome::AllPinned { pinned_blocks: pinned.0, pinned_bytes: pinned.1 };
        if !self.capacity.holds(pinned.0 + 1, pinned.1.saturating_add(slot_bytes)) {
            return Err(all_pinned);
        }
        while !self.capacity.holds(self.usage.blocks + 1, self.usage.slot_bytes + slot_bytes) {
            match self.policy.victim(None) {
                Some(victim) => self.evict(victim, context),
                // Its slot is there already, and the guard is not up for long.
                None if self.policy.guarded_count() > 0 => {
                    self.is_over = true;
                    return Ok(());
                }
                None => return Err(all_pinned),
            }
        }
        self.is_over = false;
        Ok(())
    }

    /// Puts the guard up for all that was found at the start, or lifts it and evicts what was let in
    /// beyond the capacity meanwhile.
    // r[impl kv.guard]
    pub(super) fn guard(&mut self, up: bool, context: &mut ServiceContext<'_>) {
        if up {
            return self.policy.guard(true);
        }
        self.settle_found();
        self.policy.guard(false);
        while self.is_over {
            self.is_over = !self.capacity.holds(self.usage.blocks, self.usage.slot_bytes);
            match self.policy.victim(None) {
                Some(victim) if self.is_over => self.evict(victim, context),
                _ => break,
            }
        }
    }

    /// Retires some blocks of this class, the next ones that the policy would.
    // r[impl kv.make_room]
    // r[impl kv.wrong_class]
    pub(super) fn make_room(&mut self, class: ClassIndex, context: &mut ServiceContext<'_>) -> u32 {
        let (mut evicted, mut evicted_bytes) = (0, 0);
        let share = (context.pool.slots_of_class(class) / ROOM_SHARE).min(ROOM_BLOCKS_MAX);
        while (evicted < share || (evicted < ROOM_BLOCKS && evicted_bytes < ROOM_BYTES))
            && let Some(victim) = self.policy.victim(Some(class))
        {
            let slot_bytes_before = self.usage.slot_bytes;
            self.evict(victim, context);
            self.counted.evictions_for_room += 1;
            evicted += 1;
            evicted_bytes += slot_bytes_before - self.usage.slot_bytes;
        }
        evicted
    }

    pub(super) fn evict(&mut self, slot: u32, context: &mut ServiceContext<'_>) {
        let note = Note::from_words(context.pool.note(slot));
        self.unpublish(slot, &note.key, context);
        self.counted.evictions += 1;
    }
}
