//! Who holds which slots: for each owner a list, so that what a guest holds is found without a
//! look at the rest of the pool, and totals, so that a quota costs nothing.

use super::classes::ClassIndex;
use super::slots::{NO_SLOT, SlotTable};
use crate::Serial;

/// How many slots, and their size in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Number of slots.
    pub slots: u64,
    /// Sum of the sizes of the slots, in bytes.
    pub bytes: u64,
}

impl Holding {
    pub(super) fn add(&mut self, slot_bytes: u64) {
        self.slots += 1;
        self.bytes += slot_bytes;
    }

    pub(super) fn subtract(&mut self, slot_bytes: u64) {
        self.slots -= 1;
        self.bytes -= slot_bytes;
    }

    /// Both together.
    pub(crate) fn with(self, other: Holding) -> Holding {
        Holding { slots: self.slots + other.slots, bytes: self.bytes + other.bytes }
    }

    /// The rest, where `part` is a part of it.
    pub(super) fn without(self, part: Holding) -> Holding {
        let slots = self.slots.saturating_sub(part.slots);
        Holding { slots, bytes: self.bytes.saturating_sub(part.bytes) }
    }
}

/// Which of an owner's two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    Granted = 0,
    Quarantined = 1,
}

/// One owner.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) serial: Serial,
    /// Whether this row is in use.
    pub(super) in_use: bool,
    /// First slot of each list.
    pub(super) first: [u32; 2],
    pub(super) holding: [Holding; 2],
    /// Granted slots of each class.
    pub(super) granted_by_class: Vec<u32>,
}

/// Owners in dense rows. A row lasts until [`OwnerTable::forget`] finds it without slots.
#[derive(Clone, Debug)]
pub(super) struct OwnerTable {
    pub(super) rows: Vec<Owner>,
    unused: Vec<u32>,
    by_serial: SerialMap,
    class_count: usize,
}

impl OwnerTable {
    pub(super) fn new(class_count: usize) -> OwnerTable {
        let by_serial = SerialMap::new();
        OwnerTable { rows: Vec::new(), unused: Vec::new(), by_serial, class_count }
    }

    pub(super) fn row(&self, serial: Serial) -> Option<u32> {
        self.by_serial.get(serial)
    }

    pub(super) fn at(&self, row: u32) -> &Owner {
        &self.rows[row as usize]
    }

    pub(super) fn of(&self, serial: Serial) -> Option<&Owner> {
        self.row(serial).map(|row| self.at(row))
    }

