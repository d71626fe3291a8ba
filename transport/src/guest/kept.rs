//! Which slots this process uses outside of its stock. Like the lease table it outlives an attach: a
//! later attach that goes on with the table asks the host for what stands here.

use super::magazine::GrantedSlot;
use onecopy_shm::SlotRef;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Slots whose entries are in one piece of memory.
const SLOTS_PER_PART: usize = 4096;

/// By slot number the generation in which it is used, 0 where it is not. No generation is 0.
#[derive(Debug)]
pub(super) struct KeptSlots {
    parts: Vec<OnceLock<Box<[AtomicU32]>>>,
    /// Reservations and answers in slots.
    count: AtomicU32,
    /// Dropped while no attach had them: for the next one's stock.
    dropped: Mutex<Vec<GrantedSlot>>,
}

impl KeptSlots {
    /// A table for the slots of a segment that has at most so many.
    pub(super) fn new(slots_max: u64) -> KeptSlots {
        let parts = slots_max as usize / SLOTS_PER_PART + 1;
        KeptSlots {
            parts: (0..parts).map(|_| OnceLock::new()).collect(),
            count: AtomicU32::new(0),
            dropped: Mutex::default(),
        }
    }

    /// A slot came out of stock or with an answer.
    #[inline]
    pub(super) fn add(&self, slot: SlotRef) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let (part, index) = place(slot.slot);
        let Some(part) = self.parts.get(part) else { return };
        let part = part.get_or_init(|| (0..SLOTS_PER_PART).map(|_| AtomicU32::new(0)).collect());
        // Relaxed, here and below: who lists the slots does so with the mutex under which they came.
        part[index].store(slot.generation, Ordering::Relaxed);
    }

    /// Whoever had the slot has let it go. Whether it was still this process's.
    #[inline]
    pub(super) fn remove(&self, slot: SlotRef) -> bool {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.forget(slot)
    }

    /// The slot is not this process's any more, whoever still has a reservation of it.
    pub(super) fn forget(&self, slot: SlotRef) -> bool {
        let is_kept = self.holds(slot);
        if is_kept && let Some(word) = self.word(slot.slot) {
            word.store(0, Ordering::Relaxed);
        }
        is_kept
    }

    /// Whether it is this process's.
    #[inline]
    pub(super) fn holds(&self, slot: SlotRef) -> bool {
        self.word(slot.slot).is_some_and(|word| word.load(Ordering::Relaxed) == slot.generation)
    }

    /// Reservations and answers in slots, of all attaches.
    pub(super) fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// Every slot.
    pub(super) fn all(&self) -> Vec<SlotRef> {
        let parts = (0..).zip(&self.parts).filter_map(|(number, part)| Some((number, part.get()?)));
        parts
            .flat_map(|(number, part)| {
                let first = number * SLOTS_PER_PART as u32;
                (first..).zip(part.iter().map(|word| word.load(Ordering::Relaxed)))
            })
            .filter(|&(_, generation)| generation != 0)
            .map(|(slot, generation)| SlotRef { slot, generation })
            .collect()
    }

    /// Keeps a slot that was dropped while one attach had been given up and the next was not there.
    pub(super) fn put_aside(&self, granted: GrantedSlot) {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner).push(granted);
    }

    /// What was dropped meanwhile.
    pub(super) fn take_dropped(&self) -> Vec<GrantedSlot> {
        std::mem::take(&mut self.dropped.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn word(&self, slot: u32) -> Option<&AtomicU32> {
        let (part, index) = place(slot);
        self.parts.get(part)?.get()?.get(index)
    }
}

fn place(slot: u32) -> (usize, usize) {
    (slot as usize / SLOTS_PER_PART, slot as usize % SLOTS_PER_PART)
}

#[cfg(test)]
mod tests;
