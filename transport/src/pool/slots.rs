//! The private slot table: the truth about every slot. Shared words are copies of it.

use onecopy_shm::SlotWord;

/// Slot number of "none" in a link.
pub(super) const NO_SLOT: u32 = 0;

/// What the host knows of one slot. Two of them fill a cache line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// State, generation and owner.
    pub(super) word: SlotWord,
    /// Bytes published, while published or retired.
    pub(super) length_bytes: u64,
    /// Number of its extent, while carved.
    pub(super) extent: u32,
    /// The slot before it in its owner's list. While retired: whether the last look through the
    /// leases met it.
    pub(super) previous: u32,
    /// The slot behind it in its owner's list, or in the free list of its extent.
    pub(super) next: u32,
}

impl Slot {
    /// A slot number that no memory was ever given to.
    pub(super) const UNCARVED: Slot =
        Slot { word: SlotWord::UNCARVED, length_bytes: 0, extent: 0, previous: 0, next: 0 };
}

const _: () = assert!(size_of::<Slot>() == 32);

/// Slots by number, from 1. Grows to the highest that was ever carved.
#[derive(Clone, Debug, Default)]
pub(super) struct SlotTable {
    slots: Vec<Slot>,
}

impl SlotTable {
    /// Makes room for slots up to number `slot`.
    pub(super) fn grow_to(&mut self, slot: u32) {
        if self.slots.len() < slot as usize {
            self.slots.resize(slot as usize, Slot::UNCARVED);
        }
    }

    /// The highest slot it knows.
    pub(super) fn last(&self) -> u32 {
        self.slots.len() as u32
    }

    /// A slot whose number comes from elsewhere.
    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<&Slot> {
        self.slots.get((slot as usize).wrapping_sub(1))
    }

    /// A slot whose number comes from elsewhere.
    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut((slot as usize).wrapping_sub(1))
    }
}

impl std::ops::Index<u32> for SlotTable {
    type Output = Slot;

    /// A slot whose number comes from this pool.
    #[inline]
    fn index(&self, slot: u32) -> &Slot {
        &self.slots[(slot as usize).wrapping_sub(1)]
    }
}

impl std::ops::IndexMut<u32> for SlotTable {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.slots[(slot as usize).wrapping_sub(1)]
    }
}
