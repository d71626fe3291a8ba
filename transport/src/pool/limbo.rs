//! Unpublishing, and reuse once nobody reads any more.
//!
//! A reader stores its lease, fences or is fenced, and looks at the slot's word; [`VarSlotPool::retire`] stores
//! `Retired`, [`VarSlotPool::reclaim`] fences and looks at the leases. Of the two looks at least
//! one sees the other's store: either the reader finds the slot retired and lets go, or the host
//! finds the lease and waits. One fence and one look serve all that was retired before.

use super::carve::legal;
use super::error::SlotError;
use super::slots::SlotTable;
use super::{SlotRef, VarSlotPool};
use onecopy_shm::crash_point;
use onecopy_shm::error::NoFence;
use onecopy_shm::{SlotState, fence_before_scan};

/// Is told of every lease that a look meets.
pub type LeaseVisitor<'a> = dyn FnMut(SlotRef) + 'a;

/// Marks of the look through the leases, in a link that retired slots do not need.
pub(super) const UNSEEN: u32 = 0;
const LEASED: u32 = 1;

/// What a look through the leases is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Every lease was met.
    Whole,
    /// Part of a lease table was gone: nothing may be freed on the ground of this look.
    Torn,
}

impl VarSlotPool {
    /// Unpublishes a slot: from now on nobody new can read it. It waits in limbo for its last
    /// lease.
    ///
    /// # Errors
    /// [`SlotError`]: no such slot, another generation, not published.
    // r[impl pool.retire]
    // r[impl crash.s10]
    pub fn retire(&mut self, slot: SlotRef) -> Result<(), SlotError> {
        let word = self.check(slot, SlotState::Published)?;
        // edge: lease.check (with the fence in `reclaim`)
        crash_point!("slot.retire.before");
        self.change(slot.slot, legal(word.retire(), word));
        crash_point!("slot.retire.after");
        self.slots[slot.slot].previous = UNSEEN;
        self.limbo.push(slot.slot);
        Ok(())
    }

    /// Looks once through the leases and frees all slots in limbo that nobody leases. Returns how
    /// many were freed.
    ///
    /// `scan` calls the function it is given for every lease of every peer whose leases count; what
    /// the leases name is not believed. It is not called when nothing waits. The cost is that of
    /// the leases and of the limbo, not of the pool.
    pub fn reclaim(&mut self, scan: &mut dyn FnMut(&mut LeaseVisitor<'_>)) -> u32 {
        self.reclaim_if_whole(&mut |marks| {
            scan(&mut |leased| marks.note(leased));
            Looked::Whole
        })
    }

    /// [`VarSlotPool::reclaim`] with a look that may turn out to be worth nothing: then nothing is
    /// freed.
    // r[impl pool.reclaim]
    pub fn reclaim_if_whole(&mut self, scan: &mut dyn FnMut(&mut Marks<'_>) -> Looked) -> u32 {
        if self.limbo.is_empty() {
            return 0;
        }
        let Ok(looked) = self.mark_leased(scan) else { return 0 };
        let before = self.limbo.len();
        let mut limbo = std::mem::take(&mut self.limbo);
        limbo.retain(|&slot| {
            let leased = self.take_mark(slot);
            let is_kept = leased || looked == Looked::Torn;
            if !is_kept {
                let word = self.slots[slot].word;
                self.change(slot, legal(word.free(), word));
                self.put_free(slot);
            }
            is_kept
        });
        self.limbo = limbo;
        (before - self.limbo.len()) as u32
    }

    /// Marks the retired slots that these leases name; returns what the look says of itself.
    ///
    /// # Errors
    /// [`NoFence`]: readers were not fenced, so a look would be worth nothing. Nothing is marked.
    pub(super) fn mark_leased<Said>(
        &mut self,
        scan: &mut dyn FnMut(&mut Marks<'_>) -> Said,
    ) -> Result<Said, NoFence> {
        // edge: lease.check
        self.fence_against_readers()?;
        let mut marks = Marks { waiting: Waiting::new(&self.limbo), slots: &mut self.slots };
        Ok(scan(&mut marks))
    }

    /// Puts what was stored before the look through the leases that follows, in this process and, where
    /// readers rely on that, in theirs.
    ///
    /// # Errors
    /// [`NoFence`]: the kernel carried none out; a filter for system calls may have come on since the start.
    // r[impl lease.fence]
    pub fn fence_against_readers(&self) -> Result<(), NoFence> {
        fence_before_scan();
        #[cfg(not(loom))]
        if self.control.reader().fences_readers() {
            onecopy_shm::barrier::fence_everyone().map_err(|source| {
                tracing::error!(%source, "no fence in the threads that read: no slot is used again");
                NoFence { source }
            })?;
        }
        Ok(())
    }

    /// Whether a retired slot was marked; the mark is gone then.
    pub(super) fn take_mark(&mut self, slot: u32) -> bool {
        std::mem::replace(&mut self.slots[slot].previous, UNSEEN) == LEASED
    }
}

/// Is told of every lease that a look meets, and marks those of slots in limbo.
pub struct Marks<'a> {
    waiting: Waiting,
    slots: &'a mut SlotTable,
}

impl Marks<'_> {
    /// A lease names this slot, or a guest says so.
    #[inline]
    pub fn note(&mut self, leased: SlotRef) {
        if self.waiting.may_hold(leased.slot)
            && let Some(entry) = self.slots.get_mut(leased.slot)
            && entry.word.state() == SlotState::Retired
            && entry.word.generation() == leased.generation
        {
            entry.previous = LEASED;
        }
    }
}

/// Tells most slots that are not in limbo apart from those that are, in less memory than the slot table
/// takes: of many leases few are of retired slots, and what the table says of the others need not be
/// fetched.
struct Waiting {
    bits: Vec<u64>,
}

impl Waiting {
    /// Bits for each slot in limbo, at least.
    const BITS_PER_SLOT: usize = 16;

    fn new(limbo: &[u32]) -> Waiting {
        let words = (limbo.len() * Self::BITS_PER_SLOT / 64).next_power_of_two();
        let mut waiting = Waiting { bits: vec![0; words] };
        for &slot in limbo {
            let (word, bit) = waiting.place(slot);
            waiting.bits[word] |= bit;
        }
        waiting
    }

    #[inline]
    fn may_hold(&self, slot: u32) -> bool {
        let (word, bit) = self.place(slot);
        self.bits[word] & bit != 0
    }

    /// Slots of one extent follow each other, so the number itself spreads them.
    #[inline]
    fn place(&self, slot: u32) -> (usize, u64) {
        ((slot / 64) as usize & (self.bits.len() - 1), 1 << (slot % 64))
    }
}
