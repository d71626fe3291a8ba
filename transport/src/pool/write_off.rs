//! Slots that nobody may ever use again: whether their last user still touches them will never be
//! known. They stay quarantined, with no owner, for as long as the segment is there.

use super::carve::legal;
use super::limbo::LeaseVisitor;
use super::owners::{Hold, Holding};
use super::{SlotRef, VarSlotPool};
use crate::Serial;
use onecopy_shm::SlotState;

/// Owner of what is written off: the serial that no attach ever has.
pub(crate) const NOBODY: Serial = 0;

impl VarSlotPool {
    /// Writes off all that is granted to an owner or quarantined of it, and forgets the owner.
    // r[impl pool.write-off]
    pub fn write_off(&mut self, owner: Serial) -> Holding {
        let mut moved = Holding::default();
        if owner == NOBODY {
            return moved;
        }
        for hold in [Hold::Granted, Hold::Quarantined] {
            while let Some(slot) = self.first_held(owner, hold) {
                moved.add(self.class_of(slot).1);
                self.unhold(hold, slot);
                self.write_off_slot(slot);
            }
        }
        self.owners.forget(owner);
        moved
    }

    /// Writes off every retired slot that one of these leases names. `scan` is as for
    /// [`VarSlotPool::reclaim`]; the caller has retired before what is to be written off.
    // r[impl pool.write-off-leased]
    pub fn write_off_leased(&mut self, scan: &mut dyn FnMut(&mut LeaseVisitor<'_>)) -> Holding {
        let mut moved = Holding::default();
        if self.limbo.is_empty() {
            return moved;
        }
        // Without a fence any of them may be read.
        let looked = self.mark_leased(&mut |marks| scan(&mut |leased| marks.note(leased)));
        let mut limbo = std::mem::take(&mut self.limbo);
        limbo.retain(|&slot| {
            let leased = self.take_mark(slot) || looked.is_err();
            if leased {
                moved.add(self.class_of(slot).1);
                self.slots[slot].length_bytes = 0;
                self.write_off_slot(slot);
            }
            !leased
        });
        self.limbo = limbo;
        moved
    }

    /// Every published slot that one of these leases names, each once. The caller has stored what turns new
    /// readers away, and then had them fenced ([`VarSlotPool::fence_against_readers`]).
    pub fn published_leased(&self, scan: &mut dyn FnMut(&mut LeaseVisitor<'_>)) -> Vec<SlotRef> {
        let mut found = Vec::new();
        scan(&mut |leased| {
            let word = self.slots.get(leased.slot).map(|entry| entry.word);
            if word.is_some_and(|word| {
                word.state() == SlotState::Published && word.generation() == leased.generation
            }) {
                found.push(leased);
            }
        });
        found.sort_unstable();
        found.dedup();
        found
    }

    /// What is written off, of all owners that there ever were.
    pub fn written_off(&self) -> Holding {
        self.quarantined_of(NOBODY)
    }

    fn write_off_slot(&mut self, slot: u32) {
        let word = self.slots[slot].word;
        self.hold(NOBODY, Hold::Quarantined, slot);
        self.change(slot, legal(word.write_off(), word));
    }
}
