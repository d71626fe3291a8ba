//! Extents: runs of units given to a class. Each has a free list of its own, so that an empty one
//! can be given back without a search.

use super::classes::ClassIndex;
use super::slots::{NO_SLOT, SlotTable};

/// Extent number of "none" in a link.
pub(super) const NO_EXTENT: u32 = u32::MAX;

/// One extent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) class: ClassIndex,
    /// Whether this element of the table is in use.
    pub(super) in_use: bool,
    pub(super) unit_first: u32,
    pub(super) unit_count: u32,
    pub(super) slot_first: u32,
    pub(super) slot_count: u32,
    /// First free slot, or [`NO_SLOT`].
    pub(super) free_first: u32,
    pub(super) free_count: u32,
    pub(super) previous: u32,
    pub(super) next: u32,
}

/// In which list of its class an extent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// No slot is free: in no list.
    Full,
    /// Some slots are free.
    Partial,
    /// All slots are free: it may be given back.
    Empty,
}

impl Extent {
    pub(super) fn new(
        class: ClassIndex,
        (unit_first, unit_count): (u32, u32),
        (slot_first, slot_count): (u32, u32),
    ) -> Extent {
        Extent {
            class,
            in_use: true,
            unit_first,
            unit_count,
            slot_first,
            slot_count,
            free_first: NO_SLOT,
            free_count: 0,
            previous: NO_EXTENT,
            next: NO_EXTENT,
        }
    }

    pub(super) fn fill(&self) -> Fill {
        match self.free_count {
            0 => Fill::Full,
            count if count == self.slot_count => Fill::Empty,
            _ => Fill::Partial,
        }
    }

    pub(super) fn slots(&self) -> std::ops::Range<u32> {
        self.slot_first..self.slot_first + self.slot_count
    }
}

/// First extents of a class's two lists, and what the class has in all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lists {
    pub(super) partial: u32,
    pub(super) empty: u32,
    /// Slots in the extents of the class.
    pub(super) slots: u32,
}

/// All extents, and for each class those with free slots.
#[derive(Clone, Debug)]
pub(super) struct ExtentTable {
    pub(super) extents: Vec<Extent>,
    unused: Vec<u32>,
    pub(super) lists: Vec<Lists>,
    pub(super) empty_count: u64,
    /// Where the search for an empty extent goes on, so that no class is robbed first each time.
    next_class: usize,
}

impl ExtentTable {
    pub(super) fn new(class_count: usize) -> ExtentTable {
        let lists = vec![Lists { partial: NO_EXTENT, empty: NO_EXTENT, slots: 0 }; class_count];
        ExtentTable { extents: vec![], unused: vec![], lists, empty_count: 0, next_class: 0 }
    }

    /// Extents in use.
    pub(super) fn len(&self) -> u64 {
        (self.extents.len() - self.unused.len()) as u64
    }

    /// Extents without a used slot.
    pub(super) fn empty_count(&self) -> u64 {
        self.empty_count
    }