    /// Row and content of each owner.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Owner)> {
        (0..).zip(&self.rows).filter(|(_, owner)| owner.in_use)
    }

    /// The owner's row; a new one if it has none.
    #[inline]
    pub(super) fn row_or_new(&mut self, serial: Serial) -> u32 {
        match self.by_serial.get(serial) {
            Some(row) => row,
            None => self.new_row(serial),
        }
    }

    #[cold]
    fn new_row(&mut self, serial: Serial) -> u32 {
        let owner = Owner {
            serial,
            in_use: true,
            first: [NO_SLOT; 2],
            holding: [Holding::default(); 2],
            granted_by_class: vec![0; self.class_count],
        };
        let row = match self.unused.pop() {
            Some(row) => {
                self.rows[row as usize] = owner;
                row
            }
            None => {
                self.rows.push(owner);
                (self.rows.len() - 1) as u32
            }
        };
        self.by_serial.insert(serial, row);
        row
    }

    /// Forgets an owner that holds nothing.
    pub(super) fn forget(&mut self, serial: Serial) {
        let Some(row) = self.row(serial) else { return };
        let owner = &mut self.rows[row as usize];
        if owner.first == [NO_SLOT; 2] {
            owner.in_use = false;
            owner.granted_by_class = Vec::new();
            self.unused.push(row);
            self.by_serial.remove(serial);
        }
    }

    /// Puts a slot at the front of one of the owner's lists.
    #[inline]
    pub(super) fn link(
        &mut self,
        slots: &mut SlotTable,
        (row, hold): (u32, Hold),
        slot: u32,
        (class, slot_bytes): (ClassIndex, u64),
    ) {
        let owner = &mut self.rows[row as usize];
        let next = std::mem::replace(&mut owner.first[hold as usize], slot);
        owner.holding[hold as usize].add(slot_bytes);
        if hold == Hold::Granted {
            owner.granted_by_class[usize::from(class)] += 1;
        }
        let entry = &mut slots[slot];
        (entry.previous, entry.next) = (NO_SLOT, next);
        if next != NO_SLOT {
            slots[next].previous = slot;
        }
    }

    /// Takes a slot out of the list it is in.
    #[inline]
    pub(super) fn unlink(
        &mut self,
        slots: &mut SlotTable,
        hold: Hold,
        slot: u32,
        (class, slot_bytes): (ClassIndex, u64),
    ) {
        let entry = slots[slot];
        // Whoever has a slot in a list has a row.
        let Some(row) = self.row(entry.word.owner()) else { return };
        let owner = &mut self.rows[row as usize];
        owner.holding[hold as usize].subtract(slot_bytes);
        if hold == Hold::Granted {
            owner.granted_by_class[usize::from(class)] -= 1;
        }
        if entry.previous == NO_SLOT {
            owner.first[hold as usize] = entry.next;
        } else {
            slots[entry.previous].next = entry.next;
        }
        if entry.next != NO_SLOT {
            slots[entry.next].previous = entry.previous;
        }
    }

    /// Slots in one of the owner's lists.
    pub(super) fn listed<'a>(
        &'a self,
        slots: &'a SlotTable,
        row: u32,
        hold: Hold,
    ) -> impl Iterator<Item = u32> + 'a {
        let first = self.rows.get(row as usize).map_or(NO_SLOT, |owner| owner.first[hold as usize]);
        let follow = |&slot: &u32| slots.get(slot).map(|entry| entry.next);
        std::iter::successors(Some(first), follow)
            .take_while(|&slot| slot != NO_SLOT)
            .take(slots.last() as usize + 1)
    }
}

/// Row by serial: open addressing without a hash, since serials are given out one after the other.
#[derive(Clone, Debug)]
struct SerialMap {
    /// Serial and row + 1; 0 where nothing is. A power of two of them, at most half in use.
    cells: Vec<(Serial, u32)>,
    count: usize,
}

impl SerialMap {
    fn new() -> SerialMap {
        SerialMap { cells: vec![(0, 0); 16], count: 0 }
    }

    fn mask(&self) -> usize {
        self.cells.len() - 1
    }

    /// The cell that has the serial, or the one where it would go.
    #[inline]
    fn find(&self, serial: Serial) -> usize {
        let mut cell = serial as usize & self.mask();
        while self.cells[cell].1 != 0 && self.cells[cell].0 != serial {
            cell = (cell + 1) & self.mask();
        }
        cell
    }

    #[inline]
    fn get(&self, serial: Serial) -> Option<u32> {
        self.cells[self.find(serial)].1.checked_sub(1)
    }

    fn insert(&mut self, serial: Serial, row: u32) {
        if 2 * (self.count + 1) > self.cells.len() {
            let larger = vec![(0, 0); 2 * self.cells.len()];
            for (serial, row) in std::mem::replace(&mut self.cells, larger) {
                if row != 0 {
                    let cell = self.find(serial);
                    self.cells[cell] = (serial, row);
                }
            }
        }
        let cell = self.find(serial);
        self.cells[cell] = (serial, row + 1);
        self.count += 1;
    }

    fn remove(&mut self, serial: Serial) {
        let mut hole = self.find(serial);
        if self.cells[hole].1 == 0 {
            return;
        }
        self.count -= 1;
        // Whoever was put further on because this cell was taken moves up.
        let mut cell = hole;
        loop {
            self.cells[hole] = (0, 0);
            loop {
                cell = (cell + 1) & self.mask();
                if self.cells[cell].1 == 0 {
                    return;
                }
                let home = self.cells[cell].0 as usize & self.mask();
                let distance = |from: usize| cell.wrapping_sub(from) & self.mask();
                if distance(home) >= distance(hole) {
                    break;
                }
            }
            self.cells[hole] = self.cells[cell];
            hole = cell;
        }
    }
}

#[cfg(test)]
mod tests;