    /// Number and content of each extent in use.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Extent)> {
        (0..).zip(&self.extents).filter(|(_, extent)| extent.in_use)
    }

    /// An extent by a number that comes from this pool.
    #[inline]
    pub(super) fn at(&self, extent: u32) -> &Extent {
        &self.extents[extent as usize]
    }

    /// An extent by a number that may be wrong.
    pub(super) fn get(&self, extent: u32) -> Option<&Extent> {
        self.extents.get(extent as usize)
    }

    /// Adds an extent without free slots; they are given with [`ExtentTable::give_free`].
    pub(super) fn add(&mut self, extent: Extent) -> u32 {
        self.lists[usize::from(extent.class)].slots += extent.slot_count;
        if let Some(number) = self.unused.pop() {
            self.extents[number as usize] = extent;
            return number;
        }
        self.extents.push(extent);
        (self.extents.len() - 1) as u32
    }

    /// Takes an empty extent out of the table, with all its free slots.
    pub(super) fn remove(&mut self, number: u32) {
        self.unlink(number, Fill::Empty);
        let Extent { class, slot_count, .. } = self.extents[number as usize];
        self.lists[usize::from(class)].slots -= slot_count;
        self.extents[number as usize].in_use = false;
        self.unused.push(number);
    }

    /// An extent of the class with a free slot; one that has used slots before an empty one.
    #[inline]
    pub(super) fn with_free(&self, class: ClassIndex) -> Option<u32> {
        let lists = self.lists.get(usize::from(class))?;
        [lists.partial, lists.empty].into_iter().find(|&extent| extent != NO_EXTENT)
    }

    /// Any empty extent.
    pub(super) fn any_empty(&mut self) -> Option<u32> {
        if self.empty_count == 0 {
            return None;
        }
        let count = self.lists.len();
        let class = (self.next_class..self.next_class + count)
            .map(|class| class % count)
            .find(|&class| self.lists[class].empty != NO_EXTENT)?;
        self.next_class = (class + 1) % count;
        Some(self.lists[class].empty)
    }

    /// Takes the free slot that was freed last.
    #[inline]
    pub(super) fn take_free(&mut self, number: u32, slots: &SlotTable) -> u32 {
        let extent = &mut self.extents[number as usize];
        let before = extent.fill();
        let slot = extent.free_first;
        extent.free_first = slots[slot].next;
        extent.free_count -= 1;
        self.relink(number, before);
        slot
    }

    /// Puts a slot on the free list of its extent.
    #[inline]
    pub(super) fn give_free(&mut self, number: u32, slot: u32, slots: &mut SlotTable) {
        let extent = &mut self.extents[number as usize];
        let before = extent.fill();
        slots[slot].next = extent.free_first;
        extent.free_first = slot;
        extent.free_count += 1;
        self.relink(number, before);
    }

    /// Numbers of the extents in one list of a class; at most one more than there are extents.
    pub(super) fn listed(&self, class: usize, fill: Fill) -> impl Iterator<Item = u32> + '_ {
        let first = match fill {
            Fill::Full => NO_EXTENT,
            Fill::Partial => self.lists[class].partial,
            Fill::Empty => self.lists[class].empty,
        };
        let follow = |&number: &u32| self.extents.get(number as usize).map(|extent| extent.next);
        std::iter::successors(Some(first), follow)
            .take_while(|&number| number != NO_EXTENT)
            .take(self.extents.len() + 1)
    }

    #[inline]
    fn relink(&mut self, number: u32, before: Fill) {
        let now = self.extents[number as usize].fill();
        if now != before {
            self.unlink(number, before);
            self.link(number, now);
        }
    }

    fn list(&mut self, class: ClassIndex, fill: Fill) -> Option<&mut u32> {
        let lists = &mut self.lists[usize::from(class)];
        match fill {
            Fill::Full => None,
            Fill::Partial => Some(&mut lists.partial),
            Fill::Empty => Some(&mut lists.empty),
        }
    }

    fn link(&mut self, number: u32, fill: Fill) {
        let class = self.extents[number as usize].class;
        let Some(first) = self.list(class, fill) else { return };
        let next = std::mem::replace(first, number);
        self.extents[number as usize].previous = NO_EXTENT;
        self.extents[number as usize].next = next;
        if next != NO_EXTENT {
            self.extents[next as usize].previous = number;
        }
        self.empty_count += u64::from(fill == Fill::Empty);
    }

    fn unlink(&mut self, number: u32, fill: Fill) {
        let Extent { class, previous, next, .. } = self.extents[number as usize];
        let Some(first) = self.list(class, fill) else { return };
        if previous == NO_EXTENT {
            *first = next;
        } else {
            self.extents[previous as usize].next = next;
        }
        if next != NO_EXTENT {
            self.extents[next as usize].previous = previous;
        }
        self.empty_count -= u64::from(fill == Fill::Empty);
    }
}
